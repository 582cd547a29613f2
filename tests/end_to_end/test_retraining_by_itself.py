"""From a batch that somebody drops to a new champion, with the real daemon and nobody's help."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.report import read_drift_report
from mm_assets.stages.augment import augment
from mm_assets.stages.embed import embed
from mm_assets.stages.project import load_project
from mm_assets.stages.train import train
from mm_assets.stages.validate import validate

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def load_conftest(folder):
    path = REPOSITORY / "tests" / folder / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser = load_conftest("browser")
webhook = load_conftest("orchestration").webhook

PARAMS = {
    "version": 2,
    "seed": 1,
    "data": {"group": "customer"},
    "split": {},
    "modalities": {
        "text": {"kind": "text", "column": "message", "encoder": {"name": "hashed_ngrams"}}
    },
    "targets": {"mood": {"kind": "multiclass", "column": "mood"}},
    "expectations": {},
    "augment": {"copies": 0},
    "fusion": {"name": "late"},
    "train": {"epochs": 30, "learning_rate": 0.01, "seeds": 1},
    "evaluation": {"bootstrap": 100, "slices": [], "noise_rows": 0, "attributed_rows": 0},
    "export": {},
    "gates": {},
    "compute": {"device": "cpu", "threads": 1},
}
MOODS = {"glad": ["thanks", "great", "happy", "again"], "sad": ["late", "broken", "never", "angry"]}
SUBJECTS = ["parcel", "invoice", "order", "photo", "address", "shop"]


def draw_messages(customers, subjects=SUBJECTS):
    """Three messages of each customer, whose words tell the mood."""
    rng = np.random.default_rng(customers.start)
    rows = []
    for customer in customers:
        for n in range(3):
            mood = str(rng.choice(list(MOODS)))
            words = [*rng.choice(subjects, 3), *rng.choice(MOODS[mood], 2)]
            rows.append((f"{customer}-{n}", f"c{customer}", " ".join(rng.permutation(words)), mood))
    return pd.DataFrame(rows, columns=["id", "customer", "message", "mood"])


def train_model(root):
    """Run what a batch is compared with: a process a stage would take three times as long."""
    project = load_project(root)
    validate(project)
    augment(project)
    embed(project, "text")
    train(project)


@pytest.fixture
def server(tmp_path, webhook, monkeypatch):
    """A project in git that has been trained, served by web UI and daemon."""
    root = tmp_path / "messages"
    (root / "data").mkdir(parents=True)
    draw_messages(range(100)).to_csv(root / "data" / "samples.csv", index=False)
    YAML().dump(PARAMS | {"alerts": {"webhook": {"url": webhook.url}}}, root / "params.yaml")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, root)
    # Retraining runs the code that is committed.
    code = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "mm_assets", root / "mm_assets", ignore=code)
    browser.commit_all(root)
    monkeypatch.setenv("MM_STORE", str(root / ".mm" / "store"))
    with browser.stopping(browser.Server(root, tmp_path)) as server:
        train_model(root)  # while the server starts
        server.wait_until_ready()
        yield server


def git(root, *arguments):
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_a_drifted_batch_is_compared_told_of_and_retrained_on(server, webhook):
    root, workspace = server.root, Workspace(server.root)
    before = git(root, "status", "--porcelain", "--branch"), git(root, "rev-parse", "HEAD")
    batch = draw_messages(range(1000, 1020), subjects=["refund", "voucher", "courier", "receipt"])
    folder = root / "incoming" / "b1"
    folder.mkdir(parents=True)
    batch.to_csv(folder / "samples.csv", index=False)
    server.switch_on("incoming_batches")
    server.switch_on("waiting_batches")

    def find_retrainings():
        runs = server.runs()
        assert all(run["status"] != "FAILURE" for run in runs), server.log.read_text()[-5000:]
        ended = [run for run in runs if run["status"] == "SUCCESS"]
        return [run["runId"] for run in ended if run["jobName"] == "retrain"]

    (run,) = server.wait_for(find_retrainings, "retraining that succeeds", timeout_s=600)

    (text,) = (
        one for one in read_drift_report(workspace.drift / "b1").compared if one.kind == "vectors"
    )
    assert text.drifted
    (told,) = (one for document in webhook.documents for one in document["reasons"])
    assert (told["kind"], told["about"]) == ("drift", "drift_report")
    assert told["why"].startswith("vectors_have_not_drifted: b1: text vectors moved by")
    (commit,) = git(root, "rev-list", "HEAD..retraining").split()
    message = git(root, "show", "--no-patch", "--format=%B", commit)
    assert message.startswith("retrain: promoted ")
    assert f"Dagster run: {run}" in message
    assert "batches: b1" in message
    assert (workspace.registry / "champion" / "model.onnx").is_file()

    # A later one is compared with what came of that: here it contradicts rows of b1.
    (root / "incoming" / "b2").mkdir()
    batch.assign(message="refund late").to_csv(root / "incoming/b2/samples.csv", index=False)
    report = workspace.drift / "b2" / "report.json"
    server.wait_for(report.is_file, "report on b2", timeout_s=180)
    later = read_drift_report(workspace.drift / "b2")
    assert (later.reference, len(later.clashing)) == ("retraining", len(batch))
    after = git(root, "status", "--porcelain", "--branch"), git(root, "rev-parse", "HEAD")
    assert after == before
