"""Metrics with intervals and paired tests, by resampling whole groups.

Rows of one group (speaker, patient, customer) are alike, so a group is what is drawn: intervals
that resample rows would be too narrow. Everything works on a target's tallies, which add up over
rows; a resample is then one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mm_assets.contracts.errors import DataContractError
from mm_assets.targets.base import Target

CHUNK = 4_000_000  # numbers at once, to bound memory at a million groups


def score_with_intervals(
    target: Target,
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, float | int]:
    """Compute a target's metrics with percentile bootstrap intervals over groups.

    Args:
        target: Whose metrics.
        tallies: Of `target.tally`, at least one row.
        groups: The group of each row; rows of one group are drawn together.
        resamples: How many.
        confidence: Such as 0.95.
        seed: Of the draws; equal seeds give equal intervals.

    Returns:
        `rows`, `groups` and, for each metric, its value, `NAME_low` and `NAME_high`.

    Raises:
        DataContractError: There is no row.

    Source:
        Field and Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x (cluster bootstrap).
    """
    totals = sum_by_group(tallies, groups)
    sums = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
    scores: dict[str, float | int] = {"rows": len(tallies), "groups": len(totals)}
    for name, (value, *drawn) in target.metrics(sums).items():
        low, high = take_interval(drawn, confidence)
        scores |= {name: float(value), f"{name}_low": low, f"{name}_high": high}
    return scores


def draw_headline(
    target: Target,
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    seed: int,
) -> Float[np.ndarray, " all_and_resamples"]:
    """Compute the headline metric of all rows, and then of each resample of whole groups.

    For figures made of several metrics on the same groups, whose draws then belong together; the
    arguments are those of `score_with_intervals`.

    Raises:
        DataContractError: There is no row.
    """
    totals = sum_by_group(tallies, groups)
    sums = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
    return target.metrics(sums)[target.headline]


def compare_paired(
    target: Target,
    first: Shaped[np.ndarray, "row tally"],
    second: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, float | int]:
    """Compare two models' headline metric on the same rows.

    Args:
        target: Whose headline metric.
        first: Tallies of one model.
        second: Tallies of the other, of the same rows in the same order.
        groups: The group of each row.
        resamples: Of the bootstrap and of the test.
        confidence: Of the interval.
        seed: Of the draws.

    Returns:
        `difference` (first minus second) with its paired bootstrap interval, and `p_value`, two
        sided, of the permutation test that swaps the models' answers group by group: how often
        a difference at least as large arises when it does not matter which model answers.

    Raises:
        DataContractError: There is no row.

    Source:
        Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585 (why p is never 0).
    """
    width = first.shape[1]
    totals = sum_by_group(np.hstack([first, second]), groups)

    def differ(sums: Iterator[np.ndarray]) -> Float[np.ndarray, " resample"]:
        both = np.vstack(list(sums))
        ours, theirs = target.metrics(both[:, :width]), target.metrics(both[:, width:])
        gaps: np.ndarray = ours[target.headline] - theirs[target.headline]
        return gaps

    difference = float(differ(iter([totals.sum(axis=0)]))[0])
    drawn, swapped = (
        differ(resample_groups(totals, resamples, seed)),
        differ(_swap(totals, resamples, seed)),
    )
    # A swap that gives the same difference may miss it in the last bit.
    extreme = int((np.abs(swapped) >= abs(difference) - 1e-12).sum())
    low, high = take_interval(list(drawn), confidence)
    return {
        "rows": len(first),
        "groups": len(totals),
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "p_value": (1 + extreme) / (1 + resamples),
    }


def sum_by_group(
    tallies: Shaped[np.ndarray, "row tally"], groups: Shaped[np.ndarray, " row"]
) -> Shaped[np.ndarray, "group tally"]:
    """Add up the tallies of each group: whole numbers as int64, others as float64.

    Raises:
        DataContractError: There is no row.
    """
    if not len(tallies):
        raise DataContractError("metrics need at least 1 row with a known label, got 0")
    numbers, names = pd.factorize(groups)
    totals = np.zeros((len(names), tallies.shape[1]), dtype=np.result_type(tallies, np.int64))
    np.add.at(totals, numbers, tallies)
    return totals


def resample_groups(
    totals: Shaped[np.ndarray, "group tally"], resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Draw as many groups as there are, with replacement; yields sums of tallies, in chunks."""
    for draws in draw_groups(len(totals), resamples, seed, width=len(totals)):
        yield draws @ totals


def draw_groups(
    groups: int, resamples: int, seed: int, *, width: int
) -> Iterator[Int[np.ndarray, "resample group"]]:
    """Tell how often each resample draws each group, the same in chunks of any size.

    Args:
        groups: How many there are, and are drawn, with replacement.
        resamples: How many.
        seed: Of the draws.
        width: Numbers that are made of one resample, by which chunks are sized.
    """
    rng = np.random.default_rng(seed)
    for size in split_resamples(resamples, width):
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=size)


def take_interval(
    drawn: Sequence[float] | Float[np.ndarray, " resample"], confidence: float
) -> tuple[float, float]:
    """Cut equal tails off."""
    low, high = np.quantile(np.asarray(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def split_resamples(resamples: int, width: int) -> Iterator[int]:
    """Split a number of resamples, of so many numbers each, to keep memory bounded."""
    size = max(1, CHUNK // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _swap(
    pairs: Shaped[np.ndarray, "group both"], resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Exchange the two models' tallies in random groups; yields sums of tallies, in chunks."""
    rng, other = np.random.default_rng(seed), np.roll(pairs, pairs.shape[1] // 2, axis=1)
    for size in split_resamples(resamples, len(pairs)):
        yield pairs.sum(axis=0) + rng.integers(0, 2, size=(size, len(pairs))) @ (other - pairs)
