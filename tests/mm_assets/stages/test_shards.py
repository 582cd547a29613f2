"""Shards of rows on machines that share a store, or a URL only; the stage then computes nothing."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.errors import StageError, StoreError
from mm_assets.data.store_remote import RemoteStore
from mm_assets.data.vectors import read_embeddings
from mm_assets.stages.embed import embed
from mm_assets.stages.project import load_project
from mm_assets.stages.shards import Filled, fill_shard, plan_shards

pytestmark = pytest.mark.slow
ROWS = 60
PARAMS = {
    "version": 2,
    "modalities": {
        "words": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}},
        "numbers": {
            "kind": "features",
            "column": "numbers",
            "options": {"dim": 3},
            "encoder": {"name": "standardized"},
        },
        "read": {
            "kind": "text",
            "column": "story",
            "encoder": {"name": "text_cnn", "epochs": 1, "folds": 2},
        },
    },
    "targets": {"label": {"kind": "multiclass", "column": "label"}},
    "compute": {"device": "cpu", "threads": 1},
}


class Machine:
    """A copy of the project, with a store of its own."""

    def __init__(self, root):
        self.root = root
        (root / "artifacts/augmented").mkdir(parents=True)
        (root / "data").mkdir()
        YAML().dump(PARAMS, root / "params.yaml")
        pd.DataFrame(
            {
                "id": [f"s{n}" for n in range(ROWS)],
                "copy": 0,
                "split": ["train", "train", "validation", "test"] * (ROWS // 4),
                "group": None,
                "render": None,
                "words": [f"word{n % 50} and more" if n % 10 else None for n in range(ROWS)],
                "numbers": [json.dumps([n, n * n, 1.0]) for n in range(ROWS)],
                "read": [f"word{n % 50} and more" if n % 10 else None for n in range(ROWS)],
                "label": ["a", "b"] * (ROWS // 2),
            }
        ).to_parquet(root / "artifacts/augmented/samples.parquet")
        self.project = load_project(root)
        self.store = self.project.workspace.store


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.delenv("MM_STORE", raising=False)
    return lambda name: Machine(tmp_path / name)


@pytest.mark.parametrize("key", PARAMS["modalities"])
def test_shards_come_to_what_the_stage_comes_to(machine, capfd, key):
    sharded, whole = machine("sharded"), machine("whole")
    shards = plan_shards(sharded.project, key, rows=13)
    assert sum(len(shard.rows) for shard in shards) == (60 if key == "numbers" else 54)
    assert {len(shard.rows) for shard in shards[:-1]} == {13}
    found = [fill_shard(sharded.project, shard) for shard in reversed(shards)]
    again = [fill_shard(sharded.project, shard) for shard in shards]
    assert all(filled.computed == 0 for filled in again)
    assert sum(filled.computed for filled in found) == sum(
        len(np.unique(read_keys(sharded.project, key, fold)))
        for fold in range(len(shards[0].states))
    )
    capfd.readouterr()
    for one in (sharded, whole):
        embed(one.project, key)
    assert re.match(rf"embed@{key}: 0 vectors computed", capfd.readouterr().err)
    first, second = (
        read_embeddings(one.project.workspace.embeddings(key)) for one in (sharded, whole)
    )
    np.testing.assert_allclose(first.matrix, second.matrix, rtol=1e-5, atol=1e-5)


def read_keys(project, key, place):
    """Give the keys of the rows that one state embeds."""
    from mm_assets.stages.embed import open_cells

    (shard,) = plan_shards(project, key)
    return open_cells(project, key, shard.rows).keys[shard.owners == place]


def test_machines_that_share_a_url_only(machine, tmp_path):
    url = str(tmp_path / "shared")
    home, *workers = map(machine, ["home", "one", "two", "three"])
    shards = plan_shards(home.project, "read", count=2)
    assert len(shards[0].states) == 3  # all training rows, and without each fold

    far = [RemoteStore(worker.store, url) for worker in workers]
    with pytest.raises(StoreError, match=rf"fitted state \w+ is not in .* nor in {url}; cut the"):
        fill_shard(workers[0].project, shards[0], far[0])
    RemoteStore(home.store, url).push()
    found = [
        fill_shard(worker.project, shard, remote)
        for worker, shard, remote in zip(workers[:2], shards, far[:2], strict=True)
    ]
    assert [filled.stored for filled in found] == [0, 0]
    # A machine that has nothing sees that the work was done elsewhere.
    assert fill_shard(workers[2].project, shards[0], far[2]) == Filled(0, found[0].computed)
    assert not list(workers[2].store.glob("*/*.parquet"))

    assert RemoteStore(home.store, url).pull() > 0
    assert [fill_shard(home.project, shard).computed for shard in shards] == [0, 0]


def test_what_is_asked_for_must_be_there(machine):
    one = machine("one")
    with pytest.raises(StageError, match=r"no modality 'smell' .* it has words, numbers, read"):
        plan_shards(one.project, "smell")
    shutil.rmtree(one.root / "artifacts")
    with pytest.raises(StageError, match=r"shards of 'words' need .*augmented; run `dvc repro aug"):
        plan_shards(one.project, "words")
