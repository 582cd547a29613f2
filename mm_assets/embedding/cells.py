"""The cells of one modality: their names in the store, and how they become an encoder's arrays."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.cells import name_broken_cell
from mm_assets.data.decoding_pool import DecodingPool
from mm_assets.data.parallel import map_ahead
from mm_assets.data.store import vector_key
from mm_assets.data.table import ID, RENDER, SPLIT
from mm_assets.embedding.preparation import Item, Noise, collate_each, decode_items
from mm_assets.modalities.base import digest_content

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from mm_assets.contracts.config import ComputeConfig
    from mm_assets.encoders.base import Encoder
    from mm_assets.modalities.base import Arrays, Modality

BATCH = 32
FILE_BATCH = 16  # of files, which become large arrays; oneDNN convolves 16 twice as fast as 8
BATCH_BYTES = 8_000_000  # of content in a batch, at most, where it has several cells
LISTED = 256  # cells that are read in a row before other threads have their turn
AHEAD = 2  # batches that wait, ready, for each worker

Rows = Int[np.ndarray, " _"]


class Cells:
    """The rows that have a modality, and how their cells become an encoder's arrays.

    Attributes:
        name: The modality's key.
        rows: ``id``, ``copy``, ``split``, ``group``, ``render`` and the modality's cell.
        modality: Decodes and collates.
        encoder: Whose arrays they become.
        folder: The data folder.
        compute: What decoding may cost, and how many workers there are.
        noise: How each row is disturbed, if at all; no part of its key.
        keys: Each row's name in the store, (row,), 32 bytes: by content, read anew, and rendering.
        sizes: By which alike cells share a batch: characters of a text, else bytes of content.
    """

    def __init__(
        self,
        name: str,
        rows: pd.DataFrame,
        *,
        modality: Modality[Any],
        encoder: Encoder,
        folder: Path,
        compute: ComputeConfig,
        noise: Sequence[Noise] | None = None,
    ) -> None:
        """Read every cell once.

        Raises:
            StageError: A cell cannot be read any more.
        """
        self.name = name
        self.rows = rows
        self.modality = modality
        self.encoder = encoder
        self.folder = folder
        self.compute = compute
        self.noise = noise
        self._ids, self._cells, self._renders = (
            rows[column].tolist() for column in (ID, name, RENDER)
        )
        self.keys = np.empty(len(rows), dtype="S32")
        self.sizes = np.empty(len(rows), np.int64)
        with ThreadPoolExecutor(self.workers) as pool:
            parts = (range(at, min(at + LISTED, len(rows))) for at in range(0, len(rows), LISTED))
            for part in map_ahead(pool, self._identify, parts, ahead=AHEAD * self.workers):
                for row, key, size in part:
                    self.keys[row], self.sizes[row] = key, size

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def workers(self) -> int:
        """How many batches are decoded, or computed, at once."""
        return self.compute.count_threads()

    @property
    def training(self) -> Bool[np.ndarray, " row"]:
        """Which rows are training rows, copies among them."""
        found: np.ndarray = self.rows[SPLIT].eq("train").to_numpy()
        return found

    def _identify(self, rows: range) -> list[tuple[int, bytes, int]]:
        """Read cells and name them.

        Raises:
            StageError: A cell cannot be read any more.
        """
        found = []
        for item in map(self.item, rows):
            with self._naming(item):
                content = self.modality.read(item.cell, self.folder)
            is_text = isinstance(item.cell, str) and not self.modality.is_file
            size = len(str(item.cell)) if is_text else len(content)
            found.append((item.row, vector_key(digest_content(content), item.plan), size))
        return found

    def item(self, row: int) -> Item:
        """Give what is to be decoded for a row."""
        render = self._renders[row]
        plan = json.loads(render).get(self.name) if isinstance(render, str) else None
        text = None if plan is None else json.dumps(plan, sort_keys=True)
        return Item(row, self._cells[row], text, self.noise[row] if self.noise else None)

    def cut(self, rows: Rows) -> Iterator[Rows]:
        """Cut rows into batches."""
        most = FILE_BATCH if self.modality.is_file else BATCH
        begin = held = 0
        for at, size in enumerate(self.sizes[rows].tolist()):
            held += size
            if at - begin == most or (at > begin and held > BATCH_BYTES):
                yield rows[begin:at]
                begin, held = at, size
        if len(rows):
            yield rows[begin:]

    def collate(self, rows: Rows) -> Arrays:
        """Decode and collate a batch here.

        Raises:
            StageError: A cell cannot be used any more.
        """
        values = []
        for item in map(self.item, rows.tolist()):
            with self._naming(item):
                values += decode_items([item], self.modality, self.folder)
        return self.modality.collate(values, self.encoder.inputs())

    def read_each(self, batches: Iterable[Rows]) -> Generator[tuple[Rows, list[Arrays]]]:
        """Decode and collate cells one by one: files in processes of their own.

        Yields:
            The rows of a batch (or of a part of it, in order), and each row's arrays.

        Raises:
            StageError: A cell cannot be used any more.
        """
        if not self.modality.is_file:
            for batch in batches:
                found = []
                for item in map(self.item, batch.tolist()):
                    with self._naming(item):
                        found += self._collate_each([item])
                yield batch, found
            return
        with DecodingPool(
            self.workers,
            timeout_s=self.compute.decode_s,
            memory_mb=self.compute.decode_megabytes,
        ) as pool:
            items = ([self.item(row) for row in batch.tolist()] for batch in batches)
            for done, result in pool.map(self._collate_each, items, ahead=AHEAD * self.workers):
                if isinstance(result, BadSampleError):
                    with self._naming(done[0]):
                        raise result
                yield np.array([item.row for item in done]), result

    @cached_property
    def _collate_each(self) -> Callable[[Sequence[Item]], list[Arrays]]:
        """Decode and collate cells one by one; can be sent to a process."""
        return functools.partial(
            collate_each,
            modality=self.modality,
            folder=self.folder,
            inputs=self.encoder.inputs(),
        )

    def _naming(self, item: Item) -> contextlib.AbstractContextManager[None]:
        """Name sample and cell where it breaks in the block; see `name_broken_cell`."""
        return name_broken_cell(f"embed@{self.name}:", str(self._ids[item.row]), item.cell)
