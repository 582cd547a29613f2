"""What is remembered from run to run, and whose turn it is in the worktree."""

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.state import KnownExecutionState

from orchestration.retraining.commit import commit_run
from orchestration.retraining.run import prepare
from orchestration.retraining.state import State, identify, read_state, write_state
from orchestration.retraining.worktree import RetrainingError


def test_the_persons_data_are_remembered_until_a_batch_is_added_to_them(tmp_path):
    first = State().begin("a").model_copy(update={"copied": "3 files"}).finish("v1")
    assert (first.persons_state, first.persons_data) == ("3 files", "v1")
    write_state(tmp_path, first)
    second = read_state(tmp_path).begin("b")
    assert second == State(run="b", persons_state="3 files", persons_data="v1")

    grown = second.model_copy(update={"copied": "4 files", "batches": {"monday": "state"}}).finish(
        "v2"
    )
    assert (grown.persons_state, grown.persons_data) == ("4 files", "v1")
    assert second.finish("v3") == second.model_copy(update={"done": True})  # nothing was copied


def test_batches_that_an_earlier_release_wrote_as_names_count_as_changed_since():
    assert State.model_validate_json('{"batches": ["monday"]}').batches == {"monday": ""}
    assert State.model_validate_json('{"batches": []}').batches == {}


def test_a_run_that_goes_on_is_known_by_the_one_that_stopped():
    stopped = dg.DagsterRun(job_name="retrain", run_id="a")
    anew = dg.DagsterRun(job_name="retrain", run_id="b", root_run_id="a", parent_run_id="a")
    goes_on = anew._replace(step_keys_to_execute=["train"])
    assert [identify(run) for run in (stopped, anew, goes_on)] == ["a", "b", "a"]


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
        commit_run(project.root, working)


@pytest.mark.slow
def test_a_run_tried_again_begins_anew_unless_a_step_of_it_is_done(project, dagster):
    job = dagster.definitions().resolve_job_def("retrain")
    killed, other = (dagster.instance.create_run_for_job(job, tags=job.tags) for _ in range(2))
    prepare(project.root, other, dagster.instance, print)
    with pytest.raises(RetrainingError, match=f"run {other.run_id} is retraining"):
        prepare(project.root, killed, dagster.instance, print)
    commit_run(project.root, other)
    dagster.instance.report_run_failed(killed)
    again = try_again(dagster.instance, job, killed)
    assert set(again.step_keys_to_execute) == {node.name for node in job.graph.nodes}
    prepare(project.root, again, dagster.instance, print)
    assert read_state(project.root).run == killed.run_id
    commit_run(project.root, again)

    part = project.retrain(dagster.instance, asset_selection=[dg.AssetKey("raw_data")])
    goes_on = again._replace(run_id="b", root_run_id=part.run_id)
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
