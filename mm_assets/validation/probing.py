"""Looking at every medium once, in parallel and with progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.decoding_pool import DecodingPool
from mm_assets.data.parallel import map_ahead
from mm_assets.data.progress import show_progress
from mm_assets.modalities.base import Modality, Probes
from mm_assets.validation.rows import report

FILES = 16  # opened by one task: few are opened again where one crashes, and sending costs little
CELLS = 4096  # without a file in one task: enough for arrays to pay, few beside a million
AHEAD = 4  # tasks that wait for each process or thread
FOUND = ["reason", "detail"]

Cells = list[Any]
Look = Callable[[Cells], Probes]


def probe_modality(
    samples: pd.DataFrame,
    key: str,
    modality: Modality[Any],
    folder: Path,
    *,
    workers: int,
    decode_s: float,
    decode_megabytes: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Probe one modality of every row that has it, a bounded number of cells at a time.

    Files are opened in processes of their own, which may crash; other cells in threads.

    Args:
        samples: With columns ``id`` and `key`; a null cell is a missing modality.
        key: The modality's key in `params.yaml`.
        modality: Its kind.
        folder: The data folder.
        workers: How many processes, or threads.
        decode_s: What one file may take; see `DecodingPool`.
        decode_megabytes: What decoding one may take, in 2^20 bytes; see `DecodingPool`.

    Returns:
        Measurements (one row per usable cell, index of `samples`, columns as `Modality.probe`
        names them), and findings for the cells that cannot be used. Both in the order of `samples`.
    """
    cells = samples[key].dropna()
    values = cells.tolist()
    look = partial(modality.probe_many, folder=folder)
    looked = (
        _look_isolated(look, _cut(values, FILES), workers, decode_s, decode_megabytes)
        if modality.is_file
        else _look_in_threads(look, _cut(values, CELLS), workers)
    )
    measured: list[pd.DataFrame] = []
    refused: list[pd.DataFrame] = []
    done = 0
    # Closed at once if this is interrupted: a traceback would keep the processes alive.
    with closing(looked):
        for part, found in show_progress(
            looked, title=f"probe {key}", total=len(cells), size=lambda one: len(one[0])
        ):
            index = cells.index[done : done + len(part)]
            done += len(part)
            good = pd.DataFrame(dict(found.measured), index=index.delete(list(found.errors)))
            bad = [(error.reason, error.detail) for error in found.errors.values()]
            measured += [good] if len(good) else []
            refused += [pd.DataFrame(bad, index[list(found.errors)], FOUND, "str")] if bad else []
    findings = _join(refused, cells, FOUND)
    return _join(measured, cells, ["content"]), report(
        samples,
        samples.index.isin(findings.index),
        findings["reason"],
        findings["detail"],
        modality=key,
    )


def _look_isolated(
    look: Look, parts: Iterator[Cells], workers: int, decode_s: float, decode_megabytes: int
) -> Generator[tuple[Cells, Probes], None, None]:
    with DecodingPool(workers, timeout_s=decode_s, memory_mb=decode_megabytes) as pool:
        for part, found in pool.map(look, parts, ahead=AHEAD * workers):
            yield part, Probes({}, {0: found}) if isinstance(found, BadSampleError) else found


def _look_in_threads(
    look: Look, parts: Iterator[Cells], workers: int
) -> Generator[tuple[Cells, Probes], None, None]:
    with ThreadPoolExecutor(workers) as pool:
        yield from map_ahead(pool, lambda part: (part, look(part)), parts, ahead=AHEAD * workers)


def _join(parts: list[pd.DataFrame], cells: pd.Series, columns: list[str]) -> pd.DataFrame:
    """Put parts below each other; without any, there still are the columns that all have."""
    nothing = pd.DataFrame(index=cells.index[:0], columns=columns, dtype="str")
    return pd.concat(parts) if parts else nothing


def _cut(cells: Cells, size: int) -> Iterator[Cells]:
    return (cells[at : at + size] for at in range(0, len(cells), size))
