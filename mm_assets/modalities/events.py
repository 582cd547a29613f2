"""Histories: what happened when, such as purchases, searches, alarms or prescriptions."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, SupportsFloat

import numpy as np
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities import base
from mm_assets.modalities.tabular import LARGEST, clean_category, clean_number, hash_category

FIELDS = ("time", "type", "value")
SHOWN_TYPES = 5
MOST_BYTES = 16_000_000  # of a cell that is text, before it is read as JSON


class EventsOptions(base.Options):
    """What a legal history is. An empty one is legal: that nothing happened is known."""

    limits: ClassVar[frozenset[str]] = frozenset({"min_events", "max_events"})

    min_events: Annotated[int, Field(ge=0)] = 0
    max_events: Annotated[int, Field(ge=1)] = 10_000


class EventsAugment(base.Options):
    """How a copy differs; small, since one event may carry the label."""

    drop: Annotated[float, Field(ge=0, le=1)] = 0.05  # chance of each event to be left out
    stretch: Annotated[float, Field(ge=0, lt=1)] = 0.05  # of each gap, by up to this share
    noise: Annotated[float, Field(ge=0, le=1)] = 0.02  # on each value, relative to it


@dataclass(frozen=True)
class History:
    """Events in the order of their times.

    Attributes:
        times_s: float64 (event,), rising, in seconds; only differences mean something.
        types: One text per event.
        values: float32 (event,), NaN where an event has none.
    """

    times_s: np.ndarray
    types: tuple[str, ...]
    values: np.ndarray


class Events(base.Modality[History]):
    """A list of ``[time, type, value]``, or in a CSV its JSON text; the value may be left out.

    An event may also be a mapping with these keys. Times are seconds or ISO 8601 texts, which are
    UTC where they name no zone.
    """

    kind: ClassVar[str] = "events"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("numpy",)
    is_file: ClassVar[bool] = False
    identifies: ClassVar[bool] = False  # two customers may both have bought nothing
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {"types": (1,), "numbers": (1,)}
    options_model: ClassVar[type[base.Options]] = EventsOptions
    options: EventsOptions
    augment_model: ClassVar[type[base.Options]] = EventsAugment
    augmentation: EventsAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Give the cleaned history as JSON, however it was written and ordered.

        Raises:
            BadSampleError: As `decode`.
        """
        return _write(self.decode(cell, folder))

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `events`, `types` and `span_s`; see `Modality.probe`."""
        history = self.decode(cell, folder)
        times = history.times_s
        return {
            "content": base.digest_content(_write(history)),
            "events": len(times),
            "types": len(set(history.types)),
            "span_s": float(times[-1] - times[0]) if len(times) else 0.0,
        }

    def decode(self, cell: object, folder: Path) -> History:
        """Read the events and put them in order; equal times keep the order of the cell.

        Raises:
            BadSampleError: ``events_unreadable``, ``event_unreadable``, ``time_unreadable``,
                ``events_too_few``, ``events_too_many``, or as `clean_number` and `clean_category`.
        """
        listed = _load(cell)
        count = len(listed)
        if count > self.options.max_events:
            raise BadSampleError(
                "events_too_many",
                f"the cell holds {count} events, the limit is {self.options.max_events}; leave the "
                "oldest out, or raise `options.max_events`",
            )
        if count < self.options.min_events:
            raise BadSampleError(
                "events_too_few",
                f"the cell holds {count} events, `options.min_events` asks for "
                f"{self.options.min_events}",
            )
        events = sorted(
            (_read_event(event, place) for place, event in enumerate(listed, start=1)),
            key=lambda event: event[0],
        )
        return History(
            np.array([time for time, _, _ in events], dtype=np.float64),
            tuple(kind for _, kind, _ in events),
            np.array([value for _, _, value in events], dtype=np.float32),
        )

    def describe(self, value: History) -> base.Sketch:
        """Name the most frequent types with how often they occur, and the span."""
        if not value.types:
            return base.Sketch(text="no event")
        counts = Counter(value.types).most_common(SHOWN_TYPES)
        span_s = value.times_s[-1] - value.times_s[0]
        return base.Sketch(
            fields={
                f"{len(value.types)} event{'s' * (len(value.types) > 1)}": f"over {span_s:.4g} s",
                **{kind: str(count) for kind, count in counts},
            }
        )

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Keep the strengths and draw a seed; see `Modality.plan`."""
        return {**self.augmentation.model_dump(), "seed": int(rng.integers(2**32))}

    def render(self, value: History, plan: Mapping[str, Any]) -> History:
        """Leave events out, stretch gaps and change values; of some events at least one stays."""
        count = len(value.types)
        if not count:
            return value
        rng = np.random.default_rng(plan["seed"])
        kept = rng.random(count) >= plan["drop"]
        kept[rng.integers(count)] = True
        gaps = np.diff(value.times_s, prepend=value.times_s[0])
        gaps *= 1 + plan["stretch"] * rng.uniform(-1, 1, count)
        factors = 1 + plan["noise"] * rng.standard_normal(count)
        return History(
            (value.times_s[0] + np.cumsum(gaps))[kept],
            tuple(kind for kind, stays in zip(value.types, kept, strict=True) if stays),
            (value.values * factors).astype(np.float32)[kept],
        )

    def corrupt(self, value: History, level: float, rng: np.random.Generator) -> History:
        """Lose events, and change the times and values of those that stay; see `Modality.corrupt`.

        One event (drawn evenly) stays, and each other is lost with probability `level`. Each gap
        between two events is multiplied by a number drawn evenly from ``1 - level`` to ``1 +
        level``, so that the order stays, and each value by ``1 + level * normal``. A history
        without events stays one.

        Raises:
            DataContractError: The level is not in [0, 1].
        """
        self._require_level(level)
        if not level:
            return value
        seed = int(rng.integers(2**32))
        with np.errstate(over="ignore"):  # at the ends of both floats' ranges
            changed = self.render(
                value, {"drop": level, "stretch": level, "noise": level, "seed": seed}
            )
        latest_s = np.finfo(np.float64).max
        return History(
            np.clip(changed.times_s, -latest_s, latest_s),
            changed.types,
            np.clip(changed.values, -LARGEST, LARGEST).astype(np.float32),
        )

    def collate(self, values: Sequence[History], inputs: Mapping[str, Any]) -> base.Arrays:
        """Take the last `max_events` of each history and pad at the end.

        Returns:
            ``types``, int64 (batch, steps) of `hash_category`, 0 for padding; ``numbers``, float32
            (batch, steps, 4): seconds since the event before (0 for the first that is taken), seconds
            until the last event, the value (0 where there is none), and 1 where there is one.
        """
        most = inputs["max_events"]
        # An exported graph would take a length of 1 for a constant.
        steps = max(2, *(min(len(history.types), most) for history in values))
        arrays: base.Arrays = {
            "types": np.zeros((len(values), steps), dtype=np.int64),
            "numbers": np.zeros((len(values), steps, 4), dtype=np.float32),
        }
        for row, history in enumerate(values):
            types, times, given = (
                history.types[-most:],
                history.times_s[-most:],
                history.values[-most:],
            )
            if not types:
                continue
            known = ~np.isnan(given)
            columns = (np.diff(times, prepend=times[0]), times[-1] - times, given, known)
            arrays["types"][row, : len(types)] = [hash_category(kind) for kind in types]
            arrays["numbers"][row, : len(types)] = np.nan_to_num(
                np.stack(columns, axis=1), posinf=0, neginf=0
            )
        return arrays

    def placeholder(self, inputs: Mapping[str, Any]) -> History:
        """Give the history without events."""
        return History(np.empty(0), (), np.empty(0, dtype=np.float32))


