"""`mm gc` on a project with real git and dvc, whose models were trained on different data."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mm_assets.cli.main import mm
from mm_assets.registry.promotion import promote, roll_back
from mm_assets.registry.record import read_registry
from mm_assets.registry.upkeep import choose_models

SPEC = importlib.util.spec_from_file_location(
    "registry_conftest", Path(__file__).parents[1] / "registry" / "conftest.py"
)
registry_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(registry_conftest)


class Project:
    def __init__(self, root):
        root.mkdir()
        self.root, self.pipeline = root, registry_conftest.Pipeline(root)
        (root / ".gitignore").write_text("/artifacts/\n/data\n/.mm/\n/.dagster/\n")
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.name", "Ada")
        self.run("git", "config", "user.email", "ada@example.org")
        self.dvc("init", "-q")

    def run(self, *command):
        done = subprocess.run(command, cwd=self.root, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.strip()

    def dvc(self, *arguments):
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def put(self, text, **model):
        """Other data, and the model that they made; returns their commit and the outcome."""
        (self.root / "data" / "rows.txt").write_text(text * 1000)
        self.dvc("add", "-q", "data")
        outcome = None
        if model:
            self.pipeline.export(**model)
            outcome = promote(self.root)
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", text)
        return self.run("git", "rev-parse", "HEAD"), outcome

    def read_data(self, commit):
        """Check out the data of a commit from the cache alone."""
        self.run("git", "checkout", "-q", commit, "--", "data.dvc")
        self.dvc("checkout", "-q", "data.dvc")
        return (self.root / "data" / "rows.txt").read_text()[:5]

    def gc(self, *arguments, **options):
        result = CliRunner().invoke(mm, ["gc", *arguments], **options)
        assert result.exit_code == 0, result.output
        return result.output

    @property
    def cached(self):
        files = (self.root / ".dvc" / "cache" / "files").rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("MM_STORE", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project = Project(tmp_path / "project")
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.slow
def test_what_is_deleted_was_in_nobodys_way_and_what_stays_can_be_had_back(project):
    first, one = project.put("first", sure=1.0)
    second, two = project.put("secnd", sure=1.1)
    _, refused = project.put("third", left=1, right=1)
    idle, _ = project.put("idle ")
    last, _ = project.put("last ")
    assert (one.what, two.what, refused.what) == ("promoted", "promoted", "refused")
    memory = project.root / ".mm" / "unfinished" / "train"
    memory.mkdir(parents=True)
    log = project.root / ".dagster" / "storage" / "94d47d2b-6f96-477b-afe5-e3c2cc3dec31"
    (log / "compute_logs").mkdir(parents=True)
    old = time.time() - 40 * 86400
    for name in ("old.pt", "new.pt"):
        (memory / name).write_text("x" * 100)
    os.utime(memory / "old.pt", (old, old))
    os.utime(log / "compute_logs", (old, old))
    before = project.cached

    told = project.gc("--candidates", "0", "--dry-run")
    assert f"model {refused.name}" in told
    assert "would free" in told
    assert project.cached == before
    assert project.gc("--candidates", "0", "--yes").splitlines()[-1].startswith("commit registry/")
    project.run("git", "commit", "-qam", "Pruned")
    assert "freed" in project.gc("--yes")

    assert project.cached < before
    assert sorted(path.name for path in memory.iterdir()) == ["new.pt"]
    assert not (log / "compute_logs").exists()
    registry = read_registry(project.pipeline.workspace.registry)
    assert set(registry.models) == {one.name, two.name}
    for folder in (project.root / "registry" / "models").glob("*/"):
        subprocess.run(["rm", "-r", str(folder)], check=True)  # only the cache has them now
    assert roll_back(project.root).champion == one.name
    assert (project.root / "registry" / "champion" / "model.onnx").is_file()
    assert roll_back(project.root, two.name).champion == two.name
    assert project.read_data(first) == "first"
    assert project.read_data(second) == "secnd"
    assert project.read_data(last) == "last "
    with pytest.raises(AssertionError, match=r"checkout|missing|cache"):
        project.read_data(idle)


@pytest.mark.slow
def test_nothing_goes_without_a_yes_nor_from_a_cache_that_others_may_share(project, tmp_path):
    project.put("first")
    project.put("secnd")
    before = project.cached
    refused = CliRunner().invoke(mm, ["gc"], input="n\n")
    assert "delete them, " in refused.output
    assert project.cached == before

    project.dvc("config", "cache.dir", str(tmp_path / "elsewhere"))
    result = CliRunner().invoke(mm, ["gc", "--yes"])
    assert "outside of this project" in str(result.exception)
    assert "--project PATH" in str(result.exception)


@pytest.mark.slow
def test_a_model_that_is_rolled_back_to_while_the_question_is_open_stays(project, monkeypatch):
    # Its own and the one beside it are to go; a third is what a roll-back of the champion puts back.
    one, two, three, last = (project.put("rows", sure=sure)[1] for sure in (1.0, 1.1, 1.2, 1.3))
    assert [outcome.what for outcome in (one, two, three, last)] == ["promoted"] * 4

    def answer(*_, **__):
        roll_back(project.root, one.name)
        return True

    monkeypatch.setattr(click, "confirm", answer)
    told = project.gc("--champions", "1", "--candidates", "0")
    assert f"model {one.name}" in told
    registry = read_registry(project.pipeline.workspace.registry)
    assert registry.champion == one.name
    assert two.name not in registry.models
    assert (project.root / "registry" / "champion" / "model.onnx").is_file()


def crowned(*names, taken_back=()):
    """A registry in which each was promoted in the place of the one before it."""
    record, make = registry_conftest_record()
    registry = record.Registry()
    for name in names:
        registry = registry.model_copy(update={"models": {**registry.models, name: make()}})
        event = record.Event(at=name, what="promoted", model=name, instead_of=registry.champion)
        registry = registry.crown(name, event=event)
    return registry


def registry_conftest_record():
    from mm_assets.registry import record

    def make():
        return record.Model(
            made="2026", state="candidate", digest="d", files={}, params="p", data=None, metrics={}
        )

    return record, make


def test_earlier_champions_go_the_oldest_first_and_never_the_one_to_roll_back_to():
    registry = crowned("a", "b", "c", "d")
    assert choose_models(registry, champions=2, candidates=0) == ["a"]
    assert choose_models(registry, champions=1, candidates=0) == ["a", "b"]
    assert choose_models(registry, champions=0, candidates=0) == ["a", "b"]


def test_what_a_person_rolled_back_stays():
    from mm_assets.registry.record import Event

    registry = crowned("a", "b", "c", "d")
    event = Event(at="e", what="rolled back", model="b", instead_of="d")
    registry = registry.crown("b", event=event)
    assert choose_models(registry, champions=1, candidates=0) == []
    assert registry.models["d"].state == "taken_back"
