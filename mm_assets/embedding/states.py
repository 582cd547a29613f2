"""Which state of an encoder makes which rows' vectors: fitted on training rows, and remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from mm_assets.data.disk import require_space
from mm_assets.data.parallel import map_ahead
from mm_assets.data.progress import show_progress
from mm_assets.data.store import find_state, keep_state
from mm_assets.data.table import COPY, GROUP, ID
from mm_assets.embedding.cells import AHEAD, BATCH
from mm_assets.embedding.preparation import join_rows
from mm_assets.encoders.learned import LearnedEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mm_assets.contracts.workspace import Workspace
    from mm_assets.embedding.cells import Cells, Rows
    from mm_assets.modalities.base import Arrays
    from mm_assets.training.spool import Spool
    from mm_assets.training.supervision import Supervision

State = dict[str, np.ndarray]


class Fitted(NamedTuple):
    """A state and whose vectors it makes.

    Attributes:
        state: Of the encoder; empty where it has none.
        rows: The numbers of the rows.
        digest: Of all that decides the state; empty where there is none.
    """

    state: State
    rows: Rows
    digest: str


def fit_states(
    cells: Cells, workspace: Workspace, *, supervision: Supervision | None, seed: int
) -> list[Fitted]:
    """Fit what is to be fitted, or take it from the store.

    Args:
        cells: Of one modality.
        workspace: Where the store is, and where rows wait while they are learnt from.
        supervision: For an encoder that is supervised: of the training rows, in their order.
        seed: Of all that is random.

    Returns:
        The state that makes vectors of other than training rows comes first; a supervised
        encoder's folds follow. Every row belongs to one of them.

    Raises:
        TrainingError: The training rows leave nothing to learn.
    """
    encoder = cells.encoder
    if isinstance(encoder, LearnedEncoder):
        return _learn(cells, encoder, workspace, supervision, seed)
    everything = np.arange(len(cells))
    return [_fit(cells, workspace, everything) if encoder.fitted else Fitted({}, everything, "")]


def _fit(cells: Cells, workspace: Workspace, everything: Rows) -> Fitted:
    """Fit an encoder's statistics on training samples, or take them from the store."""
    rows = np.flatnonzero(cells.training & cells.rows[COPY].eq(0))
    digest = _digest_fit(cells, rows)
    state = find_state(workspace.store, digest)
    if state is None:
        from mm_assets.training.encoder_fitting import fit_encoder

        with contextlib.ExitStack() as stack:
            batches: Iterator[Arrays]
            if cells.modality.is_file:
                batches = (join_rows(found) for _, found in cells.read_each(cells.cut(rows)))
            else:
                pool = stack.enter_context(ThreadPoolExecutor(cells.workers))
                batches = map_ahead(
                    pool, cells.collate, cells.cut(rows), ahead=AHEAD * cells.workers
                )
            title = f"fit {cells.name}"
            shown = show_progress(batches, title=title, total=-(-len(rows) // BATCH), unit="batch")
            state = fit_encoder(cells.encoder, shown)
        keep_state(workspace.store, digest, state)
    return Fitted(state, everything, digest)


def _learn(
    cells: Cells,
    encoder: LearnedEncoder,
    workspace: Workspace,
    supervision: Supervision | None,
    seed: int,
) -> list[Fitted]:
    """Learn a network from training rows and their copies, or take it from the store.

    A supervised one is learnt once from all of them, for other rows, and once without each fold,
    for the fold's own rows: no vector that the fusion learns from was made by a network that saw
    its label.

    Raises:
        TrainingError: The training rows leave nothing to learn.
    """
    rows = np.flatnonzero(cells.training)
    partners = _find_partners(cells, rows)
    kept_of = [np.ones(len(rows), bool)]  # by network: what it may learn from
    if supervision is not None:
        fold_of = _assign_folds(cells, encoder, rows)
        kept_of += [fold_of != fold for fold in range(int(fold_of.max()) + 1)]
    targets, labels, weights = (
        ({}, {}, {})
        if supervision is None
        else (supervision.targets, supervision.labels, supervision.weights)
    )
    digests = [
        _digest_fit(
            cells,
            rows,
            seed=seed,
            targets={name: target.state() for name, target in targets.items()},
            weights=weights,
            arrays=[_digest(array) for array in (kept, partners, *labels.values())],
        )
        for kept in kept_of
    ]
    states = [find_state(workspace.store, digest) for digest in digests]
    if any(state is None for state in states):
        import torch

        from mm_assets.training.device import choose_device
        from mm_assets.training.network_fitting import fit_network
        from mm_assets.training.spool import Spool

        threads = torch.get_num_threads()
        # Threads of one small batch wait for each other. On two cores that others used as well, two
        # took 10 to 25 times as long as one for text_cnn and 4 times for mel_cnn, in CPU seconds
        # too; and with one, every machine's default fits the same state.
        torch.set_num_threads(cells.compute.threads or 1)
        try:
            with Spool(workspace.spool) as spool:
                fill_spool(spool, cells, rows, workspace)
                for place, (digest, kept) in enumerate(zip(digests, kept_of, strict=True)):
                    if states[place] is not None:
                        continue
                    part = f", fold {place} of {len(digests) - 1}" if place else ""
                    state = fit_network(
                        encoder,
                        spool,
                        np.flatnonzero(kept),
                        partners=partners,
                        supervision=supervision,
                        seed=seed,
                        device=choose_device(cells.compute.device),
                        title=f"fit {cells.name}{part}",
                    )
                    keep_state(workspace.store, digest, state)
                    states[place] = state
        finally:
            torch.set_num_threads(threads)
    everything = np.arange(len(cells))
    others = everything if supervision is None else np.setdiff1d(everything, rows)
    owned = [others, *(rows[~kept] for kept in kept_of[1:])]
    return [
        Fitted(state or {}, mine, digest)
        for state, mine, digest in zip(states, owned, digests, strict=True)
    ]


def _find_partners(cells: Cells, rows: Rows) -> Int64[np.ndarray, " row"]:
    """Give of each training row the place of its sample's next copy, or -1; copies follow it."""
    ids = cells.rows[ID].to_numpy()[rows]
    partners = np.full(len(rows), -1)
    partners[:-1][ids[1:] == ids[:-1]] = np.flatnonzero(ids[1:] == ids[:-1]) + 1
    return partners


def _assign_folds(cells: Cells, encoder: LearnedEncoder, rows: Rows) -> Int64[np.ndarray, " row"]:
    """Number the fold of training rows; a copy is in that of its sample."""
    from mm_assets.training.folds import assign_folds

    found = cells.rows.iloc[rows]
    samples = found[COPY].eq(0).to_numpy()
    groups = ("group " + found[GROUP].astype("str")).where(
        found[GROUP].notna(), "id " + found[ID].astype("str")
    )
    contents = cells.keys[rows[samples]]
    folds = assign_folds(groups[samples].tolist(), contents.tolist(), folds=encoder.options.folds)
    owner: np.ndarray = np.cumsum(samples) - 1
    return np.asarray(folds[owner], dtype=np.int64)


def fill_spool(spool: Spool, cells: Cells, rows: Rows, workspace: Workspace) -> None:
    """Collate rows, each once, into a file.

    Args:
        spool: Empty.
        cells: Of one modality.
        rows: Their numbers.
        workspace: Where the file is.

    Raises:
        StageError: A cell that was valid cannot be decoded now.
        DiskError: The disk has too little room.
    """
    for done, found in show_progress(
        cells.read_each(cells.cut(rows)),
        title=f"read {cells.name}",
        total=len(rows),
        size=lambda part: len(part[0]),
    ):
        if not len(spool):
            held = sum(array.nbytes for arrays in found for array in arrays.values())
            what = f"embed@{cells.name}: {len(rows)} rows, decoded, to learn from"
            require_space(workspace.spool, held * len(rows) // len(done), what=what)
        for arrays in found:
            spool.add(arrays)


def _digest_fit(cells: Cells, rows: Rows, **more: object) -> str:
    """Digest all that decides a fitted state."""
    encoder = cells.encoder
    parts = {
        "encoder": encoder.name,
        "version": encoder.version,
        "options": encoder.options.model_dump(mode="json"),
        "weights": encoder.weights_digest(),
        "preprocessing": cells.modality.preprocessing(),
        **more,
    }
    head = json.dumps(parts, sort_keys=True).encode()
    return hashlib.sha256(head + b"\n" + cells.keys[rows].tobytes()).hexdigest()


def _digest(array: np.ndarray) -> str:
    """Digest an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
