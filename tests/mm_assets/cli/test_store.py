import os
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from mm_assets.cli.main import mm
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json
from mm_assets.data.store import Origin, VectorStore, vector_key

OLD, NEW, KEPT = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three encoders' vectors: two not used for 40 days, one of which the artifacts were made with."""
    monkeypatch.delenv("MM_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path)
    for fingerprint in (OLD, NEW, KEPT):
        store = VectorStore(workspace.store, fingerprint, Origin("minilm", 1, 3))
        for number in range(2):
            key = np.array([vector_key(str(number), None)], dtype="S32")
            store.add(key, np.full((1, 3), number, np.float32))
    for fingerprint in (OLD, KEPT):
        for path in (workspace.store / fingerprint).iterdir():
            os.utime(path, (time.time() - 40 * 86400,) * 2)
    write_json(workspace.embeddings("text") / "encoder.json", {"stored": [KEPT], "states": []})
    return tmp_path


def run(*arguments, **more):
    return CliRunner().invoke(mm, ["store", *arguments], **more)


def folders(root):
    return sorted(path.name for path in (root / ".mm/store").iterdir())


def test_ls_says_what_is_there_and_what_is_used(root):
    result = run("ls")
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith("  bbbbbbbbbbbb  ")
    assert {line[:14] for line in lines[1:3]} == {"  aaaaaaaaaaaa", "* cccccccccccc"}
    assert "minilm v1, dim 3, float32" in lines[0]
    assert "2 vectors" in lines[0]


def test_ls_of_no_store_is_empty(tmp_path, monkeypatch):
    monkeypatch.delenv("MM_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run("ls").output == f"0.0 MB in {tmp_path}/.mm/store\n"


def test_prune_deletes_what_nobody_used_for_long_and_merges_the_rest(root):
    result = run("prune", "--yes")
    assert result.exit_code == 0, result.output
    assert folders(root) == [NEW, KEPT]
    assert result.output.splitlines()[-1].startswith("deleted 1 of 3, ")
    assert result.output.splitlines()[-1].endswith("merged 4 shards")


def test_prune_asks_and_a_no_changes_nothing(root):
    result = run("prune", input="n\n")
    assert "delete 1 of 3" in result.output
    assert result.exit_code == 130
    assert folders(root) == [OLD, NEW, KEPT]


def test_a_dry_run_changes_nothing(root):
    result = run("prune", "--older-than", "0", "--dry-run")
    assert result.output.splitlines()[-1].startswith("would delete 2 of 3")
    assert folders(root) == [OLD, NEW, KEPT]


def test_verify_names_a_bad_shard_and_sets_it_aside(root):
    assert run("verify").output.endswith("6 shards, 0 of them bad\n")
    shard = next((root / ".mm/store" / NEW).glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:50])

    result = run("verify")
    assert result.exit_code == 1
    assert f"{shard}: cannot be read: " in result.output
    assert "`mm store verify --set-aside`" in result.output
    assert run("verify", "--set-aside").exit_code == 1
    assert run("verify").exit_code == 0


def test_push_and_pull_share_what_one_of_two_stores_has(root, tmp_path, monkeypatch):
    url = str(tmp_path / "shared")
    assert f"9 files copied to {url}" in run("push", url).output
    assert f"0 files copied to {url}" in run("push", url).output
    monkeypatch.setenv("MM_STORE", str(tmp_path / "elsewhere"))
    assert f"9 files copied from {url}" in run("pull", url).output
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == folders(root)


@pytest.mark.slow
def test_fill_computes_a_shard_and_what_was_bought_is_not_computed_again(root, tmp_path):
    params = {
        "version": 2,
        "modalities": {
            "words": {"kind": "text", "column": "words", "encoder": {"name": "hashed_ngrams"}}
        },
        "targets": {"label": {"kind": "multiclass", "column": "label"}},
        "compute": {"device": "cpu", "threads": 1},
    }
    YAML().dump(params, root / "params.yaml")
    augmented = Workspace(root).augmented
    augmented.mkdir(parents=True)
    pd.DataFrame(
        {
            "id": [f"s{n}" for n in range(10)],
            "copy": 0,
            "split": "train",
            "group": None,
            "render": None,
            "words": [f"message {n}" for n in range(10)],
            "label": "a",
        }
    ).to_parquet(augmented / "samples.parquet")
    said = run("fill", "words", "--shard", "2/4", catch_exceptions=False).output
    assert "shard 2 of 4: 3 vectors computed, 0 were there" in said
    assert "shard 1 of 1: 7 vectors computed, 3 were there" in run("fill", "words").output
    url = str(tmp_path / "shared")
    assert (
        "0 vectors computed, 3 were" in run("fill", "words", "--shard", "1/4", "--url", url).output
    )
    assert (tmp_path / "shared/done").is_dir()
    assert "fewer rows than shards" in run("fill", "words", "--shard", "20/20").output


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/-3"])
def test_a_shard_is_one_of_so_many(root, shard):
    found = run("fill", "words", "--shard", shard)
    assert found.exit_code == 2
    assert f"--shard needs I/N with 1 <= I <= N, such as 3/30, got '{shard}'" in found.output
