"""Vectors of disturbed cells: what an encoder makes of noise; nothing of it is kept."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mm_assets.data.progress import show_progress
from mm_assets.data.table import COPY, ID
from mm_assets.data.vectors import Embeddings
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.encoding import run_network
from mm_assets.embedding.preparation import Noise

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from torch import nn

    from mm_assets.contracts.config import ComputeConfig
    from mm_assets.encoders.base import Encoder
    from mm_assets.modalities.base import Modality


def encode_disturbed(
    name: str,
    rows: pd.DataFrame,
    make_network: Callable[[], nn.Module],
    *,
    levels: Sequence[float],
    seed: int,
    modality: Modality[object],
    encoder: Encoder,
    folder: Path,
    compute: ComputeConfig,
) -> dict[float, Embeddings]:
    """Disturb the decoded cells of one modality at several levels, and encode them.

    A row's noise follows from seed, modality, id and level alone, so that two models meet the same.

    Args:
        name: The modality's key.
        rows: Of `read_augmented`; those without the modality have no vector.
        make_network: Gives the encoder's network, in evaluation mode, to keep: it is changed for
            speed; see `build_network`.
        levels: Of `Modality.corrupt`, each once.
        seed: Of the noise.
        modality: Decodes, disturbs and collates.
        encoder: Whose arrays the network takes.
        folder: The data folder.
        compute: What decoding may cost, and how many workers there are.

    Returns:
        By level; a row's vector at level 0 is that of its cell as it is.

    Raises:
        StageError: A cell that was valid cannot be decoded now.
        ConfigError: The device cannot compute in the encoder's precision.
        DataContractError: A level is not in [0, 1].
    """
    present = rows[rows[name].notna()].reset_index(drop=True)
    # The levels of a row lie side by side: its cell is then decoded once.
    repeated = present.loc[present.index.repeat(len(levels))].reset_index(drop=True)
    noise = [
        Noise(level, seed_noise(seed, name, sample, level))
        for sample in present[ID]
        for level in levels
    ]
    cells = Cells(
        name,
        repeated,
        modality=modality,
        encoder=encoder,
        folder=folder,
        compute=compute,
        noise=noise,
    )
    found: dict[int, np.ndarray] = {}
    everything = np.argsort(cells.sizes, kind="stable")  # alike in a batch, the least padding
    with contextlib.closing(run_network(cells, make_network, everything)) as encoded:
        for numbers, steps, vectors in show_progress(
            encoded,
            title=f"disturb {name}",
            total=len(cells),
            size=lambda part: len(part[0]),
        ):
            parts = np.split(vectors, np.cumsum(steps)[:-1])
            found |= dict(zip(numbers.tolist(), parts, strict=True))
    made = {"name": encoder.name, "sequence": encoder.sequence}
    by_level = {}
    for place, level in enumerate(levels):
        mine = [found[number] for number in range(place, len(cells), len(levels))]
        by_level[level] = Embeddings(
            ids=present[ID].to_numpy(),
            copies=present[COPY].to_numpy(),
            matrix=np.concatenate(mine),
            encoder=made,
            state={},
            steps=np.array([len(vectors) for vectors in mine]),
        )
    return by_level


def seed_noise(seed: int, name: str, sample: str, level: float) -> int:
    """Give the seed of a sample's noise at a level, 64 bits."""
    digest = hashlib.sha256(f"{seed}\n{name}\n{level!r}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
