"""Cells of the sample table in words, for pages and messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np

from mm_assets.contracts.errors import BadSampleError, StageError


def write_values(value: object) -> str:
    """Write a value of any type in one line: numbers shortly, a mapping as ``key: value``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {write_values(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple, np.ndarray)):
        return "[" + ", ".join(write_values(one) for one in value) + "]"
    if isinstance(value, (float, np.floating)):
        return "missing" if np.isnan(value) else f"{value:.4g}"
    return "missing" if value is None else str(value)


@contextlib.contextmanager
def name_broken_cell(who: str, sample: str, cell: object) -> Iterator[None]:
    """Name sample and file of a cell that was valid and breaks while the block reads it.

    Args:
        who: Reads it, such as ``embed@text:``.
        sample: Its id.
        cell: What the table holds.

    Raises:
        StageError: The cell cannot be used now.
    """
    try:
        yield
    except BadSampleError as error:
        raise StageError(
            f"{who} sample {sample!r} ({str(cell)[:80]}) was valid and cannot be used now: {error}; "
            "the data changed, so run `dvc repro` to validate it again"
        ) from None
