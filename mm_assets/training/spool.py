"""Collated rows that wait in a file for the epochs in which they are read again."""

from __future__ import annotations

import math
import os
import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Int

from mm_assets.contracts.errors import DataContractError
from mm_assets.data.disk import name_disk_errors
from mm_assets.modalities.base import Arrays

Rows = Sequence[int] | Int[np.ndarray, " chosen"]


class Spool:
    """Rows of arrays on disk; memory holds where each row lies and nothing else.

    A context manager. Its file has no name, so that it is gone with the process, however that
    ends.
    """

    def __init__(self, folder: Path) -> None:
        """Start without rows.

        Args:
            folder: On the disk that holds them; made if it is absent.
        """
        self._folder = folder
        self._columns: dict[str, _Column] = {}
        self._rows = 0

    def __enter__(self) -> Spool:
        with name_disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._rows

    def add(self, arrays: Arrays) -> None:
        """Append one row.

        Args:
            arrays: Of `Modality.collate` for one value; the same names, dtypes and numbers of axes
                each time.

        Raises:
            DataContractError: It is not one row, or not of the kind of the rows before.
            DiskError: The disk is full.
        """
        kinds = {name: (1, values.dtype, values.ndim) for name, values in arrays.items()}
        wanted = {name: (1, one.dtype, one.axes) for name, one in self._columns.items()} or kinds
        came = {name: (len(a), a.dtype, a.ndim) for name, a in arrays.items()}
        if came != wanted:
            raise DataContractError(
                f"a spool needs one row of (rows, dtype, axes) {_show(wanted)} each time, got "
                f"{_show(came)}; collate the rows one by one with the same `inputs`"
            )
        for name, values in arrays.items():
            column = self._columns.setdefault(name, _Column(values.dtype, values.ndim))
            with name_disk_errors(self._folder):
                column.starts.append(self._file.tell())
                self._file.write(values.tobytes())
            column.shapes.extend(values.shape[1:])
        self._rows += 1

    def take(self, rows: Rows) -> Arrays:
        """Read a batch.

        Args:
            rows: Numbers of rows, at least one, in the order wanted.

        Returns:
            Arrays as `add` got them, the first axis the batch; where rows differ in length, zeros
            follow.
        """
        self._file.flush()
        return {name: self._read(column, rows) for name, column in self._columns.items()}

    def measure(self, rows: Rows) -> Int[np.ndarray, " chosen"]:
        """Count each row's numbers, without padding."""
        sizes = [column.find_shapes(rows).prod(axis=1) for column in self._columns.values()]
        total: np.ndarray = np.stack(sizes).sum(axis=0)
        return total

    def _read(self, column: _Column, rows: Rows) -> np.ndarray:
        shapes = column.find_shapes(rows)
        batch = np.zeros((len(rows), *shapes.max(axis=0)), dtype=column.dtype)
        for place, (row, shape) in enumerate(zip(rows, shapes.tolist(), strict=True)):
            size = math.prod(shape) * column.dtype.itemsize
            data = os.pread(self._file.fileno(), size, column.starts[row])
            filled: tuple[int | slice, ...] = (place, *map(slice, shape))
            batch[filled] = np.frombuffer(data, dtype=column.dtype).reshape(shape)
        return batch


@dataclass
class _Column:
    """Where one array of each row lies in the file.

    Attributes:
        dtype: Of all rows.
        axes: The batch among them.
        starts: In bytes.
        shapes: `axes` - 1 lengths a row, one row after the other.
    """

    dtype: np.dtype
    axes: int
    starts: array[int] = field(default_factory=lambda: array("q"))
    shapes: array[int] = field(default_factory=lambda: array("q"))

    def find_shapes(self, rows: Rows) -> Int[np.ndarray, "chosen axis"]:
        shapes = np.array(self.shapes, dtype=np.int64).reshape(len(self.starts), -1)
        chosen: np.ndarray = shapes[np.asarray(rows)]
        return chosen


def _show(kinds: dict[str, tuple[int, np.dtype, int]]) -> str:
    return ", ".join(
        f"{name} ({rows}, {dtype}, {axes})" for name, (rows, dtype, axes) in kinds.items()
    )
