"""The embed stage: one vector per row that has the modality, bought once and kept in the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_assets.contracts.config import SPLITS
from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import StageReport
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.disk import require_space
from mm_assets.data.parallel import map_ahead
from mm_assets.data.progress import announce, show_progress
from mm_assets.data.store import VectorStore, vector_key
from mm_assets.data.table import COPY, ID, RENDER, SPLIT, read_augmented
from mm_assets.data.vectors import Embeddings, write_embeddings
from mm_assets.modalities.base import Arrays, digest_content
from mm_assets.stages.project import Project, name_broken_cell

if TYPE_CHECKING:
    import pandas as pd

BATCH = 32
FLOAT_BYTES = 4
AHEAD = 2  # batches that wait, ready, for each worker
SHARD = 512  # rows computed between two writes to the store: what an interruption may cost


@dataclass(frozen=True)
class Job:
    """One vector to compute.

    Attributes:
        key: Its place in the store.
        id: The sample, for messages.
        cell: What the table holds.
        plan: How a copy is rendered; null for the sample itself.
        size: Bytes of the cell's content, by which alike ones share a batch.
    """

    key: bytes
    id: str
    cell: object
    plan: dict[str, Any] | None
    size: int


def embed(project: Project, key: str) -> StageReport:
    """Write `artifacts/embeddings/KEY/`.

    Args:
        project: The project.
        key: The modality.

    Raises:
        StageError: No row has the modality, or a cell that was valid cannot be decoded now.
        DiskError: The disk has too little room for the vectors.
    """
    rows = read_augmented(project.workspace.augmented, splits=SPLITS, columns=[key])
    present = rows[rows[key].notna()].reset_index(drop=True)
    if present.empty:
        raise StageError(
            f"embed@{key}: no row has this modality; check `modalities.{key}.column` in params.yaml"
        )
    from mm_assets.validation.embed import check_embeddings, measure_vectors

    encoder = project.encoders[key]
    jobs = _list_jobs(project, key, present)
    training = present[SPLIT].eq("train") & present[COPY].eq(0)
    state = _fit(project, key, [job for job, fits in zip(jobs, training, strict=True) if fits])
    fingerprint = encoder.fingerprint(state, preprocessing=project.modalities[key].preprocessing())
    dim = encoder.dim(state)
    store = VectorStore(project.workspace.store, fingerprint)

    vectors = store.find(job.key for job in jobs)
    stored = len(vectors)
    missing = list({job.key: job for job in jobs if job.key not in vectors}.values())
    written, bought = FLOAT_BYTES * dim * len(jobs), FLOAT_BYTES * dim * len(missing)
    what = f"embed@{key} ({len(jobs)} vectors of {dim} numbers, {len(missing)} of them new)"
    require_space(project.workspace.artifacts, written, what=what)
    require_space(store.folder, written + bought, what=what)  # mostly both are on one disk
    vectors |= _compute(project, key, missing, state, store)
    announce(f"embed@{key}: {len(missing)} vectors computed, {stored} from the store")

    matrix = np.stack([vectors[job.key] for job in jobs])  # (row, dim)
    with atomic_folder(project.workspace.embeddings(key)) as folder:
        write_embeddings(
            folder,
            Embeddings(
                ids=present[ID].to_numpy(),
                copies=present[COPY].to_numpy(),
                matrix=matrix,
                encoder={
                    "name": encoder.name,
                    "version": encoder.version,
                    "fingerprint": fingerprint,
                    "dim": dim,
                },
                state=state,
            ),
        )
    measures = measure_vectors(present[[ID, COPY]], matrix, [job.key.hex() for job in jobs])
    suite = check_embeddings(measures, rows=len(present), dim=dim)
    return StageReport(
        stage=f"embed@{key}",
        rows_in=len(rows),
        rows_out=len(present),
        metrics={
            "encoder": encoder.name,
            "dim": dim,
            "samples_with_modality": int(present[COPY].eq(0).sum()),
            "copies_with_modality": int(present[COPY].gt(0).sum()),
            "distinct_contents": len({job.key for job in jobs}),
        },
        suites=(suite,),
    )


def _list_jobs(project: Project, key: str, present: pd.DataFrame) -> list[Job]:
    """Name the vector of every row: by its content, read anew, and its rendering.

    Raises:
        StageError: A cell cannot be read any more.
    """
    modality, data = project.modalities[key], project.workspace.data

    def identify(row: tuple[str, object, object]) -> Job:
        sample, cell, render = row
        plan = json.loads(render).get(key) if isinstance(render, str) else None
        with name_broken_cell(f"embed@{key}:", sample, cell):
            content = modality.read(cell, data)
        rendering = None if plan is None else json.dumps(plan, sort_keys=True)
        name = vector_key(digest_content(content), rendering)
        return Job(name, sample, cell, plan, len(content))

    rows = zip(present[ID], present[key], present[RENDER], strict=True)
    workers = project.config.compute.count_threads()
    with ThreadPoolExecutor(workers) as pool:
        return list(map_ahead(pool, identify, rows, ahead=1024 * workers))


def _fit(project: Project, key: str, jobs: list[Job]) -> dict[str, np.ndarray]:
    """Fit the encoder on the training rows given, or give no state where it has none."""
    encoder = project.encoders[key]
    if not encoder.fitted:
        return {}
    from mm_assets.training.encoder_fitting import fit_encoder

    workers = project.config.compute.count_threads()
    with ThreadPoolExecutor(workers) as pool:
        batches = map_ahead(pool, _preparer(project, key), _cut(jobs), ahead=AHEAD * workers)
        titled = show_progress(
            batches, title=f"fit {key}", total=-(-len(jobs) // BATCH), unit="batch"
        )
        return fit_encoder(encoder, titled)


def _compute(
    project: Project,
    key: str,
    jobs: list[Job],
    state: dict[str, np.ndarray],
    store: VectorStore,
) -> dict[bytes, np.ndarray]:
    """Compute vectors and keep them in the store as they come."""
    found: dict[bytes, np.ndarray] = {}
    shard: dict[bytes, np.ndarray] = {}
    # Alike sizes share a batch, so that little of it is padding; the largest come first, so that
    # too little memory shows at once.
    jobs = sorted(jobs, key=lambda job: (-job.size, job.key))
    computed = _encode(project, key, jobs, state) if jobs else iter(())
    for name, vector in show_progress(computed, title=f"embed {key}", total=len(jobs)):
        found[name] = shard[name] = vector
        if len(shard) == SHARD:
            _keep(store, shard)
            shard.clear()
    _keep(store, shard)
    return found


def _keep(store: VectorStore, shard: dict[bytes, np.ndarray]) -> None:
    """Add vectors to the store; one that is not finite is reported, never remembered."""
    finite = {key: vector for key, vector in shard.items() if np.isfinite(vector).all()}
    if finite:
        store.add(list(finite), np.stack(list(finite.values())))


def _encode(
    project: Project, key: str, jobs: list[Job], state: dict[str, np.ndarray]
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield key and vector; each worker decodes a batch and runs the network on it alone.

    One thread a batch and several batches at once wait for each other less than several threads
    a batch do, above all on a busy machine, and a vector does not depend on how many there are.
    """
    import torch

    from mm_assets.encoders.networks.packed_linear import pack_linears
    from mm_assets.training.device import choose_device

    device = choose_device(project.config.compute.device)
    network = pack_linears(project.encoders[key].network(state or None).to(device))
    prepare = _preparer(project, key)

    def encode(batch: list[Job]) -> np.ndarray:
        arrays = prepare(batch)
        with torch.inference_mode():
            vectors = network(*(torch.from_numpy(array).to(device) for array in arrays.values()))
            return np.asarray(vectors.float().cpu())

    threads, workers = torch.get_num_threads(), project.config.compute.count_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            computed = map_ahead(pool, encode, _cut(jobs), ahead=AHEAD * workers)
            for batch, vectors in zip(_cut(jobs), computed, strict=True):
                yield from zip((job.key for job in batch), vectors, strict=True)
    finally:
        torch.set_num_threads(threads)


def _preparer(project: Project, key: str) -> Callable[[list[Job]], Arrays]:
    """Give the function that decodes, renders and collates a batch."""
    modality, data = project.modalities[key], project.workspace.data
    inputs = project.encoders[key].inputs()

    def prepare(jobs: list[Job]) -> Arrays:
        values = []
        for job in jobs:
            with name_broken_cell(f"embed@{key}:", job.id, job.cell):
                value = modality.decode(job.cell, data)
            values.append(value if job.plan is None else modality.render(value, job.plan))
        return modality.collate(values, inputs)

    return prepare


def _cut(jobs: list[Job]) -> Iterator[list[Job]]:
    """Cut into batches."""
    return (jobs[at : at + BATCH] for at in range(0, len(jobs), BATCH))
