"""Vectors, or sequences of them, that were computed elsewhere, such as openSMILE functionals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.cells import write_values
from mm_assets.data.noise import to_snr_db
from mm_assets.modalities import base

FEW_NUMBERS = 8  # so many are written out; more are drawn
LARGEST = np.finfo(np.float32).max
# What JSON and NumPy raise on a cell that is no list of numbers.
_NO_VECTOR = (ValueError, TypeError, OverflowError, RecursionError)


class FeaturesOptions(base.Options):
    """What a legal cell is."""

    limits: ClassVar[frozenset[str]] = frozenset({"max_steps"})

    dim: Annotated[int, Field(ge=1)]  # numbers in every vector
    sequence: bool = False  # whether a cell holds a list of vectors, one after the other in time
    max_steps: Annotated[int, Field(ge=1)] = 10_000  # vectors in a sequence


class FeaturesAugment(base.Options):
    """Noise on a copy, relative to each number."""

    noise: Annotated[float, Field(ge=0, le=1)] = 0.02


class Features(base.Modality[np.ndarray]):
    """A list of numbers, or in a CSV its JSON text such as ``[0.5, 2]``; float32 (dim,).

    With `options.sequence` a list of such lists; float32 (steps, dim).
    """

    kind: ClassVar[str] = "features"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("numpy",)
    is_file: ClassVar[bool] = False
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {"vectors": (1,)}
    options_model: ClassVar[type[base.Options]] = FeaturesOptions
    options: FeaturesOptions
    augment_model: ClassVar[type[base.Options]] = FeaturesAugment
    augmentation: FeaturesAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Give the numbers as little-endian float64, however they were written.

        Raises:
            BadSampleError: ``vector_unreadable``.
        """
        return self._read(cell).tobytes()

    def _read(self, cell: object) -> np.ndarray:
        """Give float64 (dim,) or (steps, dim), of whatever length.

        Raises:
            BadSampleError: As `read`.
        """
        try:
            raw = json.loads(cell) if isinstance(cell, str) else cell
            if isinstance(raw, np.ndarray) and raw.dtype == object:  # of Parquet: rows are arrays
                raw = [list(row) if isinstance(row, np.ndarray) else row for row in raw]
            vector = np.asarray(raw, dtype="<f8")
        except _NO_VECTOR:
            raise BadSampleError(
                "vector_unreadable",
                f"the cell must hold a list of numbers such as [0.5, 2], got {base.show_cell(cell)}",
            ) from None
        if self.options.sequence and vector.ndim != 2:
            raise BadSampleError(
                "vector_unreadable",
                "the cell must hold a list of equally long lists, as `options.sequence` says, got "
                f"{vector.ndim} dimensions",
            )
        if not self.options.sequence and vector.ndim != 1:
            raise BadSampleError(
                "vector_unreadable",
                f"the cell must hold a flat list, got {vector.ndim} dimensions; for lists of vectors "
                "set `options.sequence: true`",
            )
        return vector

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `length` (of a sequence `steps`), `minimum` and `maximum`; see `Modality.probe`."""
        data = self.read(cell, folder)
        vector = self.decode(cell, folder)
        return {
            "content": base.digest_content(data),
            "steps" if self.options.sequence else "length": len(vector),
            "minimum": float(vector.min()),
            "maximum": float(vector.max()),
        }

    def probe_many(self, cells: Sequence[object], folder: Path) -> base.Probes:
        """Measure legal vectors as one matrix and judge the other cells one by one."""
        if self.options.sequence:
            return super().probe_many(cells, folder)
        places, matrix = self._read_legal(cells)
        legal = set(places)
        rest = [place for place in range(len(cells)) if place not in legal]
        looked = super().probe_many([cells[place] for place in rest], folder)
        data, size = matrix.tobytes(), matrix.itemsize * self.options.dim
        small = matrix.astype(np.float32)
        measured: dict[str, list[Any]] = {
            "content": [
                base.digest_content(data[at : at + size]) for at in range(0, len(data), size)
            ],
            "length": [self.options.dim] * len(places),
            "minimum": small.min(axis=1).tolist(),
            "maximum": small.max(axis=1).tolist(),
        }
        places += [place for at, place in enumerate(rest) if at not in looked.errors]
        order = np.argsort(places).tolist()
        for name, column in measured.items():
            column += looked.measured.get(name, ())
            measured[name] = [column[at] for at in order]
        return base.Probes(measured, {rest[at]: error for at, error in looked.errors.items()})

    def _read_legal(self, cells: Sequence[object]) -> tuple[list[int], np.ndarray]:
        """Read those cells that are beyond doubt: their places, and float64 (place, dim)."""
        lists = [_load(cell) for cell in cells]
        places = [
            place
            for place, one in enumerate(lists)
            if isinstance(one, (list, tuple, np.ndarray)) and len(one) == self.options.dim
        ]
        try:
            matrix = np.array([lists[place] for place in places], dtype="<f8")
        except _NO_VECTOR:  # a cell among them holds more than numbers
            matrix = np.empty(0)
        if matrix.ndim != 2:
            return [], np.empty((0, self.options.dim))
        legal = (np.abs(matrix) <= LARGEST).all(axis=1)
        return [place for place, fine in zip(places, legal, strict=True) if fine], matrix[legal]

    def decode(self, cell: object, folder: Path) -> np.ndarray:
        """Read the numbers as float32 (dim,), or (steps, dim).

        Raises:
            BadSampleError: ``vector_unreadable``, ``vector_length``, ``vector_not_finite``,
                ``sequence_empty`` or ``sequence_too_long``.
        """
        vector = self._read(cell)
        if self.options.sequence and not 1 <= len(vector) <= self.options.max_steps:
            raise BadSampleError(
                "sequence_too_long" if len(vector) else "sequence_empty",
                f"the sequence has {len(vector)} vectors, at least 1 and at most `options.max_steps` = "
                f"{self.options.max_steps} are needed; leave the cell empty where there is nothing",
            )
        length = vector.shape[-1]
        if length != self.options.dim:
            raise BadSampleError(
                "vector_length",
                f"the vector needs `options.dim` = {self.options.dim} numbers, got {length}; mend "
                f"it, or set `options.dim: {length}` if most vectors have as many",
            )
        legal = np.abs(vector) <= LARGEST  # false for NaN too
        if not legal.all():
            at = int(np.argmin(legal))
            raise BadSampleError(
                "vector_not_finite",
                f"number {at + 1} of {vector.size} is {vector.flat[at]}; all must be finite as 32-bit "
                "floats",
            )
        return vector.astype(np.float32)

    def describe(self, value: np.ndarray) -> base.Sketch:
        """Write few numbers out, and draw many; of a sequence, each number over time."""
        if self.options.sequence:
            caption = f"{len(value)} vectors of {self.options.dim} numbers"
            return base.Sketch(caption=caption, curves=value.T)
        if len(value) <= FEW_NUMBERS:
            return base.Sketch(text=write_values(value))
        return base.Sketch(caption=f"{len(value)} numbers", curves=value[None])

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Keep the noise's strength and draw a seed; see `Modality.plan`."""
        return {**self.augmentation.model_dump(), "seed": int(rng.integers(2**32))}

    def render(self, value: np.ndarray, plan: Mapping[str, Any]) -> np.ndarray:
        """Multiply each number by ``1 + noise * normal``."""
        rng = np.random.default_rng(plan["seed"])
        factor = 1 + plan["noise"] * rng.standard_normal(value.shape, dtype=np.float32)
        return np.asarray(value * factor, dtype=np.float32)

    def corrupt(self, value: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        """Add normal noise to each number, and lose some; see `Modality.corrupt`.

        The noise's deviation is ``10 ** (-snr_db / 20)`` of the number's own size, at ``snr_db = 40
        - 50 * level``: from 1 % to three times as much. Of a sequence it is the size, as root mean
        square, that this number has over all steps. Nothing else is known here of the scale of
        each, which may be a frequency in hertz beside a share. Each number is also lost, that is
        0, with probability ``level / 2``.

        Raises:
            DataContractError: The level is not in [0, 1].
        """
        self._require_level(level)
        if not level:
            return value
        steps = np.atleast_2d(value).astype(np.float64)
        size = np.sqrt(np.mean(steps**2, axis=0))
        noise = size * 10 ** (-to_snr_db(level) / 20) * rng.standard_normal(steps.shape)
        noisy = np.clip(steps + noise, -LARGEST, LARGEST)
        noisy[rng.random(steps.shape) < level / 2] = 0
        return np.asarray(noisy.reshape(value.shape), dtype=np.float32)

    def collate(self, values: Sequence[np.ndarray], inputs: Mapping[str, Any]) -> base.Arrays:
        """Stack the vectors; a sequence as its mean, unless the encoder asks for `max_steps`.

        Returns:
            ``vector``, float32 (batch, dim); or ``vectors``, float32 (batch, steps, dim), padded with
            zeros, and ``length``, int64 (batch,).
        """
        if "max_steps" not in inputs:
            flat = (value.mean(axis=0) if value.ndim == 2 else value for value in values)
            return {"vector": np.stack(list(flat)).astype(np.float32)}
        cut = [np.atleast_2d(value)[: inputs["max_steps"]] for value in values]
        length = np.array([len(value) for value in cut], dtype=np.int64)
        # An exported graph would take a length of 1 for a constant.
        vectors = np.zeros((len(cut), max(2, length.max()), self.options.dim), dtype=np.float32)
        for row, value in zip(vectors, cut, strict=True):
            row[: len(value)] = value
        return {"vectors": vectors, "length": length}

    def placeholder(self, inputs: Mapping[str, Any]) -> np.ndarray:
        """Give zeros, of a sequence one step."""
        shape = (1, self.options.dim) if self.options.sequence else (self.options.dim,)
        return np.zeros(shape, dtype=np.float32)


def _load(cell: object) -> object:
    """Give what the cell holds; null where it is text, but no JSON, or an array without axes."""
    if isinstance(cell, np.ndarray) and not cell.ndim:
        return None
    try:
        return json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        return None


MODALITY = Features
