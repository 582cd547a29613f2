"""Vectors that were computed elsewhere, such as openSMILE functionals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.modalities import base


class FeaturesOptions(base.Options):
    """What a legal vector is."""

    dim: Annotated[int, Field(ge=1)]  # numbers in every cell


class FeaturesAugment(base.Options):
    """Noise on a copy, relative to each number."""

    noise: Annotated[float, Field(ge=0, le=1)] = 0.02


class Features(base.Modality[np.ndarray]):
    """A list of numbers, or in a CSV its JSON text such as ``[0.5, 2]``; float32 (dim,)."""

    kind: ClassVar[str] = "features"
    version: ClassVar[int] = 1
    is_file: ClassVar[bool] = False
    options_model: ClassVar[type[base.Options]] = FeaturesOptions
    augment_model: ClassVar[type[base.Options]] = FeaturesAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Give the numbers as little-endian float64, however they were written.

        Raises:
            BadSampleError: ``vector_unreadable``.
        """
        try:
            raw = json.loads(cell) if isinstance(cell, str) else cell
            vector = np.asarray(raw, dtype="<f8")
        except (ValueError, TypeError) as error:
            raise BadSampleError(
                "vector_unreadable", f"the cell must hold a list of numbers: {error}"
            ) from None
        if vector.ndim != 1:
            raise BadSampleError(
                "vector_unreadable", f"the cell must hold a flat list, got {vector.ndim} dimensions"
            )
        return vector.tobytes()

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `length`, `minimum` and `maximum`; see `Modality.probe`."""
        data = self.read(cell, folder)
        vector = self.decode(cell, folder)
        return {
            "content": base.digest_content(data),
            "length": len(vector),
            "minimum": float(vector.min()),
            "maximum": float(vector.max()),
        }

    def decode(self, cell: object, folder: Path) -> np.ndarray:
        """Read the numbers as float32 (dim,).

        Raises:
            BadSampleError: ``vector_unreadable``, ``vector_length`` or ``vector_not_finite``.
        """
        vector = np.frombuffer(self.read(cell, folder), dtype="<f8")
        if len(vector) != self.options.dim:
            raise BadSampleError(
                "vector_length",
                f"the vector needs `options.dim` = {self.options.dim} numbers, got {len(vector)}",
            )
        legal = np.abs(vector) <= np.finfo(np.float32).max  # false for NaN too
        if not legal.all():
            at = int(np.argmin(legal))
            raise BadSampleError(
                "vector_not_finite",
                f"number {at} is {vector[at]}; all must be finite as 32-bit floats",
            )
        return vector.astype(np.float32)

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Keep the noise's strength and draw a seed; see `Modality.plan`."""
        return {**self.augmentation.model_dump(), "seed": int(rng.integers(2**32))}

    def render(self, value: np.ndarray, plan: Mapping[str, Any]) -> np.ndarray:
        """Multiply each number by ``1 + noise * normal``."""
        rng = np.random.default_rng(plan["seed"])
        factor = 1 + plan["noise"] * rng.standard_normal(value.shape, dtype=np.float32)
        return np.asarray(value * factor, dtype=np.float32)

    def collate(self, values: Sequence[np.ndarray], inputs: Mapping[str, Any]) -> base.Arrays:
        """Stack the vectors.

        Returns:
            ``vector``, float32 (batch, dim).
        """
        return {"vector": np.stack(values).astype(np.float32)}

    def placeholder(self, inputs: Mapping[str, Any]) -> np.ndarray:
        """Give zeros."""
        return np.zeros(self.options.dim, dtype=np.float32)


MODALITY = Features
