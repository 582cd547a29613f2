"""Job `retrain` from beginning to end, and what may happen beside and amid it."""

import shutil
import signal
import subprocess
import sys

import dagster as dg
import pytest
from click.testing import CliRunner

from mm_assets.cli.main import mm
from mm_assets.registry.record import read_registry
from orchestration.retraining.worktree import RetrainingError

pytestmark = pytest.mark.slow


def test_a_run_ends_with_a_commit_a_champion_and_the_persons_tree_as_it_was(retrained):
    good = read_registry(retrained.tree.registry).champion
    assert retrained.log() == [f"retrain: promoted {good}", "The project"]
    assert sorted(retrained.ran()) == retrained.stages
    assert retrained.served == retrained.tree.registry / "models" / good

    assert retrained.log("main") == ["The project"]
    assert retrained.git("branch", "--show-current") == "main"
    assert retrained.git("status", "--porcelain") == ""
    assert not (retrained.root / "runs.log").exists()
    assert not (retrained.root / "artifacts").exists()


def test_a_worse_candidate_is_refused_and_what_is_served_outlives_its_pruning(
    retrained, dagster, monkeypatch
):
    good = read_registry(retrained.tree.registry).champion
    retrained.put("bad")  # not committed, and taken all the same
    worse = retrained.retrain(dagster.instance)
    assert retrained.log()[0].startswith("retrain: refused ")
    assert "refused: candidate_is_not_worse" in retrained.git(
        "log", "-1", "--format=%B", "retraining"
    )
    assert read_registry(retrained.tree.registry).champion == good
    assert retrained.served.name == good
    assert dagster.instance.get_run_by_id(worse.run_id).tags["mm/outcome"] == "refused"
    assert retrained.log("main") == ["The project"]

    # `mm gc` prunes the branch's registry.
    monkeypatch.chdir(retrained.root)
    working = retrained.begin()  # with nothing to merge
    told = CliRunner().invoke(mm, ["gc", "--candidates", "0", "--yes"])
    assert "at work or was cut short" in told.output
    assert len(read_registry(retrained.tree.registry).models) == 2
    working.finish()
    told = CliRunner().invoke(mm, ["gc", "--candidates", "0", "--yes"])
    assert told.exit_code == 0, told.output
    assert retrained.log()[0] == "mm gc: models that nobody needs"
    assert set(read_registry(retrained.tree.registry).models) == {good}
    assert retrained.git("status", "--porcelain") == ""
    shutil.rmtree(retrained.served)
    retrained.dvc("checkout", "-q", f"registry/models/{good}.dvc", at=retrained.tree.root)
    assert (retrained.served / "model.onnx").is_file()


def test_what_a_person_edits_meanwhile_reaches_no_run_and_the_other_way_round(project, dagster):
    run = project.begin()
    params = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(params.replace("bootstrap: 200", "bootstrap: 150"))
    project.put("bad")
    (project.root / "steps.py").write_text("raise SystemExit('half edited')")
    status = project.git("status", "--porcelain")

    keys = [dg.AssetKey(name) for name in ("raw_data", "evaluate")]
    project.retrain(dagster.instance, run_id=run.id, asset_selection=keys)

    assert (project.tree.root / "probe.txt").read_text() == params + "good"
    assert (project.root / "data" / "model.txt").read_text() == "bad"
    assert (project.root / "params.yaml").read_text() != params
    assert project.git("status", "--porcelain") == status
    assert not (project.root / "artifacts").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import dagster as dg
import dvc.repo
from orchestration.retraining import run as retraining

def kill_before(command):
    left = [command]

    def watch(event, arguments):
        if event == "subprocess.Popen":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)

dg.DagsterInstance.ephemeral().dispose()  # all is imported once, before the forks
for command in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        run = dg.DagsterRun(job_name="retrain", run_id=f"r{command}", tags={retraining.TAG: "retraining"})
        with dg.DagsterInstance.ephemeral() as instance:
            kill_before(command)
            retraining.prepare(Path(sys.argv[1]), run, instance, print)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr)
"""


def test_a_kill_before_any_command_is_made_good_by_the_next_run(project):
    project.put("better")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(project.root), "3", "8", "13", "18"],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert killed.stderr.split() == [str(-signal.SIGKILL)] * 4
    project.begin().work("data.dvc").finish()
    assert len(project.log()) == 2
    assert project.git("status", "--porcelain", at=project.tree.root) == ""
    assert (project.tree.data / "model.txt").read_text() == "better"


def test_an_uncommitted_stage_is_named(project):
    text = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(f"{text}  mine:\n    cmd: 'true'\n")
    with pytest.raises(RetrainingError, match=r"only one of that and.*has mine; commit"):
        project.begin()


def test_what_ran_at_the_shell_is_told_after_a_retraining_run_never_amid_it(project, dagster):
    known = dagster.definitions().get_repository_def()
    job, sensor = known.get_job("retrain"), known.get_sensor_def("shell_runs")
    project.repro("evaluate")
    working = dagster.instance.create_run_for_job(
        job, tags=job.tags, status=dg.DagsterRunStatus.STARTED
    )
    context = dg.build_sensor_context(instance=dagster.instance)
    assert "looking again after it" in sensor(context).skip_message
    dagster.instance.report_run_canceled(working)
    told = {event.asset_key.to_user_string() for event in sensor(context).asset_events}
    assert told == {"raw_data", "evaluate"}
