"""The embed stage: one vector (or sequence) per row that has the modality, bought once.

Cells are named by their content and asked for in the store; what it lacks is computed, and kept in
it as it comes; the out is then written from the store, some megabytes at a time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Int64, Shaped

from mm_assets.contracts.config import SPLITS
from mm_assets.contracts.errors import BadSampleError, StageError, StoreError
from mm_assets.contracts.report import StageReport
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.cells import name_broken_cell
from mm_assets.data.decoding_pool import DecodingPool
from mm_assets.data.disk import require_space
from mm_assets.data.parallel import map_ahead
from mm_assets.data.preparation import Item, collate_each, decode_items, join_rows
from mm_assets.data.progress import announce, show_progress
from mm_assets.data.store import (
    Origin,
    VectorStore,
    find_state,
    keep_state,
    read_origin,
    vector_key,
)
from mm_assets.data.table import COPY, GROUP, ID, RENDER, SPLIT, read_augmented
from mm_assets.data.vectors import MatrixFile, read_chunks, write_rows
from mm_assets.encoders.learned import LearnedEncoder
from mm_assets.modalities.base import Arrays, digest_content
from mm_assets.stages.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from torch import nn

    from mm_assets.targets.base import Target
    from mm_assets.training.spool import Spool

BATCH = 32
BATCH_BYTES = 8_000_000  # of content in a batch, at most, where it has several cells
LISTED = 256  # cells that are read in a row before other threads have their turn
FLOAT_BYTES = 4
AHEAD = 2  # batches that wait, ready, for each worker
SHARD = 512  # rows computed between two writes to the store: what an interruption may cost
SHARD_BYTES = 64_000_000  # or fewer, where they are long sequences

Rows = Int[np.ndarray, " _"]
State = dict[str, np.ndarray]
Encoded = tuple[Rows, np.ndarray, np.ndarray]  # rows, their steps, vectors one after the other


def embed(project: Project, key: str) -> StageReport:
    """Write `artifacts/embeddings/KEY/`; see `mm_assets.data.vectors` for what is in it.

    Args:
        project: The project.
        key: The modality.

    Raises:
        StageError: No row has the modality, or a cell that was valid cannot be decoded now.
        ConfigError: The device cannot compute in the encoder's precision.
        DiskError: The disk has too little room for the vectors.
    """
    rows = read_augmented(project.workspace.augmented, splits=SPLITS, columns=[key])
    present = rows[rows[key].notna()].reset_index(drop=True)
    if present.empty:
        raise StageError(
            f"embed@{key}: no row has this modality; check `modalities.{key}.column` in params.yaml"
        )
    from mm_assets.validation.embed import check_embeddings, measure_vectors

    cells = Cells(project, key, present)
    shares, states = _share_out(cells)
    full = shares[0]
    _buy(cells, shares)
    steps = np.zeros(len(cells), np.int64)
    for share in shares:
        distinct, inverse = np.unique(cells.keys[share.rows], return_inverse=True)
        steps[share.rows] = share.find(distinct)[inverse]
    dim = full.store.origin.dim
    folds = len(shares) - 1
    folder = project.workspace.embeddings(key)
    if full.store.origin.sequence:
        written = FLOAT_BYTES * dim * int(steps.sum())
        require_space(folder, written, what=f"embed@{key}: sequences of {len(cells)} rows")
    with atomic_folder(folder) as temporary:
        with MatrixFile(temporary, int(steps.sum()), dim) as file:
            for share in shares:
                _write_out(cells, share, steps, file)
        write_rows(
            temporary,
            present[ID].to_numpy(),
            present[COPY].to_numpy(),
            steps,
            {
                "name": cells.encoder.name,
                "version": cells.encoder.version,
                "fingerprint": full.store.folder.name,
                "dim": dim,
                "sequence": full.store.origin.sequence,
                "precision": cells.encoder.precision,
                "folds": folds,
                "stored": [share.store.folder.name for share in shares],
                "states": states,
            },
            full.state,
        )
    for share in shares:
        shutil.rmtree(share.rejected.folder, ignore_errors=True)
    measures = measure_vectors(
        present[[ID, COPY]], lambda: read_chunks(folder, steps), contents=cells.keys
    )
    suite = check_embeddings(measures, rows=len(present), dim=dim)
    return StageReport(
        stage=f"embed@{key}",
        rows_in=len(rows),
        rows_out=len(present),
        metrics={
            "encoder": cells.encoder.name,
            "dim": dim,
            "samples_with_modality": int(present[COPY].eq(0).sum()),
            "copies_with_modality": int(present[COPY].gt(0).sum()),
            "distinct_contents": len(np.unique(cells.keys)),
            **({"folds": folds} if folds else {}),
            **({"steps": int(steps.sum())} if full.store.origin.sequence else {}),
        },
        suites=(suite,),
    )


class Cells:
    """The rows that have the modality, and how their cells become an encoder's arrays.

    Attributes:
        project: The project.
        name: The modality's key.
        rows: ``id``, ``copy``, ``split``, ``group``, ``render`` and the modality's cell.
        keys: Each row's name in the store, (row,), 32 bytes: by content, read anew, and rendering.
        sizes: By which alike cells share a batch: characters of a text, else bytes of content.
    """

    def __init__(self, project: Project, name: str, rows: pd.DataFrame) -> None:
        self.project = project
        self.name = name
        self.rows = rows
        self.modality = project.modalities[name]
        self.encoder = project.encoders[name]
        self.workers = project.config.compute.count_threads()
        self.keys = np.empty(len(rows), dtype="S32")
        self.sizes = np.empty(len(rows), np.int64)
        with ThreadPoolExecutor(self.workers) as pool:
            parts = (range(at, min(at + LISTED, len(rows))) for at in range(0, len(rows), LISTED))
            for part in map_ahead(pool, self._identify, parts, ahead=AHEAD * self.workers):
                for row, key, size in part:
                    self.keys[row], self.sizes[row] = key, size

    def __len__(self) -> int:
        return len(self.rows)

    def _identify(self, rows: range) -> list[tuple[int, bytes, int]]:
        """Read cells and name them.

        Raises:
            StageError: A cell cannot be read any more.
        """
        found = []
        for item in map(self.item, rows):
            with self.naming(item):
                content = self.modality.read(item.cell, self.project.workspace.data)
            is_text = isinstance(item.cell, str) and not self.modality.is_file
            size = len(str(item.cell)) if is_text else len(content)
            found.append((item.row, vector_key(digest_content(content), item.plan), size))
        return found

    def item(self, row: int) -> Item:
        """Give what is to be decoded for a row."""
        render = self.rows[RENDER].iat[row]
        plan = json.loads(render).get(self.name) if isinstance(render, str) else None
        text = None if plan is None else json.dumps(plan, sort_keys=True)
        return Item(row, self.rows[self.name].iat[row], text)

    def cut(self, rows: Rows) -> Iterator[Rows]:
        """Cut rows into batches."""
        begin = held = 0
        for at, size in enumerate(self.sizes[rows].tolist()):
            held += size
            if at - begin == BATCH or (at > begin and held > BATCH_BYTES):
                yield rows[begin:at]
                begin, held = at, size
        if len(rows):
            yield rows[begin:]

    @cached_property
    def collate_each(self) -> Callable[[Sequence[Item]], list[Arrays]]:
        """Decode and collate cells one by one; can be sent to a process."""
        return functools.partial(
            collate_each,
            modality=self.modality,
            folder=self.project.workspace.data,
            inputs=self.encoder.inputs(),
        )

    def collate(self, rows: Rows) -> Arrays:
        """Decode and collate a batch here.

        Raises:
            StageError: A cell cannot be used any more.
        """
        values = []
        for item in map(self.item, rows.tolist()):
            with self.naming(item):
                values += decode_items([item], self.modality, self.project.workspace.data)
        return self.modality.collate(values, self.encoder.inputs())

    def naming(self, item: Item) -> contextlib.AbstractContextManager[None]:
        """Name sample and cell where it breaks in the block; see `name_broken_cell`."""
        sample = str(self.rows[ID].iat[item.row])
        return name_broken_cell(f"embed@{self.name}:", sample, item.cell)

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
                    with self.naming(item):
                        found += self.collate_each([item])
                yield batch, found
            return
        compute = self.project.config.compute
        with DecodingPool(
            self.workers, timeout_s=compute.decode_s, memory_mb=compute.decode_megabytes
        ) as pool:
            items = ([self.item(row) for row in batch.tolist()] for batch in batches)
            for done, result in pool.map(self.collate_each, items, ahead=AHEAD * self.workers):
                if isinstance(result, BadSampleError):
                    with self.naming(done[0]):
                        raise result
                yield np.array([item.row for item in done]), result


@dataclass(frozen=True)
class Share:
    """Rows whose vectors one state makes.

    Attributes:
        rows: Their numbers.
        state: Of the encoder; empty where it has none.
        store: Of its vectors.
        rejected: Of those that are not finite: reported, and never remembered.
    """

    rows: Rows
    state: State
    store: VectorStore
    rejected: VectorStore

    def find(self, keys: Shaped[np.ndarray, " key"]) -> Int64[np.ndarray, " key"]:
        """Give steps by key, 0 where nothing is stored."""
        found = self.store.find(keys)
        return np.where(found > 0, found, self.rejected.find(keys))


def _share_out(cells: Cells) -> tuple[list[Share], list[str]]:
    """Fit what is to be fitted, and say which rows each state embeds.

    Returns:
        The first share is that of the whole training split's state; and the digests of the states.
    """
    encoder, workspace = cells.encoder, cells.project.workspace
    everything = np.arange(len(cells))
    states: list[tuple[State, Rows]] = [({}, everything)]
    digests: list[str] = []
    if isinstance(encoder, LearnedEncoder):
        states, digests = _learn(cells, encoder)
    elif encoder.fitted:
        state, digest = _fit(cells)
        states, digests = [(state, everything)], [digest]
    sequence = cells.project.config.fusion.attend_steps and encoder.sequential
    shares = []
    for state, rows in states:
        fingerprint = encoder.fingerprint(
            state, preprocessing=cells.modality.preprocessing(), sequence=sequence
        )
        folder = workspace.store / fingerprint
        dim = _measure_step(cells, state, folder) if sequence else encoder.dim(state)
        origin = Origin(encoder.name, encoder.version, dim, sequence, encoder.precision)
        rejected = VectorStore(workspace.rejected, uuid.uuid4().hex, origin)
        store = VectorStore(workspace.store, fingerprint, origin)
        shares.append(Share(rows, state, store, rejected))
    return shares, digests


def _measure_step(cells: Cells, state: State, folder: Path) -> int:
    """Give the length of one vector of a sequence: as the store says, or by computing one."""
    known = read_origin(folder)
    if known is not None:
        return known.dim
    import torch

    inputs = cells.encoder.inputs()
    arrays = cells.modality.collate([cells.modality.placeholder(inputs)], inputs)
    with torch.inference_mode():
        network = cells.encoder.sequence_network(state or None)
        vectors, _ = network(*map(torch.from_numpy, arrays.values()))
    return int(vectors.shape[-1])


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


def _fit(cells: Cells) -> tuple[State, str]:
    """Fit an encoder's statistics on training samples, or take them from the store."""
    split, copy = cells.rows[SPLIT].eq("train"), cells.rows[COPY].eq(0)
    rows = np.flatnonzero(split & copy)
    digest, root = _digest_fit(cells, rows), cells.project.workspace.store
    state = find_state(root, digest)
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
        keep_state(root, digest, state)
    return state, digest


