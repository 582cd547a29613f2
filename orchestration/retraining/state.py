"""What is remembered of the worktree from run to run."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from mm_assets.contracts.config import Section
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json


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
