"""Several tests at once: what their p-values are worth together."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values of several looks so that the chance of any false alarm stays as stated.

    Args:
        p_values: Null where there was nothing to say, which is no look.

    Returns:
        In their order, at least as large and at most 1.

    Source:
        Holm 1979, https://www.jstor.org/stable/4615733.
    """
    looks = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(looks):
        largest = max(largest, min(1.0, p * (len(looks) - rank)))
        adjusted[place] = largest
    return adjusted
