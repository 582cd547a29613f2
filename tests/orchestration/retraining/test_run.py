"""Retraining in its worktree: a pipeline of copies whose model is named in `data/`, with real git."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from mm_assets.cli.main import mm
from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.incoming import read_memory
from mm_assets.registry.promotion import roll_back
from mm_assets.registry.record import read_registry
from orchestration.retraining.commit import commit_run
from orchestration.retraining.promotion import promote_retrained
from orchestration.retraining.run import BATCHES, TAG, prepare
from orchestration.retraining.worktree import BRANCH, RetrainingError, open_worktree, require_git

pytestmark = pytest.mark.slow

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

    def __init__(self, root):
        self.root = root
        self.workspace = Workspace(root)
        self.tree = Workspace(self.workspace.retraining)

    def run(self, *command, at=None):
        done = subprocess.run(
            command, cwd=at or self.root, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout.rstrip()

    def git(self, *arguments, at=None):
        return self.run("git", *arguments, at=at)

    def dvc(self, *arguments, at=None):
        return self.run(sys.executable, "-m", "dvc", *arguments, at=at)

    def put(self, model, name="model.txt"):
        (self.root / "data" / name).write_text(model)

    def save(self, message="A change"):
        self.dvc("add", "-q", "data")
        self.git("commit", "-qam", message)

    def log(self, branch="retraining"):
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


@pytest.fixture(scope="session")
def retraining_template(tmp_path_factory):
    top = tmp_path_factory.mktemp("retraining")
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
    return project.root


@pytest.fixture
def project(retraining_template, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(retraining_template, root, symlinks=True)
    monkeypatch.setenv("MM_PROJECT", str(root))
    return Project(root)


def retrain(dagster, **options):
    job = dagster.definitions().resolve_job_def("retrain")
    return job.execute_in_process(instance=dagster.instance, raise_on_error=False, **options)


def explain(result):
    return [
        event.step_failure_data.user_failure_data.description
        if event.step_failure_data.user_failure_data
        else event.step_failure_data.error_display_string
        for event in result.all_events
        if event.is_step_failure
    ]


def test_runs_end_with_a_commit_a_champion_and_the_persons_tree_as_it_was(
    project, dagster, monkeypatch
):
    status = project.git("status", "--porcelain")
    head = project.git("rev-parse", "HEAD")
    first = retrain(dagster)
    assert first.success, explain(first)
    good = read_registry(project.tree.registry).champion
    assert project.log() == [f"retrain: promoted {good}", "The project"]
    message = project.git("log", "-1", "--format=%an%n%B", "retraining")
    assert message.startswith("Ada")
    assert f"Dagster run: {first.run_id}" in message
    assert "mood: accuracy: candidate 0.9" in message
    assert project.served == project.tree.registry / "models" / good
    names = project.git("show", "--name-only", "--format=", "retraining").splitlines()
    assert set(names) >= {"dvc.lock", "registry/registry.json", f"registry/models/{good}.dvc"}
    assert not [name for name in names if "onnx" in name or name.startswith("artifacts")]
    assert sorted(project.ran()) == sorted(OUTS)
    assert not (project.root / "runs.log").exists()

    # Nothing new is no commit.
    again = retrain(dagster)
    assert again.success, explain(again)
    assert project.ran() == []
    assert len(project.log()) == 2
    assert dagster.last("retraining_commit").metadata["commit"].value == (
        "nothing new, so no commit"
    )

    # What the person has put into data/, uncommitted, is taken; the candidate is worse.
    project.put("bad")
    worse = retrain(dagster)
    assert worse.success, explain(worse)
    assert project.log()[0].startswith("retrain: refused ")
    assert "refused: candidate_is_not_worse" in project.git(
        "log", "-1", "--format=%B", "retraining"
    )
    assert read_registry(project.tree.registry).champion == good
    assert project.served.name == good
    assert dagster.instance.get_run_by_id(worse.run_id).tags["mm/outcome"] == "refused"
    assert project.git("status", "--porcelain") == status
    assert project.git("rev-parse", "HEAD") == head
    assert project.git("branch", "--show-current") == "main"

    # `mm gc` prunes the branch's registry, and what is served stays.
    monkeypatch.chdir(project.root)
    told = CliRunner().invoke(mm, ["gc", "--candidates", "0", "--yes"])
    assert told.exit_code == 0, told.output
    assert project.log()[0] == "mm gc: models that nobody needs"
    assert set(read_registry(project.tree.registry).models) == {good}
    assert project.git("status", "--porcelain") == status
    shutil.rmtree(project.served)
    project.dvc("checkout", "-q", f"registry/models/{good}.dvc", at=project.tree.root)
    assert (project.served / "model.onnx").is_file()


# Below, what retraining does before and after its stages, without Dagster's part.


class Run:
    """One retraining run: what its first and its last step do, and DVC instead of those between."""

    def __init__(self, project, batches=""):
        tags = {TAG: BRANCH, BATCHES: batches}
        self.project, self.told = project, []
        self.run = dg.DagsterRun(job_name="retrain", run_id=str(uuid.uuid4()), tags=tags)

    def prepare(self):
        with dg.DagsterInstance.ephemeral() as instance:
            prepare(self.project.root, self.run, instance, self.told.append)
        return self

    def promote(self):
        self.prepare()
        self.project.dvc("repro", "-q", at=self.project.tree.root)
        project = open_worktree(self.project.root, self.run.run_id)
        return promote_retrained(self.project.root, project, self.told.append)

    def finish(self):
        self.project.dvc("repro", "-q", at=self.project.tree.root)
        return commit_run(self.project.root, self.run)[0]


def test_what_a_person_edits_meanwhile_reaches_no_run_and_the_other_way_round(project, dagster):
    run = Run(project).prepare()
    params = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(params.replace("bootstrap: 200", "bootstrap: 150"))
    project.put("bad")
    (project.root / "steps.py").write_text("raise SystemExit('half edited')")
    status = project.git("status", "--porcelain")

    keys = [dg.AssetKey(name) for name in ("raw_data", "evaluate")]
    result = retrain(dagster, run_id=run.run.run_id, asset_selection=keys)

    assert result.success, explain(result)
    assert (project.tree.root / "probe.txt").read_text() == params + "good"
    assert (project.root / "data" / "model.txt").read_text() == "bad"
    assert (project.root / "params.yaml").read_text() != params
    assert project.git("status", "--porcelain") == status
    assert not (project.root / "artifacts").exists()


def test_the_persons_commits_are_merged_into_the_runs_one_commit(project):
    Run(project).prepare().finish()
    (project.root / "notes.txt").write_text("a")
    project.git("add", "notes.txt")
    project.git("commit", "-qm", "Notes")
    Run(project).prepare().finish()
    assert len(project.log()) == 3
    parents = project.git("log", "-1", "--format=%P", "retraining").split()
    assert parents[1] == project.git("rev-parse", "main")
    assert (project.tree.root / "notes.txt").read_text() == "a"
    project.git("merge", "-q", "--ff-only", "retraining")  # it contains all of the person's
    assert project.git("status", "--porcelain") == ""


def test_of_two_locks_the_persons_is_taken_and_dvc_finds_its_results_again(project):
    Run(project).prepare().finish()
    project.put("better")
    project.dvc("add", "-q", "data")
    project.dvc("repro", "-q")
    project.git("add", "dvc.lock")
    project.git("commit", "-qam", "A better model")
    project.ran()
    Run(project).prepare().finish()
    assert project.ran() == []  # DVC's cache, which both trees share, has it
    assert project.git("diff", "main", "retraining", "--", "dvc.lock", "data.dvc") == ""


def test_another_conflict_is_a_persons_to_settle(project):
    Run(project).prepare()
    (project.tree.root / "steps.py").write_text("# theirs")
    project.git("commit", "-qam", "By hand", at=project.tree.root)
    (project.root / "steps.py").write_text("# mine")
    project.git("commit", "-qam", "Mine")
    with pytest.raises(
        RetrainingError, match=r"conflict in steps\.py.*`git merge retraining` in your own"
    ):
        Run(project).prepare()
    assert project.git("status", "--porcelain", at=project.tree.root) == ""
    project.git("merge", "-q", "-X", "ours", "retraining")
    Run(project).prepare()
    assert (project.tree.root / "steps.py").read_text() == "# mine"


def test_it_follows_the_branch_that_it_started_from(project):
    Run(project).prepare().finish()
    project.git("switch", "-q", "-c", "idea")
    (project.root / "steps.py").write_text("half an idea")
    project.git("commit", "-qam", "Half an idea")
    Run(project).prepare()
    assert (project.tree.root / "steps.py").read_text() != "half an idea"
    project.git("branch", "-q", "-D", "main")
    with pytest.raises(RetrainingError, match=r"one that is gone.*--set-upstream-to"):
        Run(project).prepare()


def test_data_are_copied_as_they_lie_there_again_and_again(project):
    for model in ("bad", "better", "good"):
        project.put(model)
        project.put(model, f"{model}.txt")
        Run(project).prepare().finish()
        found = {path.name: path.read_text() for path in project.tree.data.iterdir()}
        assert found == {path.name: path.read_text() for path in (project.root / "data").iterdir()}
    assert len(project.log()) == 4
    project.save()  # the same data, committed by the person: no conflict
    Run(project).prepare().finish()
    assert project.git("diff", "main", "retraining", "--", "data.dvc") == ""


def test_the_persons_data_that_were_committed_meanwhile_replace_an_earlier_copy(project):
    project.put("bad")
    Run(project).prepare().finish()
    project.put("better")
    project.save()
    Run(project).prepare()
    assert (project.tree.data / "model.txt").read_text() == "better"


def test_batches_go_into_the_branchs_data_and_what_has_grown_on_both_sides_waits(project):
    batch = project.root / "incoming" / "monday"
    batch.mkdir(parents=True)
    (batch / "samples.csv").write_text("id,left,right,mood\nb,1,1,sad\n")
    project.put("bad", "note.txt")  # uncommitted, and taken too
    run = Run(project, batches="monday").prepare()
    assert (project.tree.data / "note.txt").exists()
    assert read_memory(project.workspace).ingested == {}  # not before it is committed
    run.finish()
    assert read_memory(project.workspace).ingested["monday"].run == run.run.run_id
    assert "batches: monday" in project.git("log", "-1", "--format=%B", "retraining")
    table = project.tree.data / "samples.csv"
    assert table.read_text().split()[1:] == ["a,1,1,glad", "b,1,1,sad"]
    assert "b," not in (project.root / "data" / "samples.csv").read_text()

    Run(project).prepare().finish()  # the person has nothing newer
    assert "b,1,1,sad" in table.read_text()
    project.put("more", "note.txt")
    with pytest.raises(RetrainingError, match=r"both grown.*git merge retraining && dvc"):
        Run(project).prepare()
    project.git("merge", "-q", "retraining")
    project.dvc("checkout", "-q", "--force", "data.dvc")
    project.put("more", "note.txt")
    Run(project).prepare()
    assert "b,1,1,sad" in table.read_text()
    assert (project.tree.data / "note.txt").read_text() == "more"


@pytest.mark.parametrize("damage", ["initializing", "gone", "merging"])
def test_a_worktree_that_a_kill_left_half_made_is_mended(project, damage):
    Run(project).prepare().finish()
    admin = Path(project.git("rev-parse", "--absolute-git-dir", at=project.tree.root))
    if damage == "initializing":
        (admin / "locked").write_text("initializing")
    if damage == "gone":
        shutil.rmtree(project.tree.root)
    if damage == "merging":
        (project.root / "notes.txt").write_text("mine")
        project.git("add", "notes.txt")
        project.git("commit", "-qam", "Mine")
        project.git("merge", "-q", "--no-commit", "main", at=project.tree.root)
        (project.tree.root / "params.yaml").write_text("half a file")
    Run(project).prepare().finish()
    assert project.git("status", "--porcelain", at=project.tree.root) == ""
    assert len(project.log()) == (3 if damage == "merging" else 2)


KILLED = """
import os, signal, sys
from pathlib import Path
import dagster as dg
from orchestration.retraining import run as retraining

