"""What is remembered of the worktree from run to run, and whose turn there it is."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field, field_validator

from mm_assets.contracts.config import Section
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json
from orchestration.retraining.worktree import RetrainingError


class State(Section):
    """What is remembered, in a file beside the worktree.

    Attributes:
        run: The run that it was last prepared for.
        ready: Whether that was finished.
        done: Whether the run has made its commit.
        batches: That were taken into its data, each with its state then.
        left_out: That could not be, with their reasons.
        copied: The state of the person's `data/` when the run took a copy; none if it took none.
        persons_data: The version of the branch's data that is such a copy and has no batch in it: a
            later copy may take its place.
        persons_state: The state of the person's `data/` that has gone into the branch.
    """

    run: str = ""
    ready: bool = False
    done: bool = False
    batches: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    copied: str | None = None
    persons_data: str | None = None
    persons_state: str | None = None

    @field_validator("batches", mode="before")
    @classmethod
    def _read_names(cls, given: object) -> object:
        """Read what an earlier release wrote, names alone: they then count as changed since."""
        return dict.fromkeys(given, "") if isinstance(given, list) else given

    def begin(self, run: str) -> State:
        """Keep what outlives a run."""
        return State(run=run, persons_data=self.persons_data, persons_state=self.persons_state)

    def finish(self, data: str | None) -> State:
        """Remember what is on the branch now."""
        found: dict[str, object] = {"done": True}
        if self.copied is not None:
            found["persons_state"] = self.copied
            if not self.batches:
                found["persons_data"] = data
        return self.model_copy(update=found)


def read_state(root: Path) -> State:
    """Read it; nothing is remembered of a worktree that never was."""
    path = Workspace(root).retraining_state
    return State.model_validate_json(path.read_text("utf-8")) if path.is_file() else State()


def write_state(root: Path, state: State) -> None:
    """Remember it."""
    write_json(Workspace(root).retraining_state, state.model_dump(mode="json"))


def identify(run: dg.DagsterRun) -> str:
    """Give the id that a run shares with those that go on where it stopped."""
    if run.step_keys_to_execute and run.root_run_id:
        return run.root_run_id
    return run.run_id


def require_turn(state: State, run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Require that nobody else works there.

    Raises:
        RetrainingError: Another run does; or this one leaves out what was done there before another
            followed.
    """
    if _goes_on(run, instance):
        require_own(state, run)
    if state.done or state.run in ("", identify(run)):
        return
    others = _list_attempts(state.run, instance)
    if working := [other.run_id for other in others if not other.is_finished]:
        raise RetrainingError(
            f"run {working[0]} is retraining, and two cannot share the worktree; wait until it has "
            "ended, or terminate it"
        )


def _goes_on(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Tell whether steps that a run leaves out were done by those before it.

    Dagster tells a run that is tried again which steps to execute even where that is all of them; it
    then begins like any other.
    """
    if identify(run) == run.run_id:
        return False
    done = dg.DagsterEventType.STEP_SUCCESS
    return any(
        instance.get_records_for_run(one.run_id, of_type=done, limit=1).records
        for one in _list_attempts(identify(run), instance)
    )


def _list_attempts(run_id: str, instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """List a run and those that went on where it stopped."""
    filters = [
        dg.RunsFilter(run_ids=[run_id]),
        dg.RunsFilter(tags={"dagster/root_run_id": run_id}),
    ]
    return [run for one in filters for run in instance.get_runs(one)]


def require_own(state: State, run: dg.DagsterRun) -> None:
    """Require that the worktree is still as it was prepared for this run.

    Raises:
        RetrainingError: It has been prepared for another since.
    """
    if state.run != identify(run):
        raise RetrainingError(
            "another run has used the worktree since this one stopped, so it cannot go on there; "
            "launch `retrain` anew: what is unchanged takes seconds"
        )
