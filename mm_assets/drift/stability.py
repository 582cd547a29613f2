"""The population stability index: how far shares of levels have moved."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from mm_assets.drift.permutation import LEAST_GROUPS, relabel_groups, take_p_value, thin_groups

MISSING = "missing"
HALF_A_ROW = 0.5  # stands for the count of a level that a side does not have


@dataclass(frozen=True)
class Counted:
    """Which level each row has.

    Attributes:
        levels: Text, indexed by the row's place; a row may have several levels, or none.
        groups: Each row's group, indexed likewise.
    """

    levels: pd.Series
    groups: pd.Series


@dataclass(frozen=True)
class Stability:
    """How far shares have moved.

    Attributes:
        psi: The index over all rows.
        p_value: Of a permutation test of whole groups; null where a side has fewer than two.
        levels: Their names, in order.
        reference: Share of each.
        batch: Share of each.
        unseen: Levels that the reference does not have.
    """

    psi: float
    p_value: float | None
    levels: tuple[str, ...]
    reference: Float[np.ndarray, " level"]
    batch: Float[np.ndarray, " level"]
    unseen: tuple[str, ...]


def measure_psi(
    reference: Int64[np.ndarray, "level ..."], batch: Int64[np.ndarray, "level ..."]
) -> Float[np.ndarray, ...]:
    """Give the population stability index, in nats: ``sum (b - r) ln(b / r)`` over shares.

    A level that one side lacks counts as half a row there, since the logarithm of 0 is none.

    Args:
        reference: Rows of each level.
        batch: Likewise.

    Source:
        Yurdakul 2018, Statistical properties of population stability index,
        https://scholarworks.wmich.edu/dissertations/3208. It is the divergence of Jeffreys 1946; rules
        of thumb call 0.1 small and 0.25 large, whatever the number of rows.
    """
    shares = [
        np.where(counts == 0, HALF_A_ROW, counts) / np.maximum(counts.sum(axis=0), HALF_A_ROW)
        for counts in (reference, batch)
    ]
    moved = (shares[1] - shares[0]) * np.log(shares[1] / shares[0])
    return np.asarray(moved.sum(axis=0))


def cut_deciles(reference: pd.Series, *others: pd.Series) -> list[pd.Series]:
    """Sort numbers into the ranges between the reference's deciles.

    Args:
        reference: Numbers; null is a level of its own. Its known ones give the bounds, equal ones
            once; a number that equals a bound lies below it.
        others: Numbers, sorted by the same bounds.

    Returns:
        Text per row, of the reference and the others.
    """
    known = reference.dropna()
    tenths = [tenth / 10 for tenth in range(1, 10)]
    edges = sorted(set(known.quantile(tenths).tolist())) if len(known) else []
    shown = [f"{edge:.6g}" for edge in edges]
    # Numbered, so that their names sort as they lie.
    names = [f"up to {edge}" for edge in shown[:1]]
    names += [f"{low} to {high}" for low, high in itertools.pairwise(shown)]
    names += [f"over {edge}" for edge in shown[-1:]] or ["any number"]
    numbered = [f"{place + 1:02d}: {name}" for place, name in enumerate(names)]

    def sort(numbers: pd.Series) -> pd.Series:
        places = np.searchsorted(np.array(edges), numbers.fillna(0).to_numpy(), side="left")
        cut = pd.Series(np.array(numbered, dtype=object)[places], index=numbers.index)
        return cut.where(numbers.notna(), MISSING)

    return [sort(one) for one in (reference, *others)]


def compare_levels(
    reference: Counted, batch: Counted, *, permutations: int, most: int, rng: np.random.Generator
) -> Stability:
    """Measure how far shares have moved, and whether more than between draws of whole groups.

    Args:
        reference: At least one level.
        batch: Likewise.
        permutations: How many relabellings are drawn.
        most: Rows of a side that they are drawn from; see `thin_groups`.
        rng: Draws.

    Returns:
        The index is that of all rows, the p-value that of rows thinned for it. Bounds of deciles lie
        where they do in the reference, which makes the p-value a little too careful.
    """
    sides = (reference, batch)
    seen = [set(side.levels) for side in sides]
    names = sorted(seen[0] | seen[1])
    counts = [side.levels.value_counts().reindex(names, fill_value=0).to_numpy() for side in sides]
    return Stability(
        psi=float(measure_psi(*counts)),
        p_value=_test(reference, batch, names, permutations=permutations, most=most, rng=rng),
        levels=tuple(names),
        reference=counts[0] / counts[0].sum(),
        batch=counts[1] / counts[1].sum(),
        unseen=tuple(sorted(seen[1] - seen[0])),
    )


def _test(
    reference: Counted,
    batch: Counted,
    names: list[str],
    *,
    permutations: int,
    most: int,
    rng: np.random.Generator,
) -> float | None:
    """Exchange whole groups; null where a side has too few."""
    sides = (reference, batch)
    groups = [side.groups.loc[side.levels.index.unique()] for side in sides]
    if min(owners.nunique() for owners in groups) < LEAST_GROUPS:
        return None
    kept = thin_groups(groups[0].to_numpy(), groups[1].to_numpy(), most=most, rng=rng)
    tables = []
    for side, owners, rows in zip(sides, groups, kept, strict=True):
        chosen = side.levels[side.levels.index.isin(owners.index[rows])]
        table = pd.crosstab(side.groups.loc[chosen.index].to_numpy(), chosen.to_numpy())
        tables.append(table.reindex(columns=names, fill_value=0).to_numpy())
    labels = relabel_groups(len(tables[0]), len(tables[1]), permutations=permutations, rng=rng)
    counts = np.concatenate(tables).T  # (level, group)
    of_batch = counts @ labels.astype(np.int64)  # (level, relabelling)
    whole = counts.sum(axis=1, keepdims=True)
    return take_p_value(measure_psi(whole - of_batch, of_batch))
