"""A run that was killed goes on to the very result of one that was not."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from mm_assets.training import memory
from mm_assets.training.memory import KEPT, RunMemory, digest_run

# Trains, and where asked kills itself, -9, once an epoch has ended.
SCRIPT = """
import json, os, signal, sys
import torch
from safetensors.torch import save_file
from mm_assets.contracts.config import FusionConfig, TrainConfig
from mm_assets.training import memory
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.examples import Examples
from pathlib import Path

folder, last, options = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
memory.EVERY_S = 0.0
torch.set_num_threads(1)

def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(0, 2, (count,), generator=generator)
    vectors = {"a": torch.randn(count, 4, generator=generator), "b": torch.randn(count, 3, generator=generator)}
    vectors["a"][:, 0] += 2 * side
    known = torch.where(torch.rand(count, generator=generator) < 0.2, -1, side)
    return Examples(vectors, torch.rand(count, 2, generator=generator) < 2, {"side": known})

def watch(epoch):
    if epoch.epoch == last:
        os.kill(os.getpid(), signal.SIGKILL)

torch.manual_seed(0)
model = FusionModel({"a": {"dim": 4}, "b": {"dim": 3}}, {"side": Multiclass(("l", "r"))}, FusionConfig(dim=8, dropout=0.3), members=2)
curve = train_model(model, rows(200, 1), rows(60, 2), config=TrainConfig(**options), weights={"side": 1.0},
                    seed=3, watch=watch, memory=folder / "memory")
save_file(model.state_dict(), folder / "model.safetensors")
(folder / "curve.json").write_text(json.dumps([[e.epoch, e.train_loss, e.validation_loss] for e in curve]))
"""

EVERYTHING = {
    "epochs": 7, "patience": 7, "batch_size": 32, "learning_rate": 0.02, "decay": "cosine", "warmup": 0.1,
    "accumulate": 2, "clip": 1.0, "ema": 0.9,
}  # fmt: skip


def run(folder, last, options):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT, str(folder), str(last), json.dumps(options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"epochs": 7, "batch_size": 32}, EVERYTHING])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, options):
    whole = run(tmp_path / "whole", -1, options)
    assert whole.returncode == 0, whole.stderr
    for last in (2, 5):  # killed twice
        killed = run(tmp_path / "killed", last, options)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(list((tmp_path / "killed/memory").glob("*.pt"))) == 1
    ended = run(tmp_path / "killed", -1, options)
    assert ended.returncode == 0, ended.stderr

    expected, found = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    curves = [(tmp_path / name / "curve.json").read_text() for name in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert not list((tmp_path / "killed/memory").iterdir())  # nothing is left behind


def test_a_run_on_other_rows_or_with_other_parameters_has_another_name():
    from mm_assets.training.examples import Examples

    def rows(value):
        return Examples(
            {"a": torch.full((3, 2), value)}, torch.ones(3, 1).bool(), {"t": torch.zeros(3)}
        )

    names = {digest_run({"seed": seed}, rows(value)) for seed in (0, 1) for value in (0.0, 1e-7)}
    assert len(names) == 4
    assert digest_run({"seed": 0}, rows(0.0)) in names


def test_memories_of_runs_that_never_ended_do_not_pile_up(tmp_path):
    for number in range(6):
        RunMemory(tmp_path, f"run{number}").write({"epoch": number})
    kept = sorted(file.stem for file in tmp_path.iterdir())
    assert kept == [f"run{number}" for number in range(6 - KEPT, 6)]
    assert RunMemory(tmp_path, "run5").read() == {"epoch": 5}
    assert RunMemory(tmp_path, "run0").read() is None


def test_memory_is_written_now_and_then_only(tmp_path):
    kept = RunMemory(tmp_path, "run")
    assert memory.EVERY_S >= 1
    assert not kept.is_due()
