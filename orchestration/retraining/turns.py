"""Whose turn it is in the worktree: a run's that begins anew, or one's that goes on where it stopped."""

from __future__ import annotations

import dagster as dg

from orchestration.retraining.state import State
from orchestration.retraining.worktree import RetrainingError


def find_base(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
    """Find the run for which the worktree was prepared that a run goes on in.

    *Re-execute from failure*, and the daemon's trying again, make runs that execute some steps of
    their parent. They go on where it stopped if a step was done there, by it or by one before it; if
    none was, they begin anew, as all other runs do.

    Args:
        run: That works, or is to work, in the worktree.
        instance: Knows the runs before it.

    Returns:
        A run's id; its own where it begins anew.
    """
    before = []
    one = run
    while one.step_keys_to_execute and one.parent_run_id:
        parent = instance.get_run_by_id(one.parent_run_id)
        if parent is None:  # deleted, and with it what was done
            return one.parent_run_id
        before.append(parent)
        one = parent
    done = dg.DagsterEventType.STEP_SUCCESS
    for first in reversed(before):
        if instance.get_records_for_run(first.run_id, of_type=done, limit=1).records:
            return first.run_id
    return run.run_id


def require_turn(state: State, run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Require that nobody else works there.

    Raises:
        RetrainingError: Another run does; or this one leaves out what was done there before another
            followed.
    """
    base = find_base(run, instance)
    if base != run.run_id:
        require_own(state, base)
    if state.done or state.run in ("", base):
        return
    if working := [one for one in _list_attempts(state.run, instance) if not one.is_finished]:
        raise RetrainingError(
            f"run {working[0].run_id} is retraining, and two cannot share the worktree; wait until "
            "it has ended, or terminate it"
        )


def _list_attempts(base: str, instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """List a run and those that go on where it stopped."""
    known = instance.get_run_by_id(base)
    root = (known.root_run_id if known else None) or base
    filters = [dg.RunsFilter(run_ids=[root]), dg.RunsFilter(tags={"dagster/root_run_id": root})]
    family = [run for one in filters for run in instance.get_runs(one)]
    return [run for run in family if find_base(run, instance) == base]


def require_own(state: State, base: str) -> None:
    """Require that the worktree is still as it was prepared for a run.

    Args:
        state: What is remembered of the worktree.
        base: The run, as `find_base` gives it.

    Raises:
        RetrainingError: It has been prepared for another since.
    """
    if state.run != base:
        raise RetrainingError(
            "another run has used the worktree since this one stopped, so it cannot go on there; "
            "launch `retrain` anew: what is unchanged takes seconds"
        )
