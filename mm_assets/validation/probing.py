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
    from mm_assets.contracts.errors import BadSampleError
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

    def look(part: pd.Series) -> tuple[pd.DataFrame, dict[int, BadSampleError]]:
        found = modality.probe_many(part.tolist(), folder)
        kept = part.index.delete(list(found.errors))
        return (
            pd.DataFrame(dict(found.measured), index=kept),
            {part.index[place]: error for place, error in found.errors.items()},
        )

    frames: list[pd.DataFrame] = []
    errors: dict[int, BadSampleError] = {}
    with ThreadPoolExecutor(threads) as pool:
        looked = map_ahead(pool, look, parts, ahead=AHEAD * threads)
        for frame, bad in show_progress(
            looked,
            title=f"probe {key}",
            total=len(cells),
            size=lambda one: len(one[0]) + len(one[1]),
        ):
            frames += [frame] if len(frame) else []
            errors |= bad
    bad_rows = pd.Index(list(errors), dtype=cells.index.dtype)
    findings = report(
        samples,
        samples.index.isin(bad_rows),
        pd.Series([error.reason for error in errors.values()], index=bad_rows, dtype="str"),
        pd.Series([error.detail for error in errors.values()], index=bad_rows, dtype="str"),
        modality=key,
    )
    nothing = pd.DataFrame({"content": pd.Series(dtype="str")}, index=cells.index[:0])
    return pd.concat(frames) if frames else nothing, findings


def _cut(cells: pd.Series, size: int) -> Iterator[pd.Series]:
    return (cells.iloc[at : at + size] for at in range(0, len(cells), size))
