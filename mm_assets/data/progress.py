"""Progress bars for long work: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
LOG_EVERY_S = 10.0


def show_progress(
    items: Iterable[Item],
    *,
    title: str,
    total: int | None = None,
    unit: str = "row",
    size: Callable[[Item], int] = lambda _: 1,
) -> Iterator[Item]:
    """Iterate over `items` while showing how far it got on standard error.

    Where that is no terminal, a line is written every ten seconds and one at the end, none at all
    for what takes less.

    Args:
        items: What is worked on.
        title: What is being done.
        total: How many units there will be.
        unit: What is counted.
        size: How many units an item stands for.
    """
    from tqdm import tqdm

    if sys.stderr.isatty():
        with tqdm(desc=title, total=total, unit=unit, mininterval=0.2, file=sys.stderr) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    describe = partial(
        tqdm.format_meter, total=total or 0, prefix=title, unit=unit, ncols=88, ascii=" #"
    )
    start = said = time.monotonic()
    done = shown = 0
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - said >= LOG_EVERY_S:
            announce(describe(done, elapsed=now - start))
            said, shown = now, done
    if 0 < shown < done:
        announce(describe(done, elapsed=time.monotonic() - start))


def announce(text: str) -> None:
    """Say on standard error what a long step is doing."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)  # above a bar that is being drawn
