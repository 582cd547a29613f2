"""Files and folders appear whole or not at all, also where the disk refuses."""

import errno
import os
import pathlib
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.errors import DiskError
from mm_assets.data.atomic import atomic_file, atomic_folder, write_json, write_text
from mm_assets.data.store import Origin, VectorStore, vector_key


@pytest.fixture
def tiny_disk(tmp_path):
    """A real disk of 256 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """A real read-only folder (root writes past permissions, but not past a read-only mount)."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")
    source = str(folder)
    if subprocess.run(["mount", "--bind", source, source], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", source], check=True)
    yield folder
    subprocess.run(["umount", source], check=True)


def files_of(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def write_folder(path, size):
    with atomic_folder(path) as folder:
        (folder / "a.txt").write_text("new")
        (folder / "large.bin").write_bytes(b"x" * size)


def write_frame(path, size):
    rng = np.random.default_rng(0)
    with atomic_folder(path) as folder:
        pd.DataFrame({"n": rng.random(size // 8)}).to_parquet(folder / "a.parquet")


def write_tensors(path, size):
    from safetensors.numpy import save_file

    with atomic_folder(path) as folder:
        save_file({"w": np.zeros(size, np.uint8)}, folder / "w.safetensors")


def write_one(path, size):
    write_text(path, "x" * size)


@pytest.mark.parametrize("write", [write_folder, write_frame, write_tensors])
def test_a_disk_that_fills_up_leaves_the_folder_before_and_nothing_else(tiny_disk, write):
    write(tiny_disk / "out", 8000)
    before = files_of(tiny_disk)

    with pytest.raises(
        DiskError, match=r"the disk is full: .*/out could not be written.*free some"
    ):
        write(tiny_disk / "out", 10**6)

    assert files_of(tiny_disk) == before
    assert [p.name for p in tiny_disk.iterdir()] == ["out"]


def test_a_disk_that_fills_up_leaves_the_file_before_and_nothing_else(tiny_disk):
    write_one(tiny_disk / "a.json", 80)

    with pytest.raises(DiskError, match=r"the disk is full: .*/a.json could not be written"):
        write_one(tiny_disk / "a.json", 10**6)

    assert files_of(tiny_disk) == {"a.json": b"x" * 80}


def test_a_store_on_a_full_disk_keeps_its_shards_and_no_half_one(tiny_disk):
    store = VectorStore(tiny_disk, "f", Origin("standardized", 1, 64))
    keys = np.array([vector_key(str(n), None) for n in range(2000)])
    rng = np.random.default_rng(0)
    store.add(keys[:10], rng.random((10, 64), dtype=np.float32))

    with pytest.raises(DiskError, match=r"the disk is full: .*\.parquet could not be written"):
        store.add(keys[10:], rng.random((1990, 64), dtype=np.float32))

    np.testing.assert_array_equal(store.find(keys), np.arange(2000) < 10)
    assert len(list(store.folder.glob("*.parquet"))) == 1
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("write", [write_folder, write_one])
def test_a_read_only_folder_is_named_and_stays(read_only, write):
    with pytest.raises(DiskError, match=rf"^{read_only} cannot be written to \(.*Read-only"):
        write(read_only / "out", 10)
    assert files_of(read_only) == {"kept.txt": b"kept"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_fails_is_explained_wherever_a_disk_cannot_be_mounted(
    tmp_path, monkeypatch, code
):
    write_text(tmp_path / "a.txt", "old")

    def refuse(self, *args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pathlib.Path, "write_text", refuse)
    with pytest.raises(
        DiskError, match=r"the disk is full: .*/a\.txt could not be written \(.*\); "
    ):
        write_json(tmp_path / "a.txt", {"new": 1})
    monkeypatch.undo()
    assert files_of(tmp_path) == {"a.txt": b"old"}


def test_a_folder_that_gives_no_right_is_named(tmp_path, monkeypatch):
    import tempfile

    def refuse(**kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(kwargs["dir"] / "x"))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    forbidden = pytest.raises(DiskError, match=r"cannot be written to \(.*Permission denied.*right")
    with forbidden, atomic_folder(tmp_path / "out"):
        pass


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_stops_in_the_middle_leaves_what_was_there(tmp_path, stop):
    write_folder(tmp_path / "out", 10)
    before = files_of(tmp_path)

    def write_half_a_folder():
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("half")
            raise stop

    def write_half_a_file():
        with atomic_file(tmp_path / "out" / "a.txt") as file:
            file.write_text("half")
            raise stop

    with pytest.raises(stop):
        write_half_a_folder()
    with pytest.raises(stop):
        write_half_a_file()

    assert files_of(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_whole(tmp_path):
    write_folder(tmp_path / "out", 10)
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "b.txt").write_text("second")

    assert files_of(tmp_path) == {"out/b.txt": b"second"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert Path(tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_an_old_folder_that_cannot_be_deleted_half_way_is_never_half_deleted(tmp_path, monkeypatch):
    """Ctrl-C while the old folder is deleted: the new one is in its place already."""
    import shutil

    write_folder(tmp_path / "out", 10)

    def interrupt(path, **kwargs):
        raise KeyboardInterrupt

    def replace():
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "b.txt").write_text("second")
            monkeypatch.setattr(shutil, "rmtree", interrupt)

    with pytest.raises(KeyboardInterrupt):
        replace()
    monkeypatch.undo()
    assert files_of(tmp_path / "out") == {"b.txt": b"second"}
