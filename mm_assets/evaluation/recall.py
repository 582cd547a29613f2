"""How many rows of each class are found."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped

from mm_assets.evaluation.metrics import resample_groups, sum_by_group, take_interval
from mm_assets.targets.base import Target


def score_recalls(
    target: Target,
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Compute each class's recall with percentile bootstrap intervals over groups.

    Args:
        target: Whose classes.
        tallies: Of `target.tally`, at least one row.
        groups: The group of each row; rows of one group are drawn together.
        resamples: How many.
        confidence: Such as 0.95.
        seed: Of the draws.

    Returns:
        `class`, `recall`, `recall_low` and `recall_high` in the order of the classes; classes
        without a row are left out, and a kind without classes has none.

    Raises:
        DataContractError: There is no row.
    """
    totals = sum_by_group(tallies, groups)
    sums = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
    found = []
    for name, (value, *drawn) in (target.class_recalls(sums) or {}).items():
        if not np.isnan(value):
            known = np.asarray(drawn)[~np.isnan(drawn)]  # some draws have no row of a rare class
            low, high = take_interval(known.tolist(), confidence)
            found.append(
                {"class": name, "recall": float(value), "recall_low": low, "recall_high": high}
            )
    return found
