"""A small project whose vectors are there, and a drop folder into which batches are put."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

PARAMS = {
    "version": 2,
    "seed": 1,
    "data": {"group": "who"},
    "modalities": {
        "text": {
            "kind": "text",
            "column": "words",
            "encoder": {"name": "hashed_ngrams"},
        },
        "scan": {
            "kind": "features",
            "column": "vector",
            "options": {"dim": 3},
            "encoder": {"name": "standardized"},
        },
        "person": {
            "kind": "tabular",
            "columns": {"age": "numeric", "region": "categorical"},
            "encoder": {"name": "tabular"},
        },
    },
    "targets": {
        "mood": {"kind": "multiclass", "column": "feeling", "classes": ["glad", "sad"]},
        "score": {"kind": "regression", "column": "points"},
    },
    "compute": {"device": "cpu", "threads": 1},
    "train": {"epochs": 2, "seeds": 1},
}
WORDS = [
    "parcel",
    "invoice",
    "late",
    "broken",
    "thanks",
    "again",
    "never",
    "soon",
    "please",
    "help",
]


def draw_rows(rng, groups, size=3, first=0, shift=0.0, words=WORDS):
    """Rows of a group share part of what they are."""
    rows = []
    for group in range(first, first + groups):
        own = rng.normal(size=3) / 2
        for n in range(size):
            vector = own + rng.normal(size=3) + shift
            rows.append(
                {
                    "id": f"s{group}-{n}",
                    "who": f"g{group}",
                    "words": " ".join(rng.choice(words, 4)) if rng.random() > 0.1 else None,
                    "vector": json.dumps(vector.round(6).tolist()),
                    "age": round(40 + 10 * rng.normal(), 1),
                    "region": str(rng.choice(["north", "south"])),
                    "feeling": "glad" if vector[0] > shift else "sad",
                    "points": round(float(vector[1]), 3),
                }
            )
    return pd.DataFrame(rows)


class DriftProject:
    """A project's folder."""

    def __init__(self, root):
        self.root = root

    def write_params(self, **changes):
        YAML().dump(PARAMS | changes, self.root / "params.yaml")

    def drop(self, name, table):
        """Put a batch into the drop folder."""
        folder = self.root / "incoming" / name
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / "samples.csv", index=False)
        return folder


@pytest.fixture(scope="session")
def drift_template(tmp_path_factory):
    from mm_assets.stages.augment import augment
    from mm_assets.stages.embed import embed
    from mm_assets.stages.project import load_project
    from mm_assets.stages.train import train
    from mm_assets.stages.validate import validate

    root = tmp_path_factory.mktemp("drift") / "project"
    (root / "data").mkdir(parents=True)
    DriftProject(root).write_params()
    draw_rows(np.random.default_rng(0), 100).to_csv(root / "data/samples.csv", index=False)
    project = load_project(root)
    validate(project)
    augment(project)
    for key in project.modalities:
        embed(project, key)
    train(project)
    return root


@pytest.fixture
def incoming(drift_template, tmp_path, monkeypatch):
    """A project that has been trained."""
    monkeypatch.delenv("MM_STORE", raising=False)
    root = tmp_path / "project"
    shutil.copytree(drift_template, root)
    return DriftProject(root)


@pytest.fixture
def draw():
    return draw_rows


@pytest.fixture
def read_bytes():
    def read(folder):
        """Give the bytes of every file below a folder, by name."""
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return read
