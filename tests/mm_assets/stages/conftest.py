"""A small real project: a text, a picture and a vector per sample."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from mm_assets.stages.project import load_project

PARAMS = {
    "version": 2,
    "seed": 3,
    "data": {"group": "who"},
    "modalities": {
        "text": {"kind": "text", "column": "words", "encoder": {"name": "minilm"}},
        "photo": {"kind": "image", "column": "file", "encoder": {"name": "efficientnet_lite0"}},
        "scan": {
            "kind": "features",
            "column": "vector",
            "encoder": {"name": "standardized"},
            "options": {"dim": 3},
        },
    },
    "targets": {"mood": {"kind": "multiclass", "column": "feeling", "classes": ["glad", "sad"]}},
    "augment": {"copies": 2},
}


class SmallProject:
    """A project's folder, whose table and parameters a test may change."""

    def __init__(self, root, samples=60):
        self.root = root
        (root / "data").mkdir()
        rng = np.random.default_rng(0)
        for n in range(samples):
            pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"data/{n}.png")
        self.table = pd.DataFrame(
            {
                "id": [f"s{n}" for n in range(samples)],
                "who": [f"g{n // 2}" for n in range(samples)],
                "words": [f"message number {n}" if n % 5 else None for n in range(samples)],
                "file": [f"{n}.png" if n % 7 else None for n in range(samples)],
                "vector": [json.dumps(rng.normal(size=3).tolist()) for n in range(samples)],
                "feeling": ["glad" if n % 2 else "sad" for n in range(samples)],
            }
        )
        self.params = json.loads(json.dumps(PARAMS))

    def load(self):
        """Write the table and the parameters, and load the project."""
        self.table.to_csv(self.root / "data/samples.csv", index=False)
        YAML().dump(self.params, self.root / "params.yaml")
        return load_project(self.root)


@pytest.fixture
def small(tmp_path):
    return SmallProject(tmp_path)


@pytest.fixture
def read_bytes():
    def read(folder):
        """Give the bytes of every file below a folder, by name."""
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return read
