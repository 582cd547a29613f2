"""Progress bars for long work: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(
    items: Iterable[Item],
    *,
    title: str,
    total: int | None = None,
    unit: str = "row",
    size: Callable[[Item], int] = lambda _: 1,
) -> Iterator[Item]:
    """Iterate over `items` while showing how far it got on standard error.

    Args:
        items: What is worked on.
        title: What is being done.
        total: How many units there will be.
        unit: What is counted.
        size: How many units an item stands for.
    """
    from tqdm import tqdm

    live = sys.stderr.isatty()
    with tqdm(
        desc=title,
        total=total,
        unit=unit,
        mininterval=0.2 if live else 5.0,
        ncols=88 if not live else None,
        ascii=None if live else " #",
        file=sys.stderr,
    ) as bar:
        for item in items:
            yield item
            bar.update(size(item))


def announce(text: str) -> None:
    """Say on standard error what a long step is doing."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the place that prints
