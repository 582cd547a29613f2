"""Folds of training rows, for vectors whose encoder never saw the row's label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from mm_assets.contracts.errors import TrainingError

Value = TypeVar("Value", str, bytes)


def assign_folds(
    groups: Sequence[str], contents: Sequence[bytes], *, folds: int
) -> Int[np.ndarray, " row"]:
    """Number each row's fold, so that neither a group nor an equal content is in two of them.

    Rows that are tied together, by their group or their content and through other rows, are one
    cluster; clusters go, the largest first, into the fold that has the fewest rows. The order of
    the rows does not matter.

    Args:
        groups: Of each row: who or what it must not be parted from.
        contents: Of each row: the digest of what the encoder sees.
        folds: How many are wanted; where there are fewer clusters, each is a fold.

    Raises:
        TrainingError: All rows are tied together.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    by_group, by_content = _number(groups), _number(contents) + len(set(groups))
    nodes = len(set(groups)) + len(set(contents))
    links = csr_matrix((np.ones(len(by_group)), (by_group, by_content)), shape=(nodes, nodes))
    # Clusters are numbered by their first group, whatever the order of the rows.
    clusters, cluster_of = connected_components(links, directed=False)
    if clusters < 2:
        raise TrainingError(
            "a supervised encoder needs training rows of at least 2 groups, to make vectors with "
            f"networks that never saw the row's label, got {clusters} (rows of equal content count "
            "as one group); set `data.group` in params.yaml to a finer column, or an `objective` "
            "that looks at no labels"
        )
    sizes = np.bincount(cluster_of[by_group], minlength=clusters)
    rows = np.zeros(min(folds, clusters), dtype=np.int64)
    fold_of = np.empty(clusters, dtype=np.int64)
    for cluster in np.argsort(-sizes, kind="stable"):
        fold_of[cluster] = rows.argmin()
        rows[fold_of[cluster]] += sizes[cluster]
    found: np.ndarray = fold_of[cluster_of[by_group]]
    return found


def _number(values: Sequence[Value]) -> Int[np.ndarray, " row"]:
    """Number values from 0 in their own order."""
    numbers = {value: number for number, value in enumerate(sorted(set(values)))}
    return np.array([numbers[value] for value in values], dtype=np.int64)
