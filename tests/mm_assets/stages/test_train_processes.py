"""Stage `train` in two processes of this machine: the same curve, and no trouble when one is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.stages.project import load_project
from mm_assets.stages.train import train
from mm_assets.training import memory
from mm_assets.training.processes import run_together

# At import, so that the processes that the stage starts do so too: they import this file.
if __name__ in {"__main__", "__mp_main__"}:
    memory.EVERY_S = 0.0


def read_curve(root):
    return pd.read_csv(root / "artifacts/model/curves.csv")


@pytest.fixture
def long(embedded):
    """A run of seconds, without the dropout that differs between processes."""
    embedded.params["fusion"]["dropout"] = 0.0
    embedded.params["train"] |= {"epochs": 60, "patience": 60}
    embedded.params["compute"]["processes"] = 2
    embedded.load()
    return embedded


@contextlib.contextmanager
def start_stage(root):
    """Start the stage, wait for its first checkpoint, and give it with the two that it started."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(root)], stderr=subprocess.PIPE, text=True
    )
    try:
        while not list(root.glob(".mm/unfinished/train/*.pt")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        started = psutil.Process(process.pid).children(recursive=True)
        yield process, [one for one in started if "spawn_main" in " ".join(one.cmdline())]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def mark_checkpoint(root):
    """Write a number into the checkpoint that no training would give."""
    (file,) = root.glob(".mm/unfinished/train/*.pt")
    state = torch.load(file, weights_only=True)
    state["curve"][0]["train_loss"] = 123.0
    torch.save(state, file)


@pytest.mark.slow
def test_a_killed_process_ends_the_stage_and_the_next_run_goes_on(long):
    with start_stage(long.root) as (process, workers):
        assert len(workers) == 2
        workers[1].kill()
        said = process.communicate()[1]
        assert process.returncode == 1
        assert "process 2 of the 2 that share each batch (`compute.processes`) was killed" in said
        assert "goes on from its last checkpoint" in said
    assert not (long.root / "artifacts/model/model.safetensors").exists()
    assert not any(one.is_running() for one in workers)

    mark_checkpoint(long.root)
    train(load_project(long.root))
    curve = read_curve(long.root)
    assert curve["train_loss"][0] == 123.0

    long.params["compute"]["processes"] = 1
    train(long.load())
    # The table keeps six digits.
    np.testing.assert_allclose(curve[1:], read_curve(long.root)[1:], atol=2e-6)


@pytest.mark.slow
def test_the_processes_end_with_the_one_that_started_them(long):
    with start_stage(long.root) as (process, workers):
        os.kill(process.pid, signal.SIGKILL)
        gone, alive = psutil.wait_procs(workers, timeout=20)
        assert len(gone) == 2, alive


def give(value):
    return value


@pytest.mark.slow
def test_an_error_in_a_process_is_told_as_it_was_raised(embedded):
    embedded.params["compute"]["processes"] = 2
    embedded.rows["split"] = embedded.rows["split"].replace("validation", "test")
    with pytest.raises(TrainingError, match=r"^training needs at least 1 validation row, got 0"):
        train(embedded.load())


def test_alone_nothing_is_started():
    value = object()  # of a process it could not come back the same
    assert run_together(give, value, count=1) is value


def test_each_process_needs_a_gpu_of_its_own(embedded, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    embedded.params["compute"] = {"device": "cuda", "processes": 2}
    with pytest.raises(ConfigError, match=r"`compute.processes: 2` needs a GPU for each, got 1"):
        train(embedded.load())


if __name__ == "__main__":
    try:
        train(load_project(Path(sys.argv[1])))
    except TrainingError as error:
        sys.exit(f"error: {error}")
