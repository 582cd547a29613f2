"""Looking after the embedding store: what it holds, whether it is sound, and what nobody needs.

Several checkouts may share a store, so only what this project does not use now and nobody asked
for within some days counts as unused.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mm_assets.data.store import (
    STORE_VERSION,
    list_shards,
    name_damage,
    open_shard,
    read_keys,
    read_origin,
    read_version,
    write_shard,
)

if TYPE_CHECKING:
    from mm_assets.contracts.workspace import Workspace

MERGED_BYTES = 64_000_000  # of a shard that was merged from small ones
LEFT_BEHIND_S = 3600.0  # an unfinished file this old belongs to no living writer
DAMAGED = ".damaged"  # what follows the name of a shard that was set aside
FINGERPRINT = re.compile(r"[0-9a-f]{64}")  # nothing else in the folder is the store's to delete


@dataclass(frozen=True)
class Holding:
    """What a store holds of one encoder in one state, or one fitted state.

    Attributes:
        path: The folder, or the state's file.
        name: Encoder, version, length and precision for a person.
        vectors: How many vectors or sequences; 0 of a state.
        size_bytes: Of all its files.
        used: When it was last asked for, in seconds since 1970.
        is_current: Whether the project's artifacts were made with it.
    """

    path: Path
    name: str
    vectors: int
    size_bytes: int
    used: float
    is_current: bool


def list_holdings(workspace: Workspace, *others: Workspace) -> list[Holding]:
    """List what the store holds, what was used last first; a shard that cannot be read counts 0.

    Args:
        workspace: Whose store it is.
        others: Further checkouts whose artifacts count as current.
    """
    root = workspace.store
    current = set[str]().union(*map(_list_current, (workspace, *others)))
    found = [
        Holding(
            folder,
            _name_origin(folder),
            sum(map(_count_vectors, list_shards(folder))),
            sum(map(_read_size, folder.iterdir())),
            max(map(_read_time, [folder / "used", *list_shards(folder)])),
            folder.name in current,
        )
        for folder in _list_folders(root)
    ]
    found += [
        Holding(path, "fitted state", 0, _read_size(path), _read_time(path), path.stem in current)
        for path in root.glob("states/[!.]*.safetensors")
    ]
    return sorted(found, key=lambda holding: (-holding.used, holding.path))


def list_all_shards(root: Path) -> list[Path]:
    """List the shards of all encoders."""
    return [shard for folder in _list_folders(root) for shard in list_shards(folder)]


def find_fault(shard: Path) -> str | None:
    """Read a whole shard, down to the checksums of its pages, and say what is wrong with it, if anything.

    It needs this release's schema, vectors of the length that `encoder.json` states, and finite
    numbers. One that was merged or pruned meanwhile has no fault.
    """
    origin = read_origin(shard.parent)
    dim = None if origin is None else origin.dim
    try:
        with pq.ParquetFile(shard, page_checksum_verification=True) as file:
            version = read_version(file)
            if version != STORE_VERSION:
                return f"schema version {version}, this release reads {STORE_VERSION}"
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                lengths = pc.list_value_length(table["values"]).to_numpy()
                if dim is not None and (lengths != table["steps"].to_numpy() * dim).any():
                    return f"vectors of another length than the {dim} that encoder.json states"
                if not pc.all(pc.is_finite(pc.list_flatten(table["values"]))).as_py():
                    return "numbers that are not finite"
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, KeyError) as error:
        return f"cannot be read: {error}"
    return None


def set_aside(shard: Path) -> None:
    """Rename a shard so that it is read no more; `sweep` deletes it."""
    with contextlib.suppress(FileNotFoundError):
        shard.rename(shard.with_name(shard.name + DAMAGED))


def choose_unused(holdings: Collection[Holding], *, days: float) -> list[Holding]:
    """Choose what this project does not use now and nobody asked for within some days."""
    before = time.time() - days * 86400
    return [one for one in holdings if not one.is_current and one.used <= before]


def remove_holding(holding: Holding) -> None:
    """Delete vectors or a state; whoever needs them computes them anew."""
    if holding.path.is_dir():
        shutil.rmtree(holding.path, ignore_errors=True)  # a writer may add to it meanwhile
    else:
        holding.path.unlink(missing_ok=True)


def list_leftovers(root: Path) -> list[Path]:
    """List what killed writers left half written, and what `set_aside` put away."""
    before = time.time() - LEFT_BEHIND_S
    found = []
    for folder in [*_list_folders(root), root / "states"]:
        found += [path for path in folder.glob(".*") if 0 < _read_time(path) < before]
        found += folder.glob(f"*{DAMAGED}")
    return found


def merge_shards(folder: Path) -> int:
    """Join small shards of one encoder into larger ones; readers and writers may go on meanwhile.

    Returns:
        How many shards were joined.

    Raises:
        StoreError: A shard is damaged.
    """
    joined, batch = 0, list[Path]()
    small = [one for one in list_shards(folder) if _read_size(one) < MERGED_BYTES / 4]
    for shard in small:
        batch.append(shard)
        if shard is small[-1] or sum(map(_read_size, batch)) >= MERGED_BYTES:
            joined += _merge(folder, batch)
            batch = []
    return joined


def _merge(folder: Path, shards: Sequence[Path]) -> int:
    """Write several shards as one, and only then delete them; returns how many there were.

    Raises:
        StoreError: A shard is damaged.
    """
    keys, tables, read = [], [], []
    for shard in shards:
        with open_shard(shard) as file, name_damage(shard):
            if file is not None and read_version(file) == STORE_VERSION:
                keys.append(read_keys(file))
                tables.append(file.read(["steps", "values"]))
                read.append(shard)
    if len(read) < 2:
        return 0
    distinct, first = np.unique(np.concatenate(keys), return_index=True)
    table = pa.concat_tables(tables).take(pa.array(first))
    steps = table["steps"].to_numpy().astype(np.int64)
    flat = np.asarray(pc.list_flatten(table["values"]), dtype=np.float32)
    write_shard(folder, distinct, flat.reshape(int(steps.sum()), -1), steps)
    for shard in read:
        shard.unlink(missing_ok=True)
    return len(read)


def _list_folders(root: Path) -> list[Path]:
    """List the encoders' folders."""
    return sorted(path for path in root.glob("*/") if FINGERPRINT.fullmatch(path.name))


def _list_current(workspace: Workspace) -> set[str]:
    """Name the folders and states that the project's artifacts were made with."""
    made = [_read_json(path) for path in workspace.artifacts.glob("embeddings/*/encoder.json")]
    return {name for one in made for key in ("stored", "states") for name in one.get(key, [])}


def _count_vectors(shard: Path) -> int:
    try:
        return int(pq.read_metadata(shard).num_rows)
    except (pa.ArrowException, OSError):
        return 0


def _name_origin(folder: Path) -> str:
    """Say in a few words what made a folder's vectors."""
    made = read_origin(folder)
    if made is None:
        return "(of an earlier release)"
    shape = f"steps x {made.dim}" if made.sequence else f"dim {made.dim}"
    return f"{made.encoder} v{made.version}, {shape}, {made.precision}"


def _read_json(path: Path) -> dict[str, Any]:
    """Read an `encoder.json`; empty where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _read_time(path: Path) -> float:
    """Give when a file was changed last; 0 where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read_size(path: Path) -> int:
    """Give a file's bytes; 0 where it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
