"""A small project with one bad row, and a person at the command line."""

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML

from mm_assets.cli.main import mm

PARAMS = {
    "version": 2,
    "modalities": {
        "text": {"kind": "text", "column": "words", "encoder": {"name": "minilm"}},
        "photo": {"kind": "image", "column": "file", "encoder": {"name": "efficientnet_lite0"}},
    },
    "targets": {"mood": {"kind": "multiclass", "column": "feeling", "classes": ["glad", "sad"]}},
    "gates": {"quarantined_share": 0.2},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Ten rows, of which one has a broken picture."""
    (tmp_path / "data").mkdir()
    for n in range(10):
        Image.new("RGB", (16, 12), (20 * n, 0, 0)).save(tmp_path / f"data/{n}.png")
    (tmp_path / "data/3.png").write_bytes(b"no picture")
    pd.DataFrame(
        {
            "id": [f"s{n}" for n in range(10)],
            "words": [f"message {n}" for n in range(10)],
            "file": [f"{n}.png" for n in range(10)],
            "feeling": ["glad", "sad"] * 5,
        }
    ).to_csv(tmp_path / "data/samples.csv", index=False)
    YAML().dump(PARAMS, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_params(project):
    def write(**changes):
        YAML().dump(PARAMS | changes, project / "params.yaml")

    return write


@pytest.fixture
def run():
    def invoke(*arguments, status=0):
        """Give what a command printed, standard output and errors."""
        result = CliRunner().invoke(mm, arguments)
        assert result.exit_code == status, result.output
        return result.stdout if status in {0, 1} else result.output

    return invoke
