"""Embedding by shards of rows, anywhere and in any order: each puts its vectors into the store.

Stage `embed` then finds them there. A shard is the unit of work of an engine that has many machines.
One whose vectors are in the store costs reading its cells; one that was killed loses at most what it
had not yet put there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int16

from mm_assets.contracts.config import SPLITS
from mm_assets.contracts.errors import StageError, StoreError
from mm_assets.data.store import find_state
from mm_assets.data.store_remote import RemoteStore
from mm_assets.data.table import read_augmented
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.encoding import compute_missing
from mm_assets.embedding.shares import Share, open_shares
from mm_assets.embedding.states import Fitted, State
from mm_assets.stages.embed import find_states, keep_present, open_cells
from mm_assets.stages.project import Project

# Rows computed between two writes: many shards share a store, and each looks into all its files.
AT_ONCE = 4096


@dataclass(frozen=True)
class Shard:
    """Some of the rows that have a modality, and what is needed to embed them.

    Attributes:
        key: The modality.
        rows: Of `read_augmented`, index from 0.
        states: Digests of the encoder's fitted states; one empty text where it has none.
        owners: Which of those makes a row's vector, (row,).
    """

    key: str
    rows: pd.DataFrame
    states: tuple[str, ...]
    owners: Int16[np.ndarray, " row"]


@dataclass(frozen=True)
class Filled:
    """What a shard came to: vectors that were computed, and those that were bought before."""

    computed: int
    stored: int


def plan_shards(
    project: Project, key: str, *, rows: int | None = None, count: int = 1
) -> list[Shard]:
    """Cut the rows of a modality into shards; what the encoder has to learn first is learnt here.

    Args:
        project: Has come as far as stage `augment`.
        key: The modality.
        rows: Of each shard, the last one excepted.
        count: Of shards, where no number of rows is given.

    Raises:
        StageError: There is no such modality, no row has it, or stage `augment` has not run.
        TrainingError: The training rows leave an encoder nothing to learn.
    """
    if key not in project.modalities:
        raise StageError(
            f"no modality {key!r} in params.yaml; it has {', '.join(project.modalities)}"
        )
    folder = project.workspace.augmented
    if not folder.exists():
        raise StageError(
            f"shards of {key!r} need {folder}; run `dvc repro augment`, which makes it"
        )
    present = keep_present(read_augmented(folder, splits=SPLITS, columns=[key]), key)
    owners, states = np.zeros(len(present), np.int16), [""]
    if project.encoders[key].fitted:
        found = find_states(project, open_cells(project, key, present))
        states = [fitted.digest for fitted in found]
        for place, fitted in enumerate(found):
            owners[fitted.rows] = place
    rows = rows or -(-len(present) // count)
    return [
        Shard(
            key,
            present[start : start + rows].reset_index(drop=True),
            tuple(states),
            owners[start : start + rows],
        )
        for start in range(0, len(present), rows)
    ]


def fill_shard(project: Project, shard: Shard, remote: RemoteStore | None = None) -> Filled:
    """Compute those vectors of a shard that are not in the store yet.

    Args:
        project: That of `plan_shards`, on this machine.
        shard: Of `plan_shards`.
        remote: Where vectors go from here, so that other machines have them; what is there already
            is not computed again.

    Raises:
        StageError: A cell that was valid cannot be read or decoded now.
        StoreError: A fitted state is neither here nor there, or the remote store cannot be reached.
        DiskError: The disk has too little room for the vectors.
    """
    cells = open_cells(project, shard.key, shard.rows)
    states = [
        Fitted(
            _read_state(project, shard.states[place], remote),
            np.flatnonzero(shard.owners == place),
            shard.states[place],
        )
        for place in np.unique(shard.owners)
    ]
    shares = open_shares(cells, states, project.workspace)
    try:
        name = _name_work(cells, shares)
        if remote is not None and remote.has_work(name):
            return Filled(0, len(np.unique(cells.keys)))
        found = Filled(*compute_missing(cells, shares, project.workspace, at_once=AT_ONCE))
    finally:
        for share in shares:
            share.close()  # stage `embed` will meet, and report, what is not finite
    if remote is not None:
        remote.push()
        remote.note_work(name)
    return found


def _read_state(project: Project, digest: str, remote: RemoteStore | None) -> State:
    """Read a fitted state; empty where there is none.

    Raises:
        StoreError: It is neither here nor there.
    """
    if not digest:
        return {}
    root = project.workspace.store
    state = find_state(root, digest)
    if state is None and remote is not None:
        remote.pull_state(digest)
        state = find_state(root, digest)
    if state is None:
        raise StoreError(
            f"fitted state {digest[:12]} is not in {root}"
            + (f" nor in {remote.url}" if remote else "")
            + "; cut the shards again, which fits it, and push it where machines share no disk "
            "(`mm store push URL`)"
        )
    return state


def _name_work(cells: Cells, shares: Sequence[Share]) -> str:
    """Digest which vectors a shard asks for."""
    found = hashlib.sha256()
    for share in shares:
        found.update(share.store.folder.name.encode())
        found.update(np.unique(cells.keys[share.rows]).tobytes())
    return found.hexdigest()
