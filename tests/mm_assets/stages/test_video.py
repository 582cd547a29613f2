"""Clips and their sound through every stage, to an answer of the exported model."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.config import SPLITS
from mm_assets.data.table import read_augmented
from mm_assets.serving.predictor import Predictor
from mm_assets.sources.crane import generate_crane
from mm_assets.stages.augment import augment
from mm_assets.stages.embed import embed
from mm_assets.stages.export import export
from mm_assets.stages.project import load_project
from mm_assets.stages.train import train
from mm_assets.stages.validate import validate

ROOT = Path(__file__).parents[3]
ENCODERS = {
    "video": {"name": "video_attention", "size_px": 32, "dim": 8, "epochs": 1, "folds": 2},
    "audio": {"name": "voice_functionals"},
}


@pytest.fixture
def cranes(tmp_path, monkeypatch):
    """The recipe, with few clips and a network that hardly learns."""
    monkeypatch.setenv("MM_STORE", str(tmp_path / "store"))
    generate_crane(tmp_path / "data", rows=40, cranes=10)
    params = YAML().load((ROOT / "recipes/crane.yaml").read_text())
    for key, encoder in ENCODERS.items():
        params["modalities"][key]["encoder"] = encoder
    params["train"] = {"epochs": 2, "seeds": 1}
    params["compute"] = {"device": "cpu", "threads": 1}
    YAML().dump(params, tmp_path / "params.yaml")
    return load_project(tmp_path)


@pytest.mark.slow
def test_a_file_is_seen_and_heard_from_the_table_to_the_exported_model(cranes):
    validate(cranes)
    augment(cranes)
    rows = read_augmented(cranes.workspace.augmented, splits=SPLITS, columns=["video", "audio"])
    assert rows["video"].equals(rows["audio"])
    for key in ENCODERS:
        embed(cranes, key)
    train(cranes)
    report = export(cranes)
    assert not report.blocks, report.suites

    predictor = Predictor(cranes.workspace.onnx)
    clip = str(cranes.workspace.data / rows["video"][0])
    answers = predictor.predict([{"video": clip, "audio": clip}, {"audio": clip}, {"video": clip}])
    for answer in answers:
        assert sum(answer["motion"].values()) == pytest.approx(1, abs=1e-5)
    assert answers[0]["motion"] != answers[1]["motion"]
