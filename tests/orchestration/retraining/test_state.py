"""Whose turn it is in the worktree."""

import pytest

from orchestration.retraining.commit import commit_run
from orchestration.retraining.run import prepare
from orchestration.retraining.worktree import RetrainingError

pytestmark = pytest.mark.slow


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
