import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from orchestration.rwlock import heal_rwlock


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "rwlock"


def hold(pid):
    """As DVC writes it: one process reads one file and writes another."""
    info = {"pid": pid, "cmd": "dvc repro"}
    return {"read": {"/a": [info]}, "write": {"/b": info}}


def test_a_file_that_says_what_is_true_is_left_alone(lock):
    for text in (json.dumps(hold(os.getpid())), '{"read": {}, "write": {}}', "{}"):
        lock.write_text(text)
        heal_rwlock(lock.parent)
        assert lock.read_text() == text


@pytest.mark.parametrize("text", ["", '{"read": {"/a": [{"pid": 1'])
def test_a_file_that_is_cut_off_is_deleted(lock, text):
    lock.write_text(text)
    heal_rwlock(lock.parent)
    assert not lock.exists()


def test_a_zombie_holds_nothing_though_its_number_exists(lock):
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    both = hold(os.getpid())
    both["read"]["/a"] += hold(zombie.pid)["read"]["/a"]
    both["write"]["/c"] = hold(zombie.pid)["write"]["/b"]
    lock.write_text(json.dumps(both))
    heal_rwlock(lock.parent)
    assert json.loads(lock.read_text()) == hold(os.getpid())
    zombie.wait()


@pytest.mark.parametrize(("name", "healed"), [("other", True), ("dvc", False)])
def test_a_number_that_another_program_has_by_now_holds_nothing(lock, name, healed):
    other = subprocess.Popen(["sleep", "60"] if name == "other" else ["sh", "-c", "sleep 60 #dvc"])
    try:
        lock.write_text(json.dumps(hold(other.pid)))
        os.utime(lock, (0, 0))  # before that program was started
        heal_rwlock(lock.parent)
        assert bool(json.loads(lock.read_text())["write"]) is not healed
    finally:
        other.kill()
        other.wait()
