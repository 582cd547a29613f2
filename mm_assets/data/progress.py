"""Progress bars for long work: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(
    items: Iterable[Item], *, title: str, total: int | None = None, unit: str = "row"
) -> Iterator[Item]:
    """Iterate over `items` while showing how far it got on standard error."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    yield from tqdm(
        items,
        desc=title,
        total=total,
        unit=unit,
        mininterval=0.2 if live else 5.0,
        ncols=88 if not live else None,
        ascii=None if live else " #",
        file=sys.stderr,
    )


def announce(text: str) -> None:
    """Say on standard error what a long step is doing."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the place that prints
