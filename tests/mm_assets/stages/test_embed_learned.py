"""Encoders that learn, and those that give sequences, through the real stage."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.errors import ConfigError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.vectors import align_sequences, read_embeddings
from mm_assets.stages.embed import embed
from mm_assets.stages.project import build_project

pytestmark = pytest.mark.slow

ROWS = 90
EPOCHS = 40


def make_project(root, encoder, *, sequence=False, seed=0, export=True):
    """60 training rows of random numbers with random labels, two of each group, and 30 others."""
    config = {
        "version": 2,
        "seed": seed,
        "modalities": {
            "table": {
                "kind": "tabular",
                "columns": {f"c{n}": "numeric" for n in range(6)},
                "encoder": encoder,
            },
            "steps": {
                "kind": "features",
                "column": "steps",
                "options": {"dim": 2, "sequence": True},
                "encoder": {"name": "standardized_steps", "sequence": sequence},
            },
        },
        "targets": {"side": {"kind": "binary", "column": "side"}},
        "export": {"enabled": export},
        "compute": {"device": "cpu", "threads": 1},
    }
    workspace = Workspace(root)
    workspace.augmented.mkdir(parents=True, exist_ok=True)
    workspace.data.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "id": [f"s{n}" for n in range(ROWS)],
            "copy": 0,
            "split": ["train"] * 60 + ["validation"] * 15 + ["test"] * 15,
            "group": [f"g{n // 2}" for n in range(ROWS)],
            "render": None,
            "table": [
                json.dumps({f"c{n}": float(x) for n, x in enumerate(rng.normal(size=6))})
                for _ in range(ROWS)
            ],
            "steps": [json.dumps(rng.normal(size=(1 + n % 4, 2)).tolist()) for n in range(ROWS)],
            "side": rng.choice(["left", "right"], ROWS),
        }
    )
    rows.to_parquet(workspace.augmented / "samples.parquet")
    return build_project(parse_config(config), workspace), rows


@pytest.fixture(autouse=True)
def own_store(monkeypatch):
    monkeypatch.delenv("MM_STORE", raising=False)


MLP = {"name": "tabular_mlp", "objective": "supervised", "epochs": EPOCHS, "folds": 3}


def judge(project, rows, vectors):
    """Share of training rows whose label the sign of their one logit tells."""
    right = (rows["side"] == "right").to_numpy()
    answered = vectors[:, -1] - (vectors[:, 0] if vectors.shape[1] > 1 else 0) > 0
    return np.mean(answered[:60] == right[:60])


def test_vectors_of_training_rows_do_not_know_their_labels(tmp_path):
    """The labels are random, so whatever a vector tells about them was leaked by its encoder."""
    import torch

    project, rows = make_project(tmp_path, MLP)
    report = embed(project, "table")
    got = read_embeddings(project.workspace.embeddings("table"))
    encoder, modality = project.encoders["table"], project.modalities["table"]
    values = [modality.decode(cell, project.workspace.data) for cell in rows["table"]]
    arrays = modality.collate(values, encoder.inputs())
    with torch.inference_mode():
        full = encoder.network(got.state)(*map(torch.from_numpy, arrays.values())).numpy()

    assert report.metrics["folds"] == got.encoder["folds"] == 3
    assert len(set(got.encoder["stored"])) == len(set(got.encoder["states"])) == 4
    assert judge(project, rows, full) > 0.75
    assert judge(project, rows, np.asarray(got.matrix)) < 0.7
    np.testing.assert_allclose(got.matrix[60:], full[60:], atol=1e-5)
    assert np.abs(got.matrix[:60] - full[:60]).max() > 0.1


def computed(capsys):
    lines = [text for text in capsys.readouterr().err.splitlines() if "from the store" in text]
    words = lines[-1].split()
    return int(words[1]), int(words[4])


def test_nothing_is_fitted_twice_and_an_interrupted_fit_goes_on(tmp_path, capsys):
    project, _ = make_project(tmp_path, MLP)
    embed(project, "table")
    assert computed(capsys) == (ROWS, 0)
    states = sorted((project.workspace.store / "states").iterdir())
    folder = project.workspace.embeddings("table")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    embed(project, "table")
    assert computed(capsys) == (0, ROWS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    # As if it had been killed after the first of four states.
    kept = {path: path.stat().st_ino for path in states[:1]}
    for path in states[1:]:
        path.unlink()
    embed(project, "table")
    assert computed(capsys) == (0, ROWS)  # fitted anew to the same numbers
    assert sorted((project.workspace.store / "states").iterdir()) == states
    assert all(path.stat().st_ino == inode for path, inode in kept.items())


def test_another_label_or_seed_is_another_encoder(tmp_path, capsys):
    project, rows = make_project(tmp_path, MLP)
    embed(project, "table")
    capsys.readouterr()
    other, _ = make_project(tmp_path, MLP, seed=1)
    embed(other, "table")
    assert computed(capsys) == (ROWS, 0)
    table = project.workspace.augmented / "samples.parquet"
    rows.assign(
        side=rows["side"].mask(
            rows["id"] == "s0", "left" if rows["side"][0] == "right" else "right"
        )
    ).to_parquet(table)
    embed(project, "table")
    new, stored = computed(capsys)
    assert new > stored  # the fold of the row itself never saw its label


def test_without_labels_there_is_one_state_for_all_rows(tmp_path):
    project, _ = make_project(tmp_path, {"name": "tabular"})
    embed(project, "table")
    got = read_embeddings(project.workspace.embeddings("table"))
    assert got.encoder["folds"] == 0
    assert len(got.encoder["stored"]) == len(got.encoder["states"]) == 1


def test_sequences_are_kept_step_by_step_where_they_are_asked_for(tmp_path):
    project, rows = make_project(tmp_path, MLP, sequence=True)
    report = embed(project, "steps")
    got = read_embeddings(project.workspace.embeddings("steps"))
    raw = [np.array(json.loads(cell)) for cell in rows["steps"]]

    assert (got.encoder["sequence"], got.encoder["dim"]) == (True, 2)
    assert got.lengths.tolist() == [len(one) for one in raw]
    assert report.metrics["steps"] == sum(map(len, raw))
    assert not report.blocks
    padded, mask = align_sequences(got, rows)
    assert mask.sum() == sum(map(len, raw))
    known = np.concatenate(raw[:60])
    for row in (0, 7, 89):
        wanted = (raw[row] - known.mean(axis=0)) / known.std(axis=0)
        np.testing.assert_allclose(padded[row][mask[row]], wanted, atol=1e-5)

    vectors, _ = make_project(tmp_path, MLP)
    embed(vectors, "steps")
    assert read_embeddings(project.workspace.embeddings("steps")).encoder["dim"] == 4


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_has_vectors_of_its_own(tmp_path, capsys, precision):
    exact, _ = make_project(tmp_path, {**MLP, "dim": 32}, export=False)
    embed(exact, "table")
    wanted = np.array(read_embeddings(exact.workspace.embeddings("table")).matrix)
    capsys.readouterr()
    rough, _ = make_project(tmp_path, {**MLP, "dim": 32, "precision": precision}, export=False)
    embed(rough, "table")
    got = read_embeddings(rough.workspace.embeddings("table"))
    assert computed(capsys) == (ROWS, 0)
    assert (got.encoder["precision"], got.matrix.dtype) == (precision, np.float32)
    assert 0 < np.abs(got.matrix - wanted).max() < 0.1 * np.abs(wanted).max()


def test_an_exported_model_is_made_from_float32(tmp_path):
    with pytest.raises(
        ConfigError, match=r"`modalities\.table\.encoder\.precision` must be float32"
    ):
        make_project(tmp_path, {**MLP, "precision": "bf16"})


def test_what_the_store_has_costs_no_torch(tmp_path):
    project, _ = make_project(tmp_path, MLP)
    embed(project, "table")
    code = (
        "import runpy, sys\n"
        "from pathlib import Path\n"
        "here = runpy.run_path(sys.argv[1])\n"
        "project, _ = here['make_project'](Path(sys.argv[2]), here['MLP'])\n"
        "here['embed'](project, 'table')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code, __file__, str(tmp_path)], check=True)
