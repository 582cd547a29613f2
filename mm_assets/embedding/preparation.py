"""From cells to an encoder's arrays; here or in a process that imports little else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from mm_assets.modalities.base import Arrays, Modality

Value = TypeVar("Value")


class Item(NamedTuple):
    """One cell to decode.

    Attributes:
        row: Its number, for whoever asked.
        cell: What the table holds.
        plan: How a copy is rendered, as JSON text; null for the sample itself.
    """

    row: int
    cell: object
    plan: str | None


def decode_items(items: Sequence[Item], modality: Modality[Any], folder: Path) -> list[Any]:
    """Decode and render.

    Raises:
        BadSampleError: A cell cannot be used.
    """
    return [_decode(item, modality, folder) for item in items]


def collate_each(
    items: Sequence[Item], *, modality: Modality[Any], folder: Path, inputs: Mapping[str, Any]
) -> list[Arrays]:
    """Decode, render and collate cells one by one, so that one decoded value is held at a time.

    Raises:
        BadSampleError: A cell cannot be used.
    """
    return [modality.collate([_decode(item, modality, folder)], inputs) for item in items]


def join_rows(rows: Sequence[Arrays]) -> Arrays:
    """Put rows that were collated one by one into one batch, zeros after those that are shorter."""
    joined = {}
    for name, first in rows[0].items():
        shapes = np.array([arrays[name].shape[1:] for arrays in rows])
        batch = np.zeros((len(rows), *shapes.max(axis=0, initial=0)), dtype=first.dtype)
        for place, arrays in enumerate(rows):
            filled: tuple[int | slice, ...] = (place, *map(slice, arrays[name].shape[1:]))
            batch[filled] = arrays[name][0]
        joined[name] = batch
    return joined


def _decode(item: Item, modality: Modality[Value], folder: Path) -> Value:
    value = modality.decode(item.cell, folder)
    return value if item.plan is None else modality.render(value, json.loads(item.plan))
