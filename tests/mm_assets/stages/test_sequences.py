"""A sequence from its cell to the exported model: one step tells the class, and no mean does."""

import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.stages.baselines import baselines
from mm_assets.stages.embed import embed
from mm_assets.stages.evaluate import evaluate
from mm_assets.stages.export import export
from mm_assets.stages.project import build_project
from mm_assets.stages.train import train

pytestmark = pytest.mark.slow

SPLITS = {"train": 160, "validation": 50, "test": 50}


def make_cell(right, rng):
    """Write 4 to 12 steps of (mark, value): the value counts at the one step that is marked."""
    steps = np.stack([rng.normal(0, 0.3, 12), rng.choice([-1.0, 1.0], 12)], axis=1)
    steps = steps[: rng.integers(4, 13)]
    steps[rng.integers(len(steps))] = 4.0, 1.0 if right else -1.0
    return json.dumps(steps.round(3).tolist())


def run(root, *, sequence):
    """Run the stages up to the evaluation on the same rows; give the project and its accuracy."""
    config = {
        "version": 2,
        "modalities": {
            "steps": {
                "kind": "features",
                "column": "steps",
                "options": {"dim": 2, "sequence": True},
                "encoder": {"name": "standardized_steps", "sequence": sequence},
            }
        },
        "targets": {"side": {"kind": "multiclass", "column": "side"}},
        "fusion": {"name": "concat", "dim": 16, "dropout": 0.0},
        "train": {
            "epochs": 40,
            "patience": 40,
            "batch_size": 32,
            "learning_rate": 0.02,
            "modality_dropout": 0.0,
            "seeds": 1,
        },
        "evaluation": {"bootstrap": 100},
        "compute": {"device": "cpu", "threads": 1},
    }
    workspace, rng = Workspace(root), np.random.default_rng(0)
    rows = pd.DataFrame({"split": np.repeat(list(SPLITS), list(SPLITS.values()))})
    right = rng.random(len(rows)) < 0.5
    rows["id"] = rows["group"] = [f"s{n}" for n in range(len(rows))]
    rows["steps"] = [make_cell(one, rng) for one in right]
    # One label in ten is wrong, so that calibrated answers are not all 0 and 1.
    rows["side"] = np.where(right ^ (rng.random(len(rows)) < 0.1), "right", "left")
    workspace.data.mkdir(parents=True)
    workspace.augmented.mkdir(parents=True)
    rows.assign(copy=0, render=None).to_parquet(workspace.augmented / "samples.parquet")
    project = build_project(parse_config(config), workspace)
    embed(project, "steps")
    train(project)
    baselines(project)
    return project, evaluate(project).metrics["side_accuracy"]


def test_the_fusion_finds_the_step_that_counts_and_so_does_the_exported_model(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("MM_STORE", raising=False)
    project, attended = run(tmp_path / "attended", sequence=True)
    _, pooled = run(tmp_path / "pooled", sequence=False)
    exported = export(project)

    assert attended > 0.8
    assert pooled < 0.7
    assert not exported.blocks
    assert exported.metrics["parity_max_difference"] < 1e-4
    assert exported.metrics["served_max_difference"] < 1e-4
