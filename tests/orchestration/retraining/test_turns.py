"""Whose turn it is in the worktree."""

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.execution.plan.state import KnownExecutionState

from orchestration.retraining.commit import commit_run
from orchestration.retraining.run import prepare
from orchestration.retraining.state import read_state
from orchestration.retraining.turns import find_base
from orchestration.retraining.worktree import RetrainingError


class Runs:
    """Runs of an instance, each made from an earlier one as Dagster makes it."""

    def __init__(self, instance):
        self.instance = instance

    def add(self, name, parent=None, *, part=True):
        """`part`: from where the parent failed, rather than all of it."""
        before = self.instance.get_run_by_id(parent) if parent else None
        run = dg.DagsterRun(
            job_name="retrain",
            run_id=name,
            root_run_id=before and (before.root_run_id or parent),
            parent_run_id=parent,
            step_keys_to_execute=["train"] if before and part else None,
        )
        self.instance.add_run(run)
        return find_base(run, self.instance)

    def succeed(self, name):
        """A step of it does."""
        done = StepSuccessData(duration_ms=1.0)
        event = dg.DagsterEvent("STEP_SUCCESS", "retrain", step_key="s", event_specific_data=done)
        self.instance.report_dagster_event(event, name)


@pytest.fixture
def runs():
    with dg.DagsterInstance.ephemeral() as instance:
        yield Runs(instance)


def test_a_run_goes_on_where_a_step_was_done_by_it_or_before_it(runs):
    assert runs.add("a") == "a"
    runs.succeed("a")
    assert runs.add("b", "a") == "a"
    assert runs.add("c", "b") == "a"  # though b did nothing


def test_a_run_begins_anew_where_no_step_was_done(runs):
    runs.add("a")
    assert runs.add("b", "a") == "b"
    runs.succeed("b")
    assert find_base(runs.instance.get_run_by_id("b"), runs.instance) == "b"
    assert runs.add("c", "b") == "b"


def test_all_of_a_run_again_is_a_run_of_its_own_whose_own_failure_can_be_gone_on_from(runs):
    runs.add("a")
    runs.succeed("a")
    runs.add("b", "a")
    assert runs.add("c", "b", part=False) == "c"
    runs.succeed("c")
    assert runs.add("d", "c") == "c"


def test_what_a_deleted_run_has_done_is_known_by_its_id_alone(runs):
    runs.add("a")
    runs.succeed("a")
    runs.add("b", "a")
    runs.instance.delete_run("a")
    assert find_base(runs.instance.get_run_by_id("b"), runs.instance) == "a"


@pytest.mark.slow
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
        commit_run(project.root, working, dagster.instance)


@pytest.mark.slow
def test_a_run_tried_again_begins_anew_unless_a_step_of_it_is_done(project, dagster):
    job = dagster.definitions().resolve_job_def("retrain")
    killed, other = (dagster.instance.create_run_for_job(job, tags=job.tags) for _ in range(2))
    prepare(project.root, other, dagster.instance, print)
    with pytest.raises(RetrainingError, match=f"run {other.run_id} is retraining"):
        prepare(project.root, killed, dagster.instance, print)
    commit_run(project.root, other, dagster.instance)
    dagster.instance.report_run_failed(killed)
    again = try_again(dagster.instance, job, killed)
    assert set(again.step_keys_to_execute) == {node.name for node in job.graph.nodes}
    prepare(project.root, again, dagster.instance, print)
    assert read_state(project.root).run == again.run_id
    dagster.instance.report_run_failed(again)
    project.commit("mended.txt", "what a person has mended meanwhile")
    mended = try_again(dagster.instance, job, again)
    prepare(project.root, mended, dagster.instance, print)
    assert (project.tree.root / "mended.txt").exists()
    commit_run(project.root, mended, dagster.instance)

    part = project.retrain(dagster.instance, asset_selection=[dg.AssetKey("raw_data")])
    goes_on = again._replace(run_id="b", root_run_id=part.run_id, parent_run_id=part.run_id)
    prepare(project.root, goes_on, dagster.instance, print)
    prepare(project.root, other, dagster.instance, print)
    with pytest.raises(RetrainingError, match="another run has used the worktree"):
        prepare(project.root, goes_on, dagster.instance, print)


def try_again(instance, job, failed):
    """Make the run by which the daemon replaces one that was killed."""
    failed = instance.get_run_by_id(failed.run_id)
    steps, known = KnownExecutionState.build_resume_retry_reexecution(instance, failed)
    plan = create_execution_plan(job, step_keys_to_execute=steps, known_state=known)
    return instance.create_run_for_job(
        job,
        execution_plan=plan,
        tags=failed.tags,
        root_run_id=failed.run_id,
        parent_run_id=failed.run_id,
    )
