"""A disk that is full, and one that must not be written to: said clearly, and nothing is lost.

The project lies on a small disk in memory, which takes the right to mount one.
"""

import re
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from orchestration.dvc_project import DvcProject
from orchestration.dvc_runner import StageFailedError, run_stage
from orchestration.dvc_stages import read_stages

DVC_YAML = """
stages:
  first:
    cmd: mkdir -p first && head -c ${kb}000 /dev/zero > first/file && echo first >> runs.log
    deps: [data]
    params: [kb]
    outs: [first]
  second:
    cmd: mkdir -p second && cat first/file > second/file && echo second >> runs.log
    deps: [first]
    outs: [second]
"""


class Disk:
    """A small disk in memory."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self._mount("size=6m")

    def _mount(self, options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs the right to mount a disk: {done.stderr.strip()}")

    def become(self, options):
        """Change size or mode."""
        command = ["mount", "-o", f"remount,{options}", str(self.folder)]
        subprocess.run(command, check=True)

    def fill(self):
        """Leave no byte."""
        with (self.folder / "fill").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def unmount(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    if shutil.which("mount") is None:
        pytest.skip("needs the program mount")
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.unmount()


@pytest.fixture
def root(disk, template, monkeypatch):
    root = disk.folder / "project"
    shutil.copytree(template, root)
    (root / "dvc.yaml").write_text(DVC_YAML)
    monkeypatch.setenv("MM_PROJECT", str(root))
    write_size(root, 1)
    return root


def write_size(root, kb):
    (root / "params.yaml").write_text(
        f"kb: {kb}\nmodalities: {{}}\nschedule: {{cron: '0 3 * * *', timezone: UTC}}\n"
    )


def run(root, target):
    stage = next(stage for stage in read_stages(root) if stage.target == target)
    list(run_stage(DvcProject(root), stage, lambda line: None))


def runs(root):
    return (root / "runs.log").read_text().split()


def check(root):
    """Everything is there, right, and recorded."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "up to date" in done.stdout
    assert (root / "second/file").read_bytes() == (root / "first/file").read_bytes()


@pytest.mark.slow
def test_a_stage_that_fills_the_disk_fails_and_completes_with_more_room(disk, root):
    run(root, "first")
    run(root, "second")
    write_size(root, 20_000)
    with pytest.raises(StageFailedError, match="No space left on device"):
        run(root, "first")
    disk.become("size=128m")
    run(root, "first")
    run(root, "second")
    assert runs(root) == ["first", "second", "first", "second"]
    check(root)


@pytest.mark.slow
def test_a_disk_that_fills_up_while_dvc_records_is_named(disk, root):
    write_size(root, 4_000)  # once it fits, and not a second time in the cache
    with pytest.raises(StageFailedError, match=rf"error: the disk is full: {root} could not be"):
        run(root, "first")
    assert not (root / "dvc.lock").exists()
    disk.become("size=64m")
    run(root, "first")
    run(root, "second")
    check(root)


@pytest.mark.slow
def test_a_disk_without_a_byte_left_is_named_and_leaves_no_lock(disk, root):
    run(root, "first")
    disk.fill()
    with pytest.raises(StageFailedError, match=r"the disk is full|No space left"):
        run(root, "second")
    (disk.folder / "fill").unlink()
    run(root, "first")
    run(root, "second")
    assert runs(root) == ["first", "second"]
    check(root)


@pytest.mark.slow
def test_a_disk_that_must_not_be_written_to_is_named(disk, root):
    run(root, "first")
    disk.become("ro")
    with pytest.raises(StageFailedError, match=r"cannot be written to.*Read-only file system"):
        run(root, "second")
    disk.become("rw")
    run(root, "second")
    assert runs(root) == ["first", "second"]
    check(root)


@pytest.mark.slow
def test_dagster_on_a_full_disk_goes_on_when_there_is_room(disk, root):
    """Its own database included."""
    write_size(root, 5_000)
    command = [sys.executable, "-m", "orchestration"]
    failed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    said = failed.stderr.replace("\n", " ")
    assert re.search(r"No space left|Dagster cannot write its database in \S+ \(.*disk", said), said
    disk.become("size=128m")
    subprocess.run(command, cwd=root, capture_output=True, check=False)
    check(root)