left = [int(sys.argv[2])]

def watch(event, arguments):
    if event == "subprocess.Popen":
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

run = dg.DagsterRun(job_name="retrain", run_id="r" + sys.argv[2], tags={retraining.TAG: 'retraining'})
with dg.DagsterInstance.ephemeral() as instance:
    sys.addaudithook(watch)
    retraining.prepare(Path(sys.argv[1]), run, instance, print)
"""


def test_a_kill_before_any_command_is_made_good_by_the_next_run(project):
    project.put("better")
    codes = [
        subprocess.run(
            [sys.executable, "-c", KILLED, str(project.root), str(at)], check=False
        ).returncode
        for at in (3, 8, 13, 18)
    ]
    assert codes == [-signal.SIGKILL] * len(codes)
    Run(project).prepare().finish()
    assert len(project.log()) == 2
    assert project.git("status", "--porcelain", at=project.tree.root) == ""
    assert (project.tree.data / "model.txt").read_text() == "better"


def test_a_second_step_of_a_run_finds_it_prepared_and_another_run_waits_its_turn(project, dagster):
    job = dagster.definitions().resolve_job_def("retrain")
    working = dagster.instance.create_run_for_job(job, tags=job.tags)
    told = []
    prepare(project.root, working, dagster.instance, told.append)
    count = len(told)
    prepare(project.root, working, dagster.instance, told.append)
    assert len(told) == count > 0
    other = dagster.instance.create_run_for_job(job, tags=job.tags)
    with pytest.raises(RetrainingError, match=f"run {working.run_id} is retraining"):
        prepare(project.root, other, dagster.instance, told.append)
    dagster.instance.report_run_canceled(working)
    prepare(project.root, other, dagster.instance, told.append)
    with pytest.raises(RetrainingError, match="another run has used the worktree"):
        commit_run(project.root, working)


def test_the_code_that_is_committed_runs(project):
    """Although the environment knows this project's package as the editable one."""
    package = project.root / "mm_assets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "marker.py").write_text("said = 'committed'")
    project.git("add", "mm_assets")
    project.git("commit", "-qm", "Code")
    run = Run(project).prepare()
    (package / "marker.py").write_text("said = 'half edited'")
    there = open_worktree(project.root, run.run.run_id)
    script = project.root.parent / "script.py"  # as `mm`, it lies elsewhere
    script.write_text("from mm_assets.marker import said; print(said)")
    said = subprocess.run(
        [sys.executable, script],
        cwd=there.root,
        env={**os.environ, **there.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "committed\n"


def test_what_needs_git_says_so(project, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(RetrainingError, match=r"root of a git repository, but there is no"):
        require_git(bare)
    with pytest.raises(RetrainingError, match=r"its repository is that of .*project;"):
        require_git(project.root / "data")
    project.git("init", "-q", str(bare))
    with pytest.raises(RetrainingError, match=r"no commit yet; run `git add"):
        require_git(bare)
    project.git("switch", "-q", "-c", "retraining")
    with pytest.raises(RetrainingError, match=r"'retraining' is what retraining commits"):
        require_git(project.root)


def test_the_persons_ignored_settings_of_dvc_hold_there_too(project, tmp_path):
    project.dvc("remote", "add", "-q", "--default", "shared", "../shared")
    project.dvc("remote", "modify", "-q", "--local", "shared", "verify", "true")
    project.git("commit", "-qam", "A remote")
    Run(project).prepare()
    said = project.dvc("config", "--list", at=project.tree.root).splitlines()
    assert f"remote.shared.url={project.root.parent / 'shared'}" in said
    assert "remote.shared.verify=true" in said
    cache = project.dvc("cache", "dir", at=project.tree.root)
    assert Path(cache).resolve() == project.root / ".dvc" / "cache"


def test_an_uncommitted_stage_is_named(project):
    text = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(f"{text}  mine:\n    cmd: 'true'\n")
    with pytest.raises(RetrainingError, match=r"only one of that and.*has mine; commit"):
        Run(project).prepare()


def test_a_person_rolls_back_what_retraining_promoted_and_retraining_hears_of_it(project):
    good = Run(project).promote().name
    project.put("better")
    better = Run(project).promote().name
    assert project.served.name == better != good

    assert "retrain: what a run decided that was cut short" in project.log()  # the first's

    assert roll_back(project.root, reason="complaints").champion == good
    assert project.served == project.workspace.registry / "models" / good
    again = Run(project).promote()
    assert (again.what, again.name, again.champion) == ("taken back", better, good)
    assert read_registry(project.tree.registry).champion == good
    assert project.served.name == good


def test_what_ran_at_the_shell_is_told_after_a_retraining_run_never_amid_it(project, dagster):
    known = dagster.definitions().get_repository_def()
    job, sensor = known.get_job("retrain"), known.get_sensor_def("shell_runs")
    project.dvc("repro", "-q", "evaluate")
    working = dagster.instance.create_run_for_job(
        job, tags=job.tags, status=dg.DagsterRunStatus.STARTED
    )
    context = dg.build_sensor_context(instance=dagster.instance)
    assert "looking again after it" in sensor(context).skip_message
    dagster.instance.report_run_canceled(working)
    told = {event.asset_key.to_user_string() for event in sensor(context).asset_events}
    assert told == {"raw_data", "evaluate"}


def test_no_candidate_fails_the_champion_with_its_reason(project, dagster):
    result = retrain(dagster, asset_selection=[dg.AssetKey("champion")])
    assert not result.success
    assert "evaluate" in explain(result)[0]


def test_runs_of_other_jobs_commit_nothing(project, dagster):
    asset = dagster.definitions().get_assets_def("retraining_commit")
    result = dg.materialize([asset], instance=dagster.instance)
    assert result.success
    assert dagster.last("retraining_commit") is None
    assert not project.tree.root.exists()
