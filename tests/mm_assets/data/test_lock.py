"""What must run alone runs alone, and a message says who is there."""

import os
import subprocess
import sys
from threading import Timer

import pytest

from mm_assets.contracts.errors import StageError
from mm_assets.data.lock import hold_lock

HOLD = """
import sys, pathlib
from mm_assets.data.lock import hold_lock
with hold_lock(pathlib.Path(sys.argv[1]), what="test"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock `a.lock` until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "locks/a.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def take(path, **options):
    with hold_lock(path, what="stage embed@text", **options):
        return True


def test_a_second_holder_stops_at_once_and_is_told_who_the_first_is(tmp_path, other):
    with pytest.raises(
        StageError,
        match=rf"^stage embed@text is already running in this project \(process {other.pid} on "
        r".+, since 20\d\d-.*\); wait until it ends, or stop it, and run again$",
    ):
        take(tmp_path / "locks/a.lock")
    assert take(tmp_path / "locks/b.lock")


def test_one_who_waits_gets_it_once_it_is_free_or_is_refused_in_the_end(tmp_path, other):
    path = tmp_path / "locks/a.lock"
    with pytest.raises(StageError, match=f"process {other.pid}"):
        take(path, wait_s=0.1)
    Timer(0.2, other.stdin.close).start()
    assert take(path, wait_s=30.0)


def test_a_killed_holder_holds_nothing(tmp_path, other):
    other.kill()
    other.wait()
    assert take(tmp_path / "locks/a.lock")


def test_a_lock_is_free_after_its_block_however_that_ended(tmp_path):
    path = tmp_path / "a.lock"

    def fail():
        with hold_lock(path, what="test"):
            assert str(os.getpid()) in path.with_suffix(".holder").read_text()
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert not path.with_suffix(".holder").exists()
    assert take(path)
