"""Computing vectors that the store lacks, and keeping them in it as they come."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from mm_assets.data.disk import require_space
from mm_assets.data.parallel import map_ahead
from mm_assets.data.progress import announce, show_progress
from mm_assets.embedding.cells import AHEAD
from mm_assets.embedding.preparation import join_rows
from mm_assets.embedding.shares import FLOAT_BYTES

if TYPE_CHECKING:
    from torch import nn

    from mm_assets.contracts.workspace import Workspace
    from mm_assets.embedding.cells import Cells, Rows
    from mm_assets.embedding.shares import Share
    from mm_assets.embedding.states import State
    from mm_assets.encoders.base import Encoder
    from mm_assets.modalities.base import Arrays

    Part = tuple[Rows, list[Arrays] | None]  # rows of a batch; each one's arrays, if decoded
    Encoded = tuple[Rows, np.ndarray, np.ndarray]  # rows, their steps, vectors one after the other

SHARD = 512  # rows computed between two writes to the store: what an interruption may cost
SHARD_BYTES = 64_000_000  # or fewer, where they are long sequences


def compute_missing(
    cells: Cells, shares: Sequence[Share], workspace: Workspace, *, at_once: int | None = None
) -> tuple[int, int]:
    """Compute what the store lacks, and say how much that was.

    Args:
        cells: Of one modality.
        shares: Who makes which rows' vectors.
        workspace: Where they are written.
        at_once: How many rows are computed between two writes to the store; by default `SHARD`.

    Returns:
        How many vectors were computed, and how many were there.

    Raises:
        StageError: A cell that was valid cannot be decoded now.
        ConfigError: The device cannot compute in the encoder's precision.
        DiskError: The disk has too little room for the vectors.
    """
    wanted = []
    for share in shares:
        distinct, first = np.unique(cells.keys[share.rows], return_index=True)
        wanted.append((share.rows[first], share.find(distinct) > 0))
    new, stored = (sum(int((held == want).sum()) for _, held in wanted) for want in (False, True))
    dim = shares[0].store.origin.dim
    written, bought = FLOAT_BYTES * dim * len(cells), FLOAT_BYTES * dim * new
    what = f"embed@{cells.name} ({len(cells)} vectors of {dim} numbers, {new} of them new)"
    require_space(workspace.artifacts, written, what=what)
    # Mostly both are on one disk.
    require_space(workspace.store, written + bought, what=what)
    for share, (rows, held) in zip(shares, wanted, strict=True):
        missing = rows[~held]
        if len(missing):
            # The largest come first, so that too little memory shows at once.
            order = np.lexsort((cells.keys[missing], -cells.sizes[missing]))
            _compute(cells, share, missing[order], at_once or SHARD)
    announce(f"embed@{cells.name}: {new} vectors computed, {stored} from the store")
    return new, stored


def _compute(cells: Cells, share: Share, rows: Rows, at_once: int) -> None:
    """Compute vectors and keep them in the store as they come."""
    waiting: list[Encoded] = []
    with contextlib.closing(encode(cells, share, rows)) as encoded:
        for part in show_progress(
            encoded,
            title=f"embed {cells.name}",
            total=len(rows),
            size=lambda found: len(found[0]),
        ):
            waiting.append(part)
            count = sum(len(found) for found, _, _ in waiting)
            if count >= at_once or sum(found[2].nbytes for found in waiting) >= SHARD_BYTES:
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


def encode(cells: Cells, share: Share, rows: Rows) -> Generator[Encoded]:
    """Compute vectors with the network that a share's state makes; see `run_network`.

    Raises:
        ConfigError: The device cannot compute in the encoder's precision.
    """
    return run_network(cells, lambda: build_network(cells.encoder, share.fitted.state), rows)


def run_network(
    cells: Cells, make_network: Callable[[], nn.Module], rows: Rows
) -> Generator[Encoded]:
    """Compute vectors, batch by batch.

    Each worker runs the network on a batch alone, with one thread: several batches at once wait for
    each other less than several threads a batch do, above all on a busy machine, and a vector does
    not depend on how many there are. Files are decoded meanwhile in processes of their own; other
    cells by the worker itself.

    Args:
        cells: Of one modality.
        make_network: Gives its network, in evaluation mode, to keep: it is changed for speed.
            Called while decoding begins.
        rows: The numbers of those that are computed.

    Yields:
        Rows, their steps and their vectors, one after the other.

    Raises:
        StageError: A cell that was valid cannot be decoded now.
        ConfigError: The device cannot compute in the encoder's precision.
    """
    parts, ahead = _read(cells, rows)
    with contextlib.closing(parts), ThreadPoolExecutor(1) as starter:
        first = starter.submit(next, parts)  # decoding begins while the network is built
        import torch

        run = _place(cells, make_network())
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(
                cells.workers, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool:
                every = itertools.chain([first.result()], parts)
                yield from map_ahead(pool, run, every, ahead=ahead)
        finally:
            torch.set_num_threads(threads)


def _read(cells: Cells, rows: Rows) -> tuple[Generator[Part], int]:
    """Give batches, those of files decoded, and how many of them may be with the network."""
    batches = cells.cut(rows)
    if cells.modality.is_file:
        return cells.read_each(batches), cells.workers
    return ((batch, None) for batch in batches), AHEAD * cells.workers


def build_network(encoder: Encoder, state: State) -> nn.Module:
    """Build the network that makes the vectors, or the sequences, of an encoder.

    Args:
        encoder: Of `params.yaml`.
        state: As it was fitted; empty where it has none.
    """
    return (encoder.sequence_network if encoder.sequence else encoder.network)(state or None)


def _place(cells: Cells, built: nn.Module) -> Callable[[Part], Encoded]:
    """Bring a network to where it computes, and give what runs it on one batch.

    Raises:
        ConfigError: The device cannot compute in the encoder's precision.
    """
    import torch

    from mm_assets.training.device import choose_device
    from mm_assets.training.precision import place_network

    encoder, device = cells.encoder, choose_device(cells.compute.device)
    network: nn.Module = place_network(
        built,
        device,
        precision=encoder.precision,
        where=f"modalities.{cells.name}.encoder",
    )

    def run(part: Part) -> Encoded:
        chosen, found = part
        arrays = cells.collate(chosen) if found is None else join_rows(found)
        with torch.inference_mode():
            answer = network(*(torch.from_numpy(array).to(device) for array in arrays.values()))
            if not encoder.sequence:
                return chosen, np.ones(len(chosen), np.int64), answer.float().cpu().numpy()
            vectors, mask = answer
            return chosen, mask.sum(dim=1).cpu().numpy(), vectors[mask].float().cpu().numpy()

    return run
