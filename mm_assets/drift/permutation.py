"""Permutation tests of rows that come in groups: whole groups are exchanged, never single rows.

Rows of one customer or video resemble each other. Were they exchanged one by one, every batch of few
customers would look drifted; so a group with all its rows is the unit that is drawn.

SciPy's `permutation_test` exchanges single observations, and no other library at hand exchanges groups
of unlike sizes; what is here is the drawing alone, the statistics are one matrix product each.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from mm_assets.contracts.errors import DataContractError

LEAST_GROUPS = 2  # on either side: one group alone tells nothing of how groups differ
FINE = 5
TIE = 1e-12  # sums of equal numbers in another order differ by less

Owners = Shaped[np.ndarray, " row"]


def thin_groups(
    reference: Shaped[np.ndarray, " before"],
    batch: Shaped[np.ndarray, " now"],
    *,
    most: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, " reference"], Int64[np.ndarray, " batch"]]:
    """Draw rows so that groups of both sides are alike in size, and there are not too many.

    Each group keeps at most as many rows as a group drawn from the other side has. The size of a
    group then follows one distribution on both sides (that of the smaller of two sizes, one of each
    side), which the exchange of groups rests on: a batch with two rows a customer varies more, for as
    many rows, than a reference with ten.

    Args:
        reference: Each row's group.
        batch: Likewise.
        most: Rows of a side, at most; but never fewer than two groups.
        rng: Draws sizes, rows and groups.

    Returns:
        Places of the rows that are kept, in order.

    Raises:
        DataContractError: A side has no row.
    """
    if not len(reference) or not len(batch):
        raise DataContractError(
            f"thin_groups needs rows on both sides, got {len(reference)} and {len(batch)}"
        )
    sizes = [np.unique(side, return_counts=True)[1] for side in (reference, batch)]
    return (
        _thin(reference, sizes[1], most=most, rng=rng),
        _thin(batch, sizes[0], most=most, rng=rng),
    )


def _thin(
    owners: Owners, others: Int64[np.ndarray, " group"], *, most: int, rng: np.random.Generator
) -> Int64[np.ndarray, " kept"]:
    _, numbers = np.unique(owners, return_inverse=True)
    groups = int(numbers.max()) + 1
    caps = rng.choice(others, groups)
    order = rng.permutation(len(numbers))
    order = order[np.argsort(numbers[order], kind="stable")]  # by group, rows of one shuffled
    sizes = np.bincount(numbers)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = order[rank < caps[numbers[order]]]
    drawn = rng.permutation(groups)
    total = np.cumsum(np.minimum(sizes, caps)[drawn])
    chosen = drawn[: max(LEAST_GROUPS, int(np.searchsorted(total, most, side="right")))]
    return np.sort(kept[np.isin(numbers[kept], chosen)])


def relabel_groups(
    reference: int, batch: int, *, permutations: int, rng: np.random.Generator
) -> Bool[np.ndarray, "group relabelling"]:
    """Draw which groups are called the batch.

    Args:
        reference: Number of its groups; they come first.
        batch: Number of its groups.
        permutations: How often to draw.
        rng: Draws.

    Returns:
        True where a group is called the batch; column 0 is as it is.
    """
    as_it_is = np.arange(reference + batch) >= reference
    drawn = rng.permuted(np.tile(as_it_is, (permutations, 1)), axis=1).T
    return np.column_stack([as_it_is, drawn])


def take_p_value(statistics: Float[np.ndarray, " relabelling"]) -> float:
    """Give the share of relabellings that are at least as extreme, the observed one among them.

    Args:
        statistics: The larger, the more unlike; the first is the observed one.

    Source:
        Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585: ``(1 + count) / (1 + n)``,
        which is never 0 and keeps its level.
    """
    observed, drawn = statistics[0], statistics[1:]
    # Also where another labelling gives the same sums in another order.
    return float((1 + np.count_nonzero(drawn >= observed - TIE)) / (1 + len(drawn)))


def count_permutations(tests: int, p_value: float) -> int:
    """Say how many relabellings are drawn: the strictest level of Holm's procedure is `FINE` of them."""
    return int(np.ceil(FINE * max(tests, 1) / p_value))
