"""What a sensor has asked for, and when it asks again because nothing came of it.

A run that failed is asked for again by itself: an hour later, then after twice as long each time, up to
32 hours. So what heals meanwhile is done without anybody's help, and what does not makes no storm.
"""

from __future__ import annotations

import time
from datetime import datetime

import dagster as dg
from pydantic import ValidationError

from mm_assets.contracts.config import Section

PAUSE_S = 3600.0
DOUBLINGS = 5


class Asked(Section):
    """One request, as a sensor's cursor keeps it.

    Attributes:
        state: Of what the run was asked for.
        at_s: When, in seconds since 1970.
        times: How often for that state.
    """

    state: str
    at_s: float
    times: int = 1

    @property
    def due_s(self) -> float:
        """When it is asked for again, in seconds since 1970."""
        return self.at_s + PAUSE_S * 2.0 ** min(self.times - 1, DOUBLINGS)

    @property
    def key(self) -> str:
        """Tell one request from every other, so that Dagster takes it once."""
        return f"{self.state} {self.at_s}"

    def explain(self, last: dg.DagsterRun | None) -> str:
        """Say what became of it, and what can be done.

        Args:
            last: The run that was asked for; none where it is not there.
        """
        when = datetime.fromtimestamp(self.due_s).astimezone().strftime("%Y-%m-%d %H:%M")
        if last is None:
            return f"a run has been asked for already; where none came of it, again at {when}"
        if not last.is_finished:
            return f"run {last.run_id[:8]} has been asked for already and has not ended"
        return (
            f"run {last.run_id[:8]} ended as {last.status.value} without doing it; asked for again at "
            f"{when}, or press *Re-execute all* there"
        )


def ask(state: str, before: Asked | None, last: dg.DagsterRun | None) -> Asked | str:
    """Ask for a run: the first time for a state, and again where nothing came of it for long enough.

    Args:
        state: Of what is to be done, which still is not.
        before: What was asked for last.
        last: The run that was made of it.

    Returns:
        The request; or, where one has been made and there is time yet, what became of that.
    """
    now = time.time()
    if before is None or before.state != state:
        return Asked(state=state, at_s=now)
    if (last is not None and not last.is_finished) or now < before.due_s:
        return before.explain(last)
    return Asked(state=state, at_s=now, times=before.times + 1)


def read_asked(cursor: str | None) -> Asked | None:
    """Read a cursor that is one request; null where there is none, or an earlier release wrote it."""
    try:
        return Asked.model_validate_json(cursor) if cursor else None
    except ValidationError:
        return None


def find_last(instance: dg.DagsterInstance, filters: dg.RunsFilter) -> dg.DagsterRun | None:
    """Give the newest of some runs."""
    return next(iter(instance.get_runs(filters, limit=1)), None)
