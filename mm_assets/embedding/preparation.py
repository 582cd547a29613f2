"""From cells to an encoder's arrays; here or in a process that imports little else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from mm_assets.modalities.base import Arrays, Modality

Value = TypeVar("Value")


class Noise(NamedTuple):
    """How a decoded value is disturbed; see `Modality.corrupt`.

    Attributes:
        level: From 0 to 1.
        seed: Of all its chance.
    """

    level: float
    seed: int


class Item(NamedTuple):
    """One cell to decode.

    Attributes:
        row: Its number, for whoever asked.
        cell: What the table holds.
        plan: How a copy is rendered, as JSON text; null for the sample itself.
        noise: How it is disturbed after that, if at all.
    """

    row: int
    cell: object
    plan: str | None
    noise: Noise | None = None


def decode_items(items: Sequence[Item], modality: Modality[Any], folder: Path) -> list[Any]:
    """Decode, render and disturb.

    Raises:
        BadSampleError: A cell cannot be used.
    """
    return list(_decode(items, modality, folder))


def collate_each(
    items: Sequence[Item], *, modality: Modality[Any], folder: Path, inputs: Mapping[str, Any]
) -> list[Arrays]:
    """Decode, render and collate cells one by one, so that one decoded value is held at a time.

    Raises:
        BadSampleError: A cell cannot be used.
    """
    return [modality.collate([value], inputs) for value in _decode(items, modality, folder)]


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


def _decode(items: Sequence[Item], modality: Modality[Value], folder: Path) -> Generator[Value]:
    """Decode one after the other; what differs from the item before in its noise alone, once."""
    for _, alike in itertools.groupby(items, key=lambda item: (str(item.cell), item.plan)):
        first, *others = alike
        value = modality.decode(first.cell, folder)
        if first.plan is not None:
            value = modality.render(value, json.loads(first.plan))
        for item in (first, *others):
            if item.noise is None:
                yield value
            else:
                rng = np.random.default_rng(item.noise.seed)
                yield modality.corrupt(value, item.noise.level, rng)
