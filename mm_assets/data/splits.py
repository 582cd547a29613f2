"""Sticky splits: where a row falls depends on the seed and its group alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mm_assets.contracts.config import Split, SplitConfig


def place_on_unit_interval(name: str, *, seed: int) -> float:
    """Map a group's name to a fixed number in [0, 1), uniform over names (SHA-256)."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_splits(groups: pd.Series, *, shares: SplitConfig, seed: int) -> pd.Series:
    """Give each row the split of its group.

    Test takes the lowest part of the interval and validation the next, so that a row that was
    once in training is never a test row of a later model, however the data grows, and test rows
    stay what they are when only the shares of the other two change. (Nothing is remembered: where
    a training row is taken out of the table, a copy of it in another group takes its place.)

    Args:
        groups: One group (or, where there is none, id) per row, as text.
        shares: Of train, validation and test.
        seed: `seed` of `params.yaml`.

    Returns:
        ``train``, ``validation`` or ``test`` per row, same index.
    """

    def choose(group: str) -> Split:
        place = place_on_unit_interval(group, seed=seed)
        if place < shares.test:
            return "test"
        return "validation" if place < shares.test + shares.validation else "train"

    chosen = {group: choose(str(group)) for group in groups.unique()}
    return groups.map(chosen)
