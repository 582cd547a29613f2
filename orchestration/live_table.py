"""A table that a stage writes while it runs, such as its learning curves."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

Row = dict[str, float]
EVERY_S = 5.0  # between two rows: each becomes an event in Dagster's database


class LiveTable:
    """Gives the latest row of a CSV file, now and then, for as long as its stage runs.

    What an earlier run left there is not given.

    Args:
        file: With a header; it may be absent.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._given_s = file, -math.inf
        self._seen = self._stamp()

    def read_due(self) -> Iterator[Row]:
        """Give the latest row, where there is a new one and the last one is long enough ago."""
        if time.monotonic() - self._given_s >= EVERY_S:
            yield from self.read_new()

    def read_new(self) -> Iterator[Row]:
        """Give the latest row, where there is a new one."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        if row := read_last_row(self._file):
            self._given_s = time.monotonic()
            yield row

    def _stamp(self) -> tuple[int, int, int] | None:
        """Tell one state of the file from the next."""
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def read_last_row(file: Path) -> Row:
    """Read the last whole line: its finite numbers by column; empty where there is none.

    A line that is being written has no end yet, and is left for later.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # replaced or deleted this moment
        return {}
    try:
        lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    except csv.Error:  # it is no table of numbers, which fails no stage
        return {}
    if len(lines) < 2:
        return {}
    cells = dict(zip(lines[0], lines[-1], strict=False))
    return {name: float(cell) for name, cell in cells.items() if _is_number(cell)}


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
