import os

import pytest

from mm_assets.contracts.errors import SourceError
from mm_assets.data import mirror
from mm_assets.data.mirror import mirror_folder, sign_folder


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "er" / "b.txt").write_text("b")
    return folder


def read(folder):
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_the_copy_is_equal_and_the_next_one_copies_only_what_changed(source, tmp_path):
    target = tmp_path / "target"
    assert mirror_folder(source, target) == 2
    assert read(target) == read(source)
    assert sign_folder(target) == sign_folder(source)
    assert mirror_folder(source, target) == 0
    (source / "a.txt").write_text("other")
    (source / "deep" / "er" / "b.txt").unlink()
    (source / "deep" / "er").rmdir()
    (source / "deep" / "er").write_text("a file in the place of a folder")
    (target / "of_its_own.txt").write_text("gone")
    assert mirror_folder(source, target) == 4
    assert read(target) == read(source)


def test_a_link_into_a_cache_is_replaced_and_the_cache_stays_as_it_is(source, tmp_path):
    cached, target = tmp_path / "cached", tmp_path / "target"
    cached.write_text("old")
    target.mkdir()
    os.link(cached, target / "a.txt")
    mirror_folder(source, target)
    assert (target / "a.txt").read_text() == "a"
    assert cached.read_text() == "old"


def test_a_folder_that_never_keeps_still_is_named(source, tmp_path, monkeypatch):
    states = iter(str(number) for number in range(100))
    monkeypatch.setattr(mirror, "sign_folder", lambda folder: next(states))
    with pytest.raises(SourceError, match=r"source must keep still while.*changed 3 times"):
        mirror_folder(source, tmp_path / "target")


def test_a_folder_that_is_not_there_has_no_state(tmp_path):
    assert sign_folder(tmp_path / "none") is None
