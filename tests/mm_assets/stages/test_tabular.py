"""Rows of columns through every stage, to an answer of the exported model."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mm_assets.cli.main import mm
from mm_assets.data.vectors import read_embeddings
from mm_assets.stages.augment import augment
from mm_assets.stages.embed import embed
from mm_assets.stages.export import export
from mm_assets.stages.train import train
from mm_assets.stages.validate import validate


@pytest.fixture
def columns(small, monkeypatch):
    """A project in which the plan tells the mood, for 200 samples; some of it is missing."""
    monkeypatch.setenv("MM_STORE", str(small.root / "store"))
    rng = np.random.default_rng(0)
    plans = rng.choice(["free", "pro"], 200)
    small.table = pd.DataFrame(
        {
            "id": [f"s{n}" for n in range(200)],
            "who": [f"g{n}" for n in range(200)],
            "age": [str(age) if rng.random() < 0.8 else None for age in rng.integers(18, 90, 200)],
            "plan": plans,
            "feeling": np.where(plans == "pro", "glad", "sad"),
        }
    )
    small.params["modalities"] = {
        "profile": {
            "kind": "tabular",
            "columns": {"plan": "categorical", "age": "numeric"},
            "encoder": {"name": "tabular"},
        }
    }
    small.params["train"] = {"epochs": 20, "learning_rate": 0.01, "seeds": 1}
    small.params["compute"] = {"device": "cpu", "threads": 1}
    return small


@pytest.mark.slow
def test_the_state_comes_from_training_rows_alone(columns):
    def fit():
        project = columns.load()
        validate(project)
        augment(project)
        embed(project, "profile")
        return read_embeddings(project.workspace.embeddings("profile")).state

    columns.table["part"] = ["train"] * 120 + ["validation"] * 40 + ["test"] * 40
    columns.params["data"]["split"] = "part"
    before = fit()
    columns.table.loc[120:, "age"] = "100000"
    columns.table.loc[120:, "plan"] = "enterprise"
    after = fit()
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    ages = columns.table["age"][:120].dropna().astype(float)
    assert before["median"].tolist() == [ages.median()]
    assert before["scale"].tolist() == [ages.quantile(0.75) - ages.quantile(0.25)]


@pytest.mark.slow
def test_the_exported_model_answers_json_at_the_command_line(columns, monkeypatch):
    project = columns.load()
    assert not validate(project).blocks
    assert not augment(project).blocks
    assert not embed(project, "profile").blocks
    train(project)
    report = export(project)
    assert not report.blocks, report.suites
    monkeypatch.chdir(columns.root)
    for plan, mood in (("pro", "glad"), ("free", "sad")):
        cell = json.dumps({"age": None, "plan": plan})
        result = CliRunner().invoke(mm, ["predict", "--json", "--profile", cell])
        assert result.exit_code == 0, result.output
        answer = json.loads(result.output)["mood"]
        assert max(answer, key=answer.get) == mood
    shown = CliRunner().invoke(mm, ["predict", "--help"])
    assert "--profile MAPPING" in shown.output
