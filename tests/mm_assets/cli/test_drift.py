"""`mm drift` and `mm ingest`, over the trained project of the drift tests."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import read_memory, sign_batch

pytestmark = pytest.mark.slow

SPEC = importlib.util.spec_from_file_location(
    "drift_conftest", Path(__file__).parents[1] / "drift" / "conftest.py"
)
drift_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(drift_conftest)
drift_template, incoming = drift_conftest.drift_template, drift_conftest.incoming


def test_a_batch_is_compared_and_taken(incoming, run, monkeypatch):
    monkeypatch.chdir(incoming.root)
    rows = drift_conftest.draw_rows(np.random.default_rng(1), 20, first=1000)
    incoming.drop("b1", rows.assign(region="west"))
    said = run("drift", "b1")
    assert "region column" in said
    assert "drift  never seen before: west" in said
    assert "b1: 60 rows, 0 of them bad; drifted: " in said
    assert f"page: {incoming.root}/.mm/drift/b1/page.html" in said
    before = (incoming.root / "data/samples.csv").read_text().splitlines()

    said = run("ingest", "b1")
    assert "b1: 60 rows and 0 files are in data/ now\nnow run `dvc repro`" in said
    assert len((incoming.root / "data/samples.csv").read_text().splitlines()) == len(before) + 60
    taken = read_memory(Workspace(incoming.root)).ingested["b1"]
    assert (taken.run, taken.signature) == ("by hand", sign_batch(incoming.root / "incoming/b1"))
    assert "60 were there already" in run("ingest", "b1")


def test_a_batch_that_must_wait_says_why(incoming, run, monkeypatch):
    monkeypatch.chdir(incoming.root)
    incoming.drop("b2", drift_conftest.draw_rows(np.random.default_rng(2), 10, first=0))
    assert "not ingested by itself: 30 ids are in data/" in run("drift", "b2")
