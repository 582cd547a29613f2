"""Looking at every medium once, in parallel and with progress."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.progress import show_progress
from mm_assets.validation.rows import report

if TYPE_CHECKING:
    from mm_assets.modalities.base import Modality

CHUNK = 64  # cells per task: a task of its own for each would cost more than a text's probe
Probe = dict[str, float | int | str]


def probe_modality(
    samples: pd.DataFrame, key: str, modality: Modality[Any], folder: Path, *, threads: int | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Probe one modality of every row that has it.

    Args:
        samples: With columns ``id`` and `key`; a null cell is a missing modality.
        key: The modality's key in `params.yaml`.
        modality: Its kind.
        folder: The data folder.
        threads: Decoding libraries release Python's lock; null for one per core.

    Returns:
        Measurements (one row per usable cell, index of `samples`, columns as `Modality.probe`
        names them), and findings for the cells that cannot be used. Both in the order of `samples`.
    """
    cells = samples[key].dropna()
    chunks = [list(cells.iloc[at : at + CHUNK]) for at in range(0, len(cells), CHUNK)]

    def look(chunk: Sequence[object]) -> list[Probe | BadSampleError]:
        return [_probe_cell(cell, modality, folder) for cell in chunk]

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        looked = chain.from_iterable(pool.map(look, chunks))
        outcomes = pd.Series(
            list(show_progress(looked, title=f"probe {key}", total=len(cells))),
            index=cells.index,
            dtype="object",
        )
    failed = outcomes.map(lambda outcome: isinstance(outcome, BadSampleError)).astype(bool)
    good, bad = outcomes[~failed], outcomes[failed]
    findings = report(
        samples,
        samples.index.isin(bad.index),
        bad.map(lambda error: error.reason),
        bad.map(lambda error: error.detail),
        modality=key,
    )
    measured = pd.DataFrame(good.tolist(), index=good.index)
    return measured if len(good) else measured.assign(content=""), findings


def _probe_cell(cell: object, modality: Modality[Any], folder: Path) -> Probe | BadSampleError:
    try:
        return modality.probe(cell, folder)
    except BadSampleError as error:
        return error
