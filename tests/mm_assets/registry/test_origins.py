"""What champions were made from is kept as long as they may be in use."""

import os

import pytest

from mm_assets.contracts.workspace import Workspace
from mm_assets.registry.origins import keep_origin


@pytest.fixture
def made(tmp_path):
    """A project with all that a model is made from."""
    workspace = Workspace(tmp_path / "project")
    for folder in (workspace.augmented, workspace.embeddings("text"), workspace.model):
        folder.mkdir(parents=True)
        (folder / "file").write_text(f"of {folder.name}")
    workspace.params.write_text("seed: 1")
    return workspace


def test_an_origin_stays_what_it_was_when_the_pipeline_goes_on(made):
    keep_origin(made, "m1")
    made.params.write_text("seed: 2")
    for folder in (made.augmented, made.embeddings("text"), made.model):
        (folder / "new").write_text("another")
        (folder / "new").replace(folder / "file")
    kept = made.origin("m1")
    assert kept.params.read_text() == "seed: 1"
    places = kept.augmented, kept.embeddings("text"), kept.model
    assert [(place / "file").read_text() for place in places] == [f"of {p.name}" for p in places]


def test_it_takes_no_room_beside_outs_and_cache(made, tmp_path):
    cached = tmp_path / "cached"
    (made.model / "file").rename(cached)
    (made.model / "file").symlink_to(cached)  # as DVC does where it is told to
    keep_origin(made, "m1")
    kept = made.origin("m1")
    assert (kept.augmented / "file").samefile(made.augmented / "file")
    assert (kept.model / "file").samefile(cached)
    assert not (kept.model / "file").is_symlink()


def test_where_there_are_no_links_it_is_copied(made, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    keep_origin(made, "m1")
    kept = made.origin("m1").model / "file"
    assert kept.read_text() == "of model"
    assert not kept.samefile(made.model / "file")


def test_only_those_that_may_be_in_use_stay_and_what_a_kill_left_goes(made):
    for name in ("m1", "m2"):
        keep_origin(made, name, beside=["m1"])
    folder = made.origin("m1").root.parent
    (folder / ".unfinished").mkdir()
    keep_origin(made, "m3", beside=["m2"])
    assert sorted(one.name for one in folder.iterdir()) == ["m2", "m3"]
