"""Rows that one state embeds: which of their vectors the store has, and writing them out."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64, Shaped

from mm_assets.contracts.errors import StoreError
from mm_assets.data.disk import require_space
from mm_assets.data.store import Origin, VectorStore, read_origin
from mm_assets.data.table import COPY, ID
from mm_assets.data.vectors import MatrixFile, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from mm_assets.contracts.workspace import Workspace
    from mm_assets.embedding.cells import Cells, Rows
    from mm_assets.embedding.states import Fitted, State

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Share:
    """Rows whose vectors one state makes.

    Attributes:
        fitted: The state, and the rows' numbers.
        store: Of its vectors.
        rejected: Of those that are not finite: reported, and never remembered.
    """

    fitted: Fitted
    store: VectorStore
    rejected: VectorStore

    @property
    def rows(self) -> Rows:
        """The rows' numbers."""
        return self.fitted.rows

    def find(self, keys: Shaped[np.ndarray, " key"]) -> Int64[np.ndarray, " key"]:
        """Give steps by key, 0 where nothing is stored."""
        found = self.store.find(keys)
        return np.where(found > 0, found, self.rejected.find(keys))

    def close(self) -> None:
        """Forget the vectors that are not finite."""
        shutil.rmtree(self.rejected.folder, ignore_errors=True)


def open_shares(cells: Cells, states: Sequence[Fitted], workspace: Workspace) -> list[Share]:
    """Open the store of each state's vectors."""
    encoder, shares = cells.encoder, []
    for fitted in states:
        fingerprint = encoder.fingerprint(
            fitted.state, preprocessing=cells.modality.preprocessing()
        )
        dim = _measure_dim(cells, fitted.state, workspace.store / fingerprint)
        origin = Origin(encoder.name, encoder.version, dim, encoder.sequence, encoder.precision)
        rejected = VectorStore(workspace.rejected, uuid.uuid4().hex, origin)
        shares.append(Share(fitted, VectorStore(workspace.store, fingerprint, origin), rejected))
    return shares


def _measure_dim(cells: Cells, state: State, folder: Path) -> int:
    """Give the length of a vector, or of one step: as the store says, or by computing one."""
    encoder = cells.encoder
    if not encoder.sequence:
        return encoder.dim(state)
    known = read_origin(folder)
    if known is not None:
        return known.dim
    import torch

    inputs = encoder.inputs()
    arrays = cells.modality.collate([cells.modality.placeholder(inputs)], inputs)
    with torch.inference_mode():
        vectors, _ = encoder.sequence_network(state or None)(
            *map(torch.from_numpy, arrays.values())
        )
    return int(vectors.shape[-1])


def write_shares(folder: Path, cells: Cells, shares: Sequence[Share]) -> Int64[np.ndarray, " row"]:
    """Write `artifacts/embeddings/KEY/`, some megabytes at a time; see `mm_assets.data.vectors`.

    Args:
        folder: Exists, and is empty.
        cells: Of one modality.
        shares: All vectors are in their stores.

    Returns:
        How many vectors each row has, (row,).

    Raises:
        StoreError: A vector that was there is gone.
        DiskError: The disk has too little room.
    """
    full, steps = shares[0], np.zeros(len(cells), np.int64)
    for share in shares:
        distinct, inverse = np.unique(cells.keys[share.rows], return_inverse=True)
        steps[share.rows] = share.find(distinct)[inverse]
    made = full.store.origin
    if made.sequence:  # of vectors it was known, and asked, before any was computed
        written = FLOAT_BYTES * made.dim * int(steps.sum())
        require_space(folder, written, what=f"embed@{cells.name}: sequences of {len(cells)} rows")
    with MatrixFile(folder, int(steps.sum()), made.dim) as file:
        for share in shares:
            _write_share(cells, share, steps, file)
    write_rows(
        folder,
        cells.rows[ID].to_numpy(),
        cells.rows[COPY].to_numpy(),
        steps,
        {
            "name": made.encoder,
            "version": made.version,
            "fingerprint": full.store.folder.name,
            "dim": made.dim,
            "sequence": made.sequence,
            "precision": made.precision,
            "folds": len(shares) - 1,
            "stored": [share.store.folder.name for share in shares],
            "states": [share.fitted.digest for share in shares if share.fitted.digest],
        },
        full.fitted.state,
    )
    return steps


def _write_share(
    cells: Cells, share: Share, steps: Int64[np.ndarray, " row"], file: MatrixFile
) -> None:
    """Write a share's vectors to their rows' places, in the order in which the store holds them.

    Raises:
        StoreError: A vector that was there is gone.
    """
    starts = np.cumsum(steps) - steps
    distinct, inverse = np.unique(cells.keys[share.rows], return_inverse=True)
    rows = share.rows[np.argsort(inverse, kind="stable")]  # those of a key side by side
    ends = np.cumsum(np.bincount(inverse, minlength=len(distinct)))
    begins = np.concatenate([[0], ends])[:-1]
    written = 0
    for store in (share.store, share.rejected):
        for places, lengths, vectors in store.read(distinct):
            at = 0
            for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
                for row in rows[begins[place] : ends[place]]:
                    file.put(int(starts[row]), vectors[at : at + length])
                    written += 1
                at += length
    if written < len(share.rows):
        raise StoreError(
            f"embed@{cells.name}: {len(share.rows) - written} of {len(share.rows)} vectors were "
            f"deleted from {share.store.folder} while this ran, as `mm store prune` in another "
            "checkout does; run it again"
        )
