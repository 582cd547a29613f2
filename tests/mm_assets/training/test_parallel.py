"""Two processes that share each batch, started by `torchrun`, learn what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from mm_assets.contracts.config import ContextConfig, FusionConfig, TargetConfig, TrainConfig
from mm_assets.targets.base import find_target
from mm_assets.training.batches import cut_batches
from mm_assets.training.examples import Examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel

DIMS, ROWS = {"a": 4, "b": 3}, 190
CASES = {
    "rows": {"batch_size": 33, "accumulate": 2, "clip": 1.0, "ema": 0.9},
    # Batches of three groups of ten; the last is of one, so that one process has no row of it.
    "groups": {"batch_size": 24, "decay": "cosine"},
}


def make_rows(count, seed, *, grouped):
    """Two modalities, of which some are absent, and two targets, some of whose labels are unknown."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 3, (count,), generator=generator)
    vectors = {name: torch.randn(count, dim, generator=generator) for name, dim in DIMS.items()}
    vectors["a"][:, 0] += 2 * kind
    presence = torch.rand(count, 2, generator=generator) < 0.8
    presence[~presence.any(dim=1), 0] = True
    grams = torch.where(torch.rand(count, generator=generator) < 0.3, torch.nan, 5.0 + kind)
    kind = torch.where(torch.rand(count, generator=generator) < 0.3, -1, kind)
    groups = torch.arange(count) // 10 if grouped else None
    return Examples(vectors, presence, {"kind": kind, "grams": grams}, groups)


def train_case(name):
    """Train, and give the curve and the sum of each weight."""
    grouped = name == "groups"
    train, validation = make_rows(ROWS, 1, grouped=grouped), make_rows(60, 2, grouped=grouped)
    asked = {
        "kind": {"kind": "multiclass", "loss": {"class_weights": {"x": 1.0, "y": 3.0, "z": 0.5}}},
        "grams": {"kind": "regression"},
    }
    raw = {"kind": [[*"xyz"][k] if k >= 0 else None for k in train.labels["kind"]]}
    raw["grams"] = train.labels["grams"].tolist()
    targets = {}
    for key, entry in asked.items():
        config = TargetConfig(column=key, **entry)
        targets[key] = find_target(config.kind).fit(pd.Series(raw[key]), config, where=key)
    context = ContextConfig(name="gru") if grouped else None
    torch.manual_seed(0)
    model = FusionModel(
        {key: {"dim": dim} for key, dim in DIMS.items()},
        targets,
        FusionConfig(dim=8, dropout=0.0, context=context),
        members=2,
    )
    curve = train_model(
        model,
        train,
        validation,
        config=TrainConfig(epochs=4, learning_rate=0.02, modality_dropout=0.5, **CASES[name]),
        weights={"kind": 1.0, "grams": 2.0},
        seed=3,
    )
    return {
        "curve": [[epoch.train_loss, epoch.validation_loss] for epoch in curve],
        "weights": {key: tensor.tolist() for key, tensor in model.state_dict().items()},
    }


@pytest.mark.slow
def test_two_processes_reproduce_the_curve_of_one(tmp_path):
    assert len(cut_batches(make_rows(ROWS, 1, grouped=True), 24)[-1]) == 10  # one group
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2", __file__, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr

    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for case in CASES:
        assert first[case]["weights"] == second[case]["weights"]
        alone = train_case(case)["curve"]
        assert alone[0][1] > 1.02 * alone[-1][1]  # something was learned
        torch.testing.assert_close(
            torch.tensor(first[case]["curve"]), torch.tensor(alone), rtol=0, atol=1e-6
        )


if __name__ == "__main__":
    found = {case: train_case(case) for case in CASES}
    (Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
