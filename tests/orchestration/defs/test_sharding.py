"""Thirty shards on a real Ray of two cores, whose workers are killed while they work."""

import contextlib
import random
import re
import shutil
import threading
import wave
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import psutil
import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.config import parse_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.store_upkeep import find_fault, list_all_shards
from mm_assets.data.vectors import read_embeddings
from mm_assets.stages.embed import embed
from mm_assets.stages.project import load_project
from orchestration.defs import sharding

REPOSITORY = Path(__file__).parents[3]
SHARDS, ROWS, KILLS = 30, 10, 4
PARAMS = {
    "version": 2,
    "modalities": {
        "voice": {"kind": "audio", "column": "voice", "encoder": {"name": "voice_functionals"}},
        "numbers": {
            "kind": "features",
            "column": "numbers",
            "options": {"dim": 3},
            "encoder": {"name": "standardized"},
        },
    },
    "targets": {"label": {"kind": "multiclass", "column": "label"}},
    "compute": {"device": "cpu", "threads": 1, "shards": {"rows": ROWS}},
}


def write_tone(path, pitch_hz):
    time_s = np.arange(16_000) / 16_000
    samples = (8000 * np.sin(2 * np.pi * pitch_hz * time_s)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A DVC project that has come as far as stage `augment`; every fourth row has no voice."""
    monkeypatch.delenv("MM_STORE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("MM_PROJECT", str(tmp_path))
    rows = SHARDS * ROWS
    workspace = Workspace(tmp_path)
    workspace.data.mkdir()
    workspace.augmented.mkdir(parents=True)
    for n in range(rows):
        write_tone(workspace.data / f"{n}.wav", 100 + 2 * n)
    pd.DataFrame(
        {
            "id": [f"s{n}" for n in range(rows)],
            "copy": 0,
            "split": ["train", "validation", "test"] * (rows // 3),
            "group": None,
            "render": None,
            "voice": [f"{n}.wav" for n in range(rows)],
            "numbers": [f"[{n}, {n % 7}, 1.5]" if n % 4 else None for n in range(rows)],
            "label": "a",
        }
    ).to_parquet(workspace.augmented / "samples.parquet")
    YAML().dump(PARAMS, workspace.params)
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = True\n    analytics = False\n")
    return tmp_path


class Killer(threading.Thread):
    """Kills a random worker of Ray, in the middle of a shard, now and then."""

    def __init__(self, most):
        super().__init__(daemon=True)
        self.most, self.kills, self.done = most, 0, threading.Event()

    def run(self):
        rng = random.Random(0)
        while self.kills < self.most and not self.done.wait(rng.uniform(0.2, 1.5)):
            if working := [one for one in psutil.Process().children(True) if is_filling(one)]:
                rng.choice(working).kill()
                self.kills += 1


def is_filling(process):
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).startswith("ray::fill")


def materialize(**config):
    definitions = sharding.defs()
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("fill_store").execute_in_process(
            instance=instance, run_config={"ops": {"filled_store": {"config": config}}}
        )
    (event,) = result.asset_materializations_for_node("filled_store")
    return event.metadata


@pytest.mark.slow
def test_thirty_shards_are_done_though_workers_die(root, tmp_path_factory, capfd):
    killer = Killer(most=KILLS)
    killer.start()
    metadata = materialize()
    killer.done.set()
    killer.join()
    voice, numbers = (record.data for record in metadata["modalities"].records)
    assert (voice["modality"], voice["shards"]) == ("voice", SHARDS)
    assert voice["computed"] + voice["stored"] == SHARDS * ROWS
    assert (numbers["shards"], numbers["computed"]) == (23, 225)
    assert killer.kills == KILLS

    store = list_all_shards(Workspace(root).store)
    assert [find_fault(shard) for shard in store] == [None] * len(store)
    found = load_project(root)
    for key in found.modalities:
        capfd.readouterr()
        embed(found, key)
        assert f"embed@{key}: 0 vectors computed" in capfd.readouterr().err

    alone = tmp_path_factory.mktemp("alone")
    shutil.copytree(root, alone, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".mm"))
    single = load_project(alone)
    for key in single.modalities:
        embed(single, key)
        sharded, whole = (
            read_embeddings(project.workspace.embeddings(key)) for project in (found, single)
        )
        assert sharded.ids.tolist() == whole.ids.tolist()
        np.testing.assert_allclose(sharded.matrix, whole.matrix, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_sample_that_broke_is_named_as_in_the_stage(root):
    (root / "data/7.wav").write_bytes(b"no sound")
    with pytest.raises(dg.Failure, match=r"embed@voice.*'s7'"):
        materialize(modalities=["voice"])


def test_nothing_is_offered_unless_params_ask_for_it(root):
    YAML().dump({**PARAMS, "compute": {}}, root / "params.yaml")
    offered = sharding.defs()
    assert not offered.assets
    assert not offered.jobs


def test_what_the_page_on_scaling_says_for_params_is_valid():
    page = (REPOSITORY / "docs/scaling.md").read_text()
    found = re.findall(r"```yaml\n# params.yaml\n(.*?)```", page, re.DOTALL)
    assert len(found) == 3
    for text in found:
        parse_config(PARAMS | YAML(typ="safe").load(text))
