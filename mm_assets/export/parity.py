"""The exported file against PyTorch, on real rows, for every subset of modalities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mm_assets.contracts.subsets import name_subset
from mm_assets.modalities.base import Arrays

BATCH_SIZES = (1, 3, 32)

Run = Callable[[Arrays, np.ndarray], Arrays]


@dataclass(frozen=True)
class Difference:
    """How far two implementations are apart on one batch.

    Attributes:
        subset: The modalities that were offered, joined by ``+``.
        batch: Rows in the batch.
        largest: Largest absolute difference of an output in its unit; infinite where one is not
            finite.
    """

    subset: str
    batch: int
    largest: float


def compare(
    first: Run,
    second: Run,
    batches: Callable[[tuple[str, ...], int], tuple[Arrays, np.ndarray]],
    subsets: Sequence[tuple[str, ...]],
    *,
    units: Mapping[str, float],
    sizes: Sequence[int] = BATCH_SIZES,
) -> list[Difference]:
    """Run both on every given subset of modalities and every batch size.

    Args:
        first: Collated arrays and presence mask to outputs by target.
        second: The same.
        batches: Gives the collated batch for a subset and a size.
        subsets: Of the modalities.
        units: By target, what its differences are divided by (`Target.unit`): 1 for
            probabilities, the training labels' standard deviation for numbers.
        sizes: Batch sizes.

    Returns:
        One difference per subset and size.
    """
    found = []
    for subset in subsets:
        for size in sizes:
            arrays, presence = batches(subset, size)
            largest = largest_gap(first(arrays, presence), second(arrays, presence), units=units)
            found.append(Difference(name_subset(subset), size, largest))
    return found


def largest_gap(ours: Arrays, theirs: Arrays, *, units: Mapping[str, float]) -> float:
    """Find the largest difference over all outputs, each in its unit; infinite where not finite."""
    gaps = [float(np.abs(ours[name] - theirs[name]).max()) / units[name] for name in ours]
    return max(gap if math.isfinite(gap) else math.inf for gap in gaps)


def round_up(value: float) -> float:
    """Round up to one significant digit, so that a report does not change with the last bits."""
    if value == 0 or not math.isfinite(value):
        return value
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit) * unit:.0e}")
