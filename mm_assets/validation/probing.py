"""Looking at every medium once, in parallel and with progress."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mm_assets.data.parallel import map_ahead
from mm_assets.data.progress import show_progress
from mm_assets.validation.rows import report

if TYPE_CHECKING:
    from mm_assets.modalities.base import Modality

FILES = 64  # opened by one task: a task of its own for each would cost more than a small one
CELLS = 4096  # without a file in one task: enough for arrays to pay, few beside a million
AHEAD = 4  # tasks that wait for each thread


def probe_modality(
    samples: pd.DataFrame, key: str, modality: Modality[Any], folder: Path, *, threads: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Probe one modality of every row that has it, a bounded number of cells at a time.

    Args:
        samples: With columns ``id`` and `key`; a null cell is a missing modality.
        key: The modality's key in `params.yaml`.
        modality: Its kind.
        folder: The data folder.
        threads: Decoding libraries release Python's lock.

    Returns:
        Measurements (one row per usable cell, index of `samples`, columns as `Modality.probe`
        names them), and findings for the cells that cannot be used. Both in the order of `samples`.
    """
    cells = samples[key].dropna()
    parts = _cut(cells, FILES if modality.is_file else CELLS)

    def look(part: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
        found = modality.probe_many(part.tolist(), folder)
        # The errors themselves would keep the whole part alive through their tracebacks.
        return (
            pd.DataFrame(dict(found.measured), index=part.index.delete(list(found.errors))),
            pd.DataFrame(
                [(error.reason, error.detail) for error in found.errors.values()],
                index=part.index[list(found.errors)],
                columns=["reason", "detail"],
                dtype="str",
            ),
        )

    measured: list[pd.DataFrame] = []
    refused: list[pd.DataFrame] = []
    with ThreadPoolExecutor(threads) as pool:
        looked = map_ahead(pool, look, parts, ahead=AHEAD * threads)
        for good, bad in show_progress(
            looked,
            title=f"probe {key}",
            total=len(cells),
            size=lambda one: len(one[0]) + len(one[1]),
        ):
            measured += [good] if len(good) else []
            refused += [bad] if len(bad) else []
    findings = _join(refused, cells, ["reason", "detail"])
    return _join(measured, cells, ["content"]), report(
        samples,
        samples.index.isin(findings.index),
        findings["reason"],
        findings["detail"],
        modality=key,
    )


def _join(parts: list[pd.DataFrame], cells: pd.Series, columns: list[str]) -> pd.DataFrame:
    """Put parts below each other; without any, there still are the columns that all have."""
    nothing = pd.DataFrame(index=cells.index[:0], columns=columns, dtype="str")
    return pd.concat(parts) if parts else nothing


def _cut(cells: pd.Series, size: int) -> Iterator[pd.Series]:
    return (cells.iloc[at : at + size] for at in range(0, len(cells), size))
