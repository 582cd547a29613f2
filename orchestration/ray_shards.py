"""Shards as tasks of Ray: each fills the embedding store, wherever it runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_assets.contracts.errors import MMAssetsError, StageError

if TYPE_CHECKING:
    from mm_assets.data.store_remote import RemoteStore
    from mm_assets.stages.shards import Filled, Shard

RETRIES = 10  # of a shard whose worker died; what it had put into the store is not lost


def fill_by_ray(
    root: Path, shards: Sequence[Shard], *, threads: int, url: str | None = None
) -> Iterator[Filled]:
    """Fill the store by tasks of the Ray that is connected, in any order.

    Args:
        root: The project's root, on this and every worker's machine.
        shards: Of `plan_shards`.
        threads: How many cores each task asks for and uses.
        url: Where the vectors go, when the workers' store is not ours.

    Yields:
        What each shard came to, as it is done.

    Raises:
        StageError: A worker died again and again at one shard.
        MMAssetsError: As `fill_shard`.
        ray.exceptions.RayTaskError: A task failed otherwise.
    """
    import ray

    task: Any = ray.remote(num_cpus=threads, max_retries=RETRIES)(fill)
    waiting = [task.remote(root, shard, threads, url) for shard in shards]
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MMAssetsError):
            raise error.cause from None
        raise
    except ray.exceptions.WorkerCrashedError as error:
        raise StageError(
            f"a worker of Ray died {RETRIES + 1} times at one shard ({error}); give it more memory, or "
            "lower `compute.shards.rows` in params.yaml; shards that are done stay done"
        ) from None
    finally:
        for reference in waiting:
            ray.cancel(reference)


def fill(root: Path, shard: Shard, threads: int, url: str | None) -> Filled:
    """Fill the store with one shard's vectors, in a process of Ray."""
    import torch

    from mm_assets.stages.project import load_project
    from mm_assets.stages.shards import fill_shard

    torch.set_num_threads(threads)
    project = load_project(root).with_threads(threads)
    remote = _open_remote(project.workspace.store, url) if url else None
    return fill_shard(project, shard, remote)


@functools.cache
def _open_remote(store: Path, url: str) -> RemoteStore:
    """Open a remote store once in a process, which then lists it once."""
    from mm_assets.data.store_remote import RemoteStore

    return RemoteStore(store, url)
