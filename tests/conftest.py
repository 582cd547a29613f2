"""A project that has come as far as its embeddings, for tests of all that reads them."""

import json
import os
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from mm_assets.data.vectors import Embeddings, write_embeddings
from mm_assets.stages.project import load_project

# Equal code gives equal results, on a busy machine, too; `--hypothesis-profile draw` draws others.
settings.register_profile("draw", deadline=None)
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.load_profile("repeat")
os.environ["DVC_NO_ANALYTICS"] = "1"  # each `dvc` would start a process that looks for its makers


class EmbeddedProject:
    """A project whose vectors are there: `clear` tells the side, `hint` a little, some are absent.

    Training rows have a copy; the last training row and the last test row have no label.
    """

    def __init__(self, root, seed=0):
        rng = np.random.default_rng(seed)
        self.params = {
            "version": 2,
            "modalities": {
                key: {
                    "kind": "features",
                    "column": key,
                    "options": {"dim": 3},
                    "encoder": {"name": "standardized"},
                }
                for key in ("clear", "hint")
            },
            "targets": {"side": {"kind": "multiclass", "column": "side"}},
            "fusion": {"dim": 8, "dropout": 0.2},
            "train": {"epochs": 12, "learning_rate": 0.01, "seeds": 2},
            "evaluation": {"bootstrap": 200},
            "compute": {"device": "cpu", "threads": 1},
        }
        samples = pd.DataFrame(
            {
                "id": [f"s{n}" for n in range(300)],
                "copy": 0,
                "split": ["train"] * 180 + ["validation"] * 60 + ["test"] * 60,
                "group": [f"g{n // 3}" for n in range(300)],
                "render": None,
                "side": rng.choice(["left", "right"], 300),
            }
        )
        copies = samples[samples["split"] == "train"].assign(copy=1, render="{}")
        self.rows = pd.concat([samples, copies], ignore_index=True)
        self.rows.loc[[179, 299], "side"] = None
        self.vectors = {}
        for place, (key, shift) in enumerate({"clear": 3.0, "hint": 1.0}.items()):
            matrix = rng.normal(size=(len(self.rows), 3)).astype(np.float32)
            matrix[:, 0] += shift * (self.rows["side"] == "right")
            self.vectors[key] = (self.rows.index % 10 != place, matrix)
        self.root = root

    def load(self):
        """Write rows, vectors and parameters, and load the project."""
        YAML().dump(self.params, self.root / "params.yaml")
        project = load_project(self.root)
        project.workspace.augmented.mkdir(parents=True, exist_ok=True)
        project.workspace.data.mkdir(exist_ok=True)
        cells = {
            key: [
                json.dumps(row.tolist()) if there else None
                for there, row in zip(present, matrix, strict=True)
            ]
            for key, (present, matrix) in self.vectors.items()
        }
        self.rows.assign(**cells).to_parquet(project.workspace.augmented / "samples.parquet")
        for key, (present, matrix) in self.vectors.items():
            found = self.rows[present]
            folder = project.workspace.embeddings(key)
            folder.mkdir(parents=True, exist_ok=True)
            dim = matrix.shape[1]
            encoder = {"name": "standardized", "dim": dim, "fingerprint": key}
            state = {"mean": np.zeros(dim, np.float32), "scale": np.ones(dim, np.float32)}
            write_embeddings(
                folder,
                Embeddings(
                    found["id"].to_numpy(),
                    found["copy"].to_numpy(),
                    matrix[present],
                    encoder,
                    state,
                ),
            )
        return project


@pytest.fixture
def embedded(tmp_path):
    return EmbeddedProject(tmp_path)


@pytest.fixture(scope="module")
def shared_embedded(tmp_path_factory):
    """The same for all tests of a file, which then only look at it."""
    return EmbeddedProject(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="session")
def s3():
    """An S3 of moto's on 127.0.0.1, and the variables that lead AWS's own tools to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch):
    """The URL of an empty bucket, which this process and those it starts can reach."""
    import boto3

    for variable, value in s3.items():
        monkeypatch.setenv(variable, value)
    name = f"b{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"
