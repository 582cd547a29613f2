"""Rows that are answered in the light of their group, from the raw table to the exported model."""

import json

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import ConfigError, ServingError
from mm_assets.contracts.workspace import Workspace
from mm_assets.serving.predictor import Predictor
from mm_assets.stages.augment import augment
from mm_assets.stages.baselines import baselines
from mm_assets.stages.embed import embed
from mm_assets.stages.evaluate import evaluate
from mm_assets.stages.export import export
from mm_assets.stages.project import build_project
from mm_assets.stages.train import train
from mm_assets.stages.validate import validate

CONFIG = {
    "version": 2,
    "data": {"group": "talk", "order": "turn"},
    "modalities": {
        "cue": {
            "kind": "features",
            "column": "cue",
            "options": {"dim": 2},
            "encoder": {"name": "standardized"},
        }
    },
    "targets": {"side": {"kind": "multiclass", "column": "side"}},
    "augment": {"copies": 0},
    "fusion": {"name": "concat", "dim": 16, "dropout": 0.0},
    "train": {"epochs": 60, "patience": 20, "batch_size": 32, "learning_rate": 0.01, "seeds": 1},
    "evaluation": {"bootstrap": 100},
    "gates": {"quarantined_share": 0.5},
    "compute": {"device": "cpu", "threads": 1},
}


def write_talks(folder, talks=90, turns=6):
    """Each turn is labelled by the cue of the turn before it; its own cue says nothing of it.

    The table holds the turns of all talks in disorder.
    """
    rng = np.random.default_rng(0)
    rows = []
    for talk in range(talks):
        cues = rng.choice([-1.0, 1.0], turns)
        for turn, cue in enumerate(cues):
            before = cues[turn - 1] if turn else 0.0
            rows.append(
                {
                    "id": f"t{talk}-{turn}",
                    "talk": f"t{talk}",
                    "turn": turn,
                    "cue": json.dumps([cue, round(rng.normal(), 6)]),
                    "side": ["left", "none", "right"][int(before) + 1],
                }
            )
    table = pd.DataFrame(rows).sample(frac=1, random_state=1)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "samples.csv", index=False)
    return table


def run(root, context):
    config = json.loads(json.dumps(CONFIG))
    config["fusion"]["context"] = context
    workspace = Workspace(root)
    write_talks(workspace.data)
    project = build_project(parse_config(config), workspace)
    assert not validate(project).blocks
    augment(project)
    embed(project, "cue")
    train(project)
    baselines(project)
    return project, evaluate(project).metrics["side_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "gru"])
def test_a_turn_is_understood_from_the_turn_before_it(tmp_path, monkeypatch, name):
    monkeypatch.delenv("MM_STORE", raising=False)
    project, accuracy = run(tmp_path, {"name": name, "layers": 1, "heads": 2, "dropout": 0.1})
    # Alone, a turn's cue leaves three answers, of which the best is right in 5 of 12 turns or so.
    assert accuracy > 0.8

    report = export(project)

    assert report.metrics["parity_max_difference"] <= 1e-5
    assert report.metrics["served_max_difference"] <= 1e-5
    predictor = Predictor(tmp_path / "artifacts/onnx")
    turns = [{"cue": [1.0, 0.0]}, {"cue": [-1.0, 0.0]}, {"cue": [1.0, 0.0]}]
    together = predictor.predict(turns, groups=["talk"] * 3)
    best = [max(answer["side"], key=answer["side"].get) for answer in together]
    assert best[1:] == ["right", "left"]
    alone = predictor.predict(turns)
    for one, other in zip(alone, predictor.predict(turns, groups=[1, 2, 3]), strict=True):
        assert one == other
    assert alone[0]["side"] == pytest.approx(alone[2]["side"])
    with pytest.raises(ServingError, match="needs one group a row, got 2 groups for 3 rows"):
        predictor.predict(turns, groups=[1, 2])


@pytest.mark.slow
def test_without_a_context_the_turn_before_is_not_seen(tmp_path, monkeypatch):
    monkeypatch.delenv("MM_STORE", raising=False)
    _, accuracy = run(tmp_path, None)
    assert accuracy < 0.6


def test_rows_of_a_group_are_brought_into_order_and_none_is_guessed(tmp_path):
    workspace = Workspace(tmp_path)
    table = write_talks(workspace.data, talks=8, turns=12)
    table["turn"] = table["turn"].astype("str")  # 10 comes after 9, although it is written before
    table.loc[table["id"] == "t3-5", "turn"] = None
    table.to_csv(workspace.data / "samples.csv", index=False)
    config = json.loads(json.dumps(CONFIG))

    validate(build_project(parse_config(config), workspace))

    kept = pd.read_parquet(workspace.validated / "samples.parquet")
    for talk, rows in kept.groupby("group", sort=False):
        expected = [f"{talk}-{turn}" for turn in range(12) if (talk, turn) != ("t3", 5)]
        assert rows["id"].tolist() == expected
    found = pd.read_parquet(workspace.validated / "quarantine.parquet")
    assert found[["id", "reason"]].to_numpy().tolist() == [["t3-5", "order_missing"]]


def test_a_context_without_groups_is_refused(tmp_path):
    config = json.loads(json.dumps(CONFIG))
    config["data"] = {}
    config["fusion"]["context"] = {}
    with pytest.raises(ConfigError, match=r"`fusion\.context` reads .* but `data\.group` names no"):
        build_project(parse_config(config), Workspace(tmp_path))
