import os
import shutil
from collections import namedtuple

import pytest

from mm_assets.contracts.errors import DiskError, SourceError
from mm_assets.contracts.workspace import Workspace
from mm_assets.sources.raw_data import copy_folder, replace_data


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    (folder / "photo").mkdir(parents=True)
    (folder / "samples.csv").write_text("id\n1\n")
    (folder / "photo/a.png").write_bytes(b"png")
    return folder


def copied(folder, target):
    target.mkdir()
    copy_folder(folder, target)
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}


def test_files_are_copied_links_followed_and_leavings_left_out(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.png").write_bytes(b"other")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "c.png").symlink_to("photo/a.png")
    for name in (".git", "photo/__MACOSX"):
        (folder / name).mkdir()
        (folder / name / "x").touch()
    (folder / "Thumbs.db").touch()
    assert copied(folder, tmp_path / "data") == {
        "samples.csv": b"id\n1\n",
        "photo/a.png": b"png",
        "more/b.png": b"other",
        "c.png": b"png",
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "photo/up").symlink_to(f), r"up is a link to a folder that holds it, and "),
        (
            lambda f: (f / "gone.png").symlink_to("nowhere"),
            r"cannot be copied \(.*gone\.png.*; mend",
        ),
        (lambda f: os.mkfifo(f / "pipe"), r"cannot be copied \(.*pipe.*; mend or remove it"),
    ],
)
def test_what_cannot_be_copied_is_named(folder, tmp_path, spoil, message):
    spoil(folder)
    with pytest.raises(SourceError, match=message):
        copied(folder, tmp_path / "data")


def test_too_little_room_stops_before_a_file_is_copied(folder, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    target = tmp_path / "data"
    with pytest.raises(
        DiskError, match=r"copying 2 files of .*mine needs 8 bytes in .*1 bytes are"
    ):
        copied(folder, target)
    assert list(target.iterdir()) == []


def test_an_interrupted_copy_leaves_data_as_it_was(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.data.mkdir()
    (workspace.data / "mine.csv").write_text("kept")

    def fill(folder):
        (folder / "half.csv").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_data(workspace, fill, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert (workspace.data / "mine.csv").read_text() == "kept"