def _learn(cells: Cells, encoder: LearnedEncoder) -> tuple[list[tuple[State, Rows]], list[str]]:
    """Learn a network from training rows and their copies, or take it from the store.

    A supervised one is learnt once from all of them, for other rows, and once without each fold,
    for the fold's own rows: no vector that the fusion learns from was made by a network that saw
    its label.

    Raises:
        TrainingError: The training rows leave nothing to learn.
    """
    rows = np.flatnonzero(cells.rows[SPLIT].eq("train"))  # a sample's copies follow it
    ids = cells.rows[ID].to_numpy()[rows]
    partners = np.full(len(rows), -1)
    partners[:-1][ids[1:] == ids[:-1]] = np.flatnonzero(ids[1:] == ids[:-1]) + 1
    config = cells.project.config
    targets, labels = _read_labels(cells) if encoder.supervised else ({}, {})
    weights = {name: config.targets[name].weight for name in targets}
    kept_of = [np.ones(len(rows), bool)]  # by network: what it may learn from
    if encoder.supervised:
        fold_of = _assign_folds(cells, encoder, rows)
        kept_of += [fold_of != fold for fold in range(int(fold_of.max()) + 1)]
    digests = [
        _digest_fit(
            cells,
            rows,
            seed=config.seed,
            targets={name: target.state() for name, target in targets.items()},
            weights=weights,
            arrays=[_digest(array) for array in (kept, partners, *labels.values())],
        )
        for kept in kept_of
    ]
    root = cells.project.workspace.store
    states = [find_state(root, digest) for digest in digests]
    if any(state is None for state in states):
        import torch

        from mm_assets.training.device import choose_device
        from mm_assets.training.network_fitting import Supervision, fit_network
        from mm_assets.training.spool import Spool

        supervision = Supervision(targets, labels, weights) if encoder.supervised else None
        threads = torch.get_num_threads()
        torch.set_num_threads(cells.workers)
        try:
            with Spool(cells.project.workspace.spool) as spool:
                _fill(spool, cells, rows)
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
                        seed=config.seed,
                        device=choose_device(config.compute.device),
                        title=f"fit {cells.name}{part}",
                    )
                    keep_state(root, digest, state)
                    states[place] = state
        finally:
            torch.set_num_threads(threads)
    everything = np.arange(len(cells))
    others = np.setdiff1d(everything, rows) if encoder.supervised else everything
    owned = [others, *(rows[~kept] for kept in kept_of[1:])]
    return [(state or {}, mine) for state, mine in zip(states, owned, strict=True)], digests