def _load(cell: object) -> list[Any]:
    """Give the cell's events as a list.

    Raises:
        BadSampleError: ``events_unreadable``.
    """
    expected = 'a list of events such as [[0, "view"], [3.5, "purchase", 19.9]]'
    if isinstance(cell, str) and len(cell) > MOST_BYTES:
        raise BadSampleError(
            "events_unreadable", f"the cell holds {len(cell)} characters, {MOST_BYTES} are read"
        )
    try:
        listed = json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        listed = None
    if isinstance(listed, np.ndarray) and listed.ndim:
        listed = listed.tolist()
    if not isinstance(listed, (list, tuple)):
        raise BadSampleError(
            "events_unreadable", f"the cell must hold {expected}, got {base.show_cell(cell)}"
        )
    return list(listed)


def _read_event(event: object, place: int) -> tuple[float, str, float]:
    """Give time in seconds, type and value (NaN where there is none).

    Raises:
        BadSampleError: As `Events.decode`; names the event by its place in the cell, from 1.
    """
    parts: dict[str, Any] | None = None
    if isinstance(event, Mapping) and event.keys() <= set(FIELDS):
        parts = dict(event)
    elif isinstance(event, (list, tuple, np.ndarray)) and 2 <= len(event) <= len(FIELDS):
        parts = dict(zip(FIELDS, event, strict=False))
    kind = clean_category(parts.get("type"), "type") if parts else None
    if parts is None or kind is None:
        raise BadSampleError(
            "event_unreadable",
            f"event {place} must be [time, type] or [time, type, value], got {base.show_cell(event)}",
        )
    value = clean_number(parts.get("value"), "value")
    return _read_time(parts.get("time"), place), kind, math.nan if value is None else value


def _read_time(time: object, place: int) -> float:
    """Give a time in seconds.

    Raises:
        BadSampleError: ``time_unreadable``.
    """
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time.strip())
        if isinstance(time, datetime):
            time = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        seconds = float(time) if isinstance(time, SupportsFloat) else math.nan
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadSampleError(
            "time_unreadable",
            f"the time of event {place} must be seconds or an ISO 8601 text such as "
            f"2026-05-01T12:30:00, got {base.show_cell(time)}",
        )
    return seconds + 0.0  # no negative zero


def _write(history: History) -> bytes:
    values = (None if math.isnan(value) else value for value in history.values.tolist())
    events = zip(history.times_s.tolist(), history.types, values, strict=True)
    return json.dumps(list(events)).encode()


MODALITY = Events
