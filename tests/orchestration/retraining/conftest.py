"""A pipeline of copies whose model is named in `data/`, in a git repository of a person's."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from mm_assets.contracts.workspace import Workspace
from orchestration.retraining.commit import commit_run
from orchestration.retraining.promotion import promote_retrained
from orchestration.retraining.run import BATCHES, TAG, prepare
from orchestration.retraining.worktree import BRANCH, open_worktree

SPEC = importlib.util.spec_from_file_location(
    "registry_conftest", Path(__file__).parents[2] / "mm_assets" / "registry" / "conftest.py"
)
registry_conftest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(registry_conftest)

# By the name in data/model.txt: the experts that the model listens to.
MODELS = {"good": (0, 0), "better": (0, 0), "bad": (1, 1)}
STEPS = """
import shutil, sys
from pathlib import Path
kit = Path({kits!r}) / Path("data/model.txt").read_text().strip() / "artifacts"
name = sys.argv[1]
Path("probe.txt").write_text(Path("params.yaml").read_text() + Path("data/model.txt").read_text())
with open("runs.log", "a") as log:
    log.write(name + "\\n")
for out in sys.argv[2:]:
    source, target = kit / out, Path("artifacts") / out
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
"""
OUTS = {
    "evaluate": ["validated", "augmented", "evaluation", "reports/evaluate.json"],
    "export": ["onnx", "reports/export.json"],
    "card": ["card", "reports/card.json"],
}


class Project:
    """A person's tree."""

    stages = sorted(OUTS)

    def __init__(self, root):
        self.root = root
        self.workspace = Workspace(root)
        self.tree = Workspace(self.workspace.retraining)

    def call(self, *command, at=None):
        done = subprocess.run(
            command, cwd=at or self.root, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.rstrip()

    def git(self, *arguments, at=None):
        return self.call("git", *arguments, at=at)

    def dvc(self, *arguments, at=None):
        return self.call(sys.executable, "-m", "dvc", *arguments, at=at)

    def repro(self, *targets, at=None):
        """Run `dvc repro` without a process of its own, which takes a second to start."""
        from dvc.repo import Repo

        with contextlib.chdir(at or self.root), Repo() as repo:
            repo.reproduce(list(targets) or None)

    def put(self, model, name="model.txt"):
        (self.root / "data" / name).write_text(model)

    def commit(self, name, text):
        (self.root / name).write_text(text)
        self.git("add", name)
        self.git("commit", "-qm", f"Write {name}")

    def log(self, branch=BRANCH):
        return self.git("log", "--first-parent", "--format=%s", branch).splitlines()

    def ran(self):
        """Stages whose code ran in the worktree since the last call."""
        log = self.tree.root / "runs.log"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    @property
    def served(self):
        return (self.workspace.registry / "champion").resolve()

    def begin(self, batches=""):
        return Run(self, batches)

    def launch(self, instance, **options):
        """Run job `retrain`."""
        from orchestration.definitions import defs

        job = defs().resolve_job_def("retrain")
        return job.execute_in_process(instance=instance, raise_on_error=False, **options)

    def retrain(self, instance, **options):
        """Run job `retrain`, which succeeds."""
        result = self.launch(instance, **options)
        assert result.success, [event.message for event in result.all_events if event.is_failure]
        return result


class Run:
    """One retraining run: what its first and its last step do, and DVC instead of those between."""

    def __init__(self, project, batches):
        self.project, self.id, self.told = project, str(uuid.uuid4()), []
        tags = {TAG: BRANCH, BATCHES: batches}
        self.run = dg.DagsterRun(job_name="retrain", run_id=self.id, tags=tags)
        with dg.DagsterInstance.ephemeral() as instance:
            prepare(project.root, self.run, instance, self.told.append)

    def work(self, *targets):
        self.project.repro(*targets, at=self.project.tree.root)
        return self

    def promote(self):
        there = open_worktree(self.project.root, self.id)
        return promote_retrained(self.project.root, there, self.told.append)

    def finish(self):
        with dg.DagsterInstance.ephemeral() as instance:
            return commit_run(self.project.root, self.run, instance)[0]


def build_once(tmp_path_factory, name, build):
    """Build what tests copy, once for all workers of pytest-xdist; give its folder."""
    top = tmp_path_factory.getbasetemp()
    top = (top.parent if "PYTEST_XDIST_WORKER" in os.environ else top) / name
    with FileLock(top.with_suffix(".lock")):
        if not (top / "built").exists():
            build(top)
            (top / "built").touch()
    return top


def copy_project(template, tmp_path, monkeypatch):
    """Copy a project, and its worktree, which git and DVC find by its whole path."""
    root = tmp_path / "project"
    shutil.copytree(template, root, symlinks=True)
    monkeypatch.setenv("MM_PROJECT", str(root))
    project = Project(root)
    tree = project.tree.root
    if tree.is_dir():
        for file in (
            root / ".git" / "worktrees" / tree.name / "gitdir",
            tree / ".git",
            tree / ".dvc" / "config.local",
        ):
            file.write_text(file.read_text().replace(str(template), str(root)))
    return project


def build_new(top):
    for name, (left, right) in MODELS.items():
        (top / "kits" / name).mkdir(parents=True)
        kit = registry_conftest.Pipeline(top / "kits" / name)
        kit.export(left=left, right=right, sure=1.1 if name == "better" else 1.0)
    project = Project(top / "project")
    (project.root / "data").mkdir(parents=True)
    project.put("good")
    project.put("id,left,right,mood\na,1,1,glad\n", "samples.csv")
    (project.root / "steps.py").write_text(STEPS.format(kits=str(top / "kits")))
    YAML().dump(kit.params, project.root / "params.yaml")
    stages = {
        name: {
            "cmd": f"python steps.py {name} {' '.join(outs)}",
            "deps": ["data", "steps.py"],
            "params": ["evaluation"],
            "outs": [f"artifacts/{out}" for out in outs],
        }
        for name, outs in OUTS.items()
    }
    YAML().dump({"stages": stages}, project.root / "dvc.yaml")
    (project.root / ".gitignore").write_text("/artifacts/\n/data\nruns.log\nprobe.txt\nincoming/\n")
    project.git("init", "-q", "-b", "main")
    project.git("config", "user.name", "Ada")
    project.git("config", "user.email", "ada@example.org")
    project.dvc("init", "-q")
    project.dvc("config", "core.analytics", "false")
    project.dvc("add", "-q", "data")
    project.git("add", ".")
    project.git("commit", "-qm", "The project")


@pytest.fixture(scope="session")
def new_template(tmp_path_factory):
    return build_once(tmp_path_factory, "new", build_new) / "project"


@pytest.fixture(scope="session")
def retrained_template(new_template, tmp_path_factory):
    def build(top):
        with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
            project = copy_project(new_template, top, patch)
            (top / "run").write_text(project.retrain(instance).run_id)

    return build_once(tmp_path_factory, "retrained", build) / "project"


@pytest.fixture
def project(new_template, tmp_path, monkeypatch):
    """A project in which nothing has run yet."""
    return copy_project(new_template, tmp_path, monkeypatch)


@pytest.fixture
def retrained(retrained_template, tmp_path, monkeypatch):
    """The same after one run of job `retrain`, whose id is `first`."""
    project = copy_project(retrained_template, tmp_path, monkeypatch)
    project.first = retrained_template.with_name("run").read_text()
    return project