def _read_labels(cells: Cells) -> tuple[dict[str, Target], dict[str, np.ndarray]]:
    """Fit the targets on all training rows, as stage `train` does, and encode their labels.

    Returns:
        By target, itself and the encoded labels of the training rows that have the modality.
    """
    project = cells.project
    training = read_augmented(
        project.workspace.augmented, splits=["train"], columns=[cells.name, *project.config.targets]
    )
    targets = {
        name: target.fit(training[name], project.config.targets[name], where=name)
        for name, target in project.targets.items()
    }
    present = training[training[cells.name].notna()]
    labels = {name: target.encode(present[name], where=name) for name, target in targets.items()}
    return targets, labels


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


def _fill(spool: Spool, cells: Cells, rows: Rows) -> None:
    """Collate training rows, each once, into a file."""
    folder = cells.project.workspace.spool
    for done, found in show_progress(
        cells.read_each(cells.cut(rows)),
        title=f"read {cells.name}",
        total=len(rows),
        size=lambda part: len(part[0]),
    ):
        if not len(spool):
            held = sum(array.nbytes for arrays in found for array in arrays.values())
            what = f"embed@{cells.name}: {len(rows)} training rows, decoded, to learn from"
            require_space(folder, held * len(rows) // len(done), what=what)
        for arrays in found:
            spool.add(arrays)


def _buy(cells: Cells, shares: Sequence[Share]) -> None:
    """Compute what the store lacks, and say how much that was."""
    wanted = []
    for share in shares:
        distinct, first = np.unique(cells.keys[share.rows], return_index=True)
        wanted.append((share.rows[first], share.find(distinct) > 0))
    new, stored = (sum(int((held == want).sum()) for _, held in wanted) for want in (False, True))
    dim = shares[0].store.origin.dim
    written, bought = FLOAT_BYTES * dim * len(cells), FLOAT_BYTES * dim * new
    what = f"embed@{cells.name} ({len(cells)} vectors of {dim} numbers, {new} of them new)"
    require_space(cells.project.workspace.artifacts, written, what=what)
    # Mostly both are on one disk.
    require_space(cells.project.workspace.store, written + bought, what=what)
    for share, (rows, held) in zip(shares, wanted, strict=True):
        missing = rows[~held]
        if len(missing):
            # The largest come first, so that too little memory shows at once.
            order = np.lexsort((cells.keys[missing], -cells.sizes[missing]))
            _compute(cells, share, missing[order])
    announce(f"embed@{cells.name}: {new} vectors computed, {stored} from the store")


def _compute(cells: Cells, share: Share, rows: Rows) -> None:
    """Compute vectors and keep them in the store as they come."""
    waiting: list[Encoded] = []
    with contextlib.closing(_encode(cells, share, rows)) as encoded:
        for part in show_progress(
            encoded,
            title=f"embed {cells.name}",
            total=len(rows),
            size=lambda found: len(found[0]),
        ):
            waiting.append(part)
            count = sum(len(found) for found, _, _ in waiting)
            if count >= SHARD or sum(found[2].nbytes for found in waiting) >= SHARD_BYTES:
                _keep(cells, share, waiting)
                waiting.clear()
    if waiting:
        _keep(cells, share, waiting)


def _keep(cells: Cells, share: Share, parts: Sequence[Encoded]) -> None:
    """Add vectors to the store; those that are not finite go elsewhere."""
    rows, steps, vectors = (np.concatenate(found) for found in zip(*parts, strict=True))
    finite = np.isfinite(vectors).all(axis=1)
    finite = np.logical_and.reduceat(finite, np.cumsum(steps) - steps)
    for store, chosen in ((share.store, finite), (share.rejected, ~finite)):
        store.add(cells.keys[rows[chosen]], vectors[np.repeat(chosen, steps)], steps[chosen])


def _encode(cells: Cells, share: Share, rows: Rows) -> Generator[Encoded]:
    """Yield rows, their steps and their vectors, one after the other.

    Each worker runs the network on a batch alone, with one thread: several batches at once wait for
    each other less than several threads a batch do, above all on a busy machine, and a vector does
    not depend on how many there are. Files are decoded meanwhile in processes of their own; other
    cells by the worker itself.
    """
    import torch

    from mm_assets.training.device import choose_device
    from mm_assets.training.precision import place_network

    device = choose_device(cells.project.config.compute.device)
    sequence = share.store.origin.sequence
    build = cells.encoder.sequence_network if sequence else cells.encoder.network
    network: nn.Module = place_network(
        build(share.state or None),
        device,
        precision=cells.encoder.precision,
        where=f"modalities.{cells.name}.encoder",
    )

    def encode(part: tuple[Rows, list[Arrays] | None]) -> Encoded:
        chosen, found = part
        arrays = cells.collate(chosen) if found is None else join_rows(found)
        with torch.inference_mode():
            answer = network(*(torch.from_numpy(array).to(device) for array in arrays.values()))
            if not sequence:
                return chosen, np.ones(len(chosen), np.int64), answer.float().cpu().numpy()
            vectors, mask = answer
            return chosen, mask.sum(dim=1).cpu().numpy(), vectors[mask].float().cpu().numpy()

    batches = cells.cut(rows)
    parts: Generator[tuple[Rows, list[Arrays] | None]]
    if cells.modality.is_file:
        parts, ahead = cells.read_each(batches), cells.workers
    else:
        parts, ahead = ((batch, None) for batch in batches), AHEAD * cells.workers
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            cells.workers, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield from map_ahead(pool, encode, parts, ahead=ahead)
    finally:
        parts.close()
        torch.set_num_threads(threads)


def _write_out(
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
