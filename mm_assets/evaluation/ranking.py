"""How well probabilities rank rows: AUROC and average precision, by resampling whole groups.

Ranks do not add up over rows as tallies do. So each class's rows are sorted once, and a resample
only changes how often each row counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Shaped

from mm_assets.evaluation.metrics import draw_groups, take_interval
from mm_assets.targets.base import Target

METRICS = ("auroc", "average_precision")


def score_ranking(
    target: Target,
    labels: Shaped[np.ndarray, " row *label"],
    probabilities: Float[np.ndarray, "row column"],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Compute AUROC and average precision with percentile bootstrap intervals over groups.

    A draw in which a class has no positive or no negative row is left out of that class's interval;
    the macro average is over the classes that have both, in each draw anew.

    Args:
        target: Whose classes are ranked, each against the others.
        labels: Encoded, all known.
        probabilities: Of the same rows.
        groups: The group of each row; the draws are those of `score_with_intervals`.
        resamples: How many.
        confidence: Such as 0.95.
        seed: Of the draws.

    Returns:
        `auroc`, `average_precision`, and of each `NAME_low` and `NAME_high`: averaged over classes;
        `by_class`: the same of each, with its `class`. A class without a positive or without a
        negative row is left out; empty where no class is left, as for a kind without classes.

    Source:
        Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010 (AUROC, ties counted half);
        `sklearn.metrics.average_precision_score` (no interpolation).
    """
    numbers, names = pd.factorize(groups)
    ranked = {
        name: _rank(truth, scores, numbers)
        for name, (truth, scores) in target.rankings(labels, probabilities).items()
        if truth.any() and not truth.all()
    }
    if not ranked:
        return {}
    # By metric, class and draw, all rows as they are in front.
    chunks = [_score(ranked, np.ones((1, len(names)), dtype=np.int64))]
    chunks += [
        _score(ranked, draws)
        for draws in draw_groups(len(names), resamples, seed, width=len(labels))
    ]
    scores = np.concatenate(chunks, axis=2)

    def state(values: Float64[np.ndarray, "metric draw"]) -> dict[str, float]:
        found: dict[str, float] = {}
        for metric, (value, *drawn) in zip(METRICS, values, strict=True):
            low, high = take_interval(np.asarray(drawn)[~np.isnan(drawn)], confidence)
            found |= {metric: float(value), f"{metric}_low": low, f"{metric}_high": high}
        return found

    some = ~np.isnan(scores).all(axis=(0, 1))
    return state(np.nanmean(scores[:, :, some], axis=1)) | {
        "by_class": [
            {"class": name, **state(scores[:, place])} for place, name in enumerate(ranked)
        ]
    }


@dataclass(frozen=True)
class _Ranked:
    """Rows by falling score; those of equal score are one step.

    Attributes:
        groups: The group of each row.
        positives: The places of positive rows.
        before: How many rows lie before each positive row's step.
        through: How many rows lie before the end of it.
        positives_before: As `before`, of positive rows.
        positives_through: As `through`, of positive rows.
    """

    groups: Int[np.ndarray, " row"]
    positives: Int[np.ndarray, " positive"]
    before: Int[np.ndarray, " positive"]
    through: Int[np.ndarray, " positive"]
    positives_before: Int[np.ndarray, " positive"]
    positives_through: Int[np.ndarray, " positive"]


def _rank(
    truth: Bool[np.ndarray, " row"],
    scores: Float[np.ndarray, " row"],
    groups: Int[np.ndarray, " row"],
) -> _Ranked:
    """Sort a class's rows."""
    order = np.argsort(-scores, kind="stable")
    positives = np.flatnonzero(truth[order])
    rising, own = -scores[order], -scores[order][positives]
    return _Ranked(
        groups=groups[order],
        positives=positives,
        before=np.searchsorted(rising, own, side="left"),
        through=np.searchsorted(rising, own, side="right"),
        positives_before=np.searchsorted(own, own, side="left"),
        positives_through=np.searchsorted(own, own, side="right"),
    )


def _score(
    ranked: dict[str, _Ranked], draws: Int[np.ndarray, "draw group"]
) -> Float64[np.ndarray, "metric class draw"]:
    """Compute both metrics of every class, rows counted as often as their group is drawn.

    NaN where a draw has no positive or no negative row of a class.
    """
    scores = np.full((len(METRICS), len(ranked), len(draws)), np.nan)
    weights = np.ascontiguousarray(draws.T, dtype=np.float64)  # (group, draw)
    for place, one in enumerate(ranked.values()):
        rows = _accumulate(weights[one.groups])
        own = weights[one.groups[one.positives]]
        hits = _accumulate(own)
        positives, negatives = hits[-1], rows[-1] - hits[-1]
        some = (positives > 0) & (negatives > 0)
        found, taken = hits[one.positives_through], rows[one.through]
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        # Negative rows above each positive one, those beside it counted half.
        above = (taken - found + rows[one.before] - hits[one.positives_before]) / 2
        misplaced, precise = (own * above).sum(axis=0), (own * precision).sum(axis=0)
        np.divide(precise, positives, out=scores[1, place], where=some)
        np.divide(misplaced, positives * negatives, out=scores[0, place], where=some)
        scores[0, place] = 1 - scores[0, place]
    return scores


def _accumulate(weights: Float64[np.ndarray, "row draw"]) -> Float64[np.ndarray, "row_and_1 draw"]:
    """Add rows up from the first on, with 0 in front."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums
