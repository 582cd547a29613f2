"""The embedding store: a vector is computed once per content, rendering and encoder.

Layout: `STORE/ENCODER_FINGERPRINT/*.parquet`, beside it `encoder.json` (what made the vectors) and
`used` (its time says when they were last asked for); `STORE/states/DIGEST.safetensors` holds fitted
states. A shard is written whole, under a new name, and never changed, so any number of writers may
add at once and a killed one leaves nothing half done. A shard of another schema version is passed
over: its vectors are computed anew, and `mm store verify` names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64, Shaped

from mm_assets.contracts.errors import DataContractError, StoreError
from mm_assets.data.atomic import atomic_file, write_json

STORE_VERSION = "2"
GROUP_BYTES = 16_000_000  # of vectors read at a time

Keys = Shaped[np.ndarray, " key"]  # of dtype S32; an element loses zero bytes at its end


def vector_key(content: str, render: str | None) -> bytes:
    """Key of one vector under its encoder: SHA-256 of the cell's content and its rendering.

    Args:
        content: Hex SHA-256 of the cell's bytes.
        render: The rendering as JSON text, or null for the sample as it is.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(f"{content}\n{render or ''}".encode()).digest()


@dataclass(frozen=True)
class Origin:
    """What made the vectors of one folder.

    Attributes:
        encoder: Its name.
        version: Its version.
        dim: Length of a vector.
        sequence: Whether it gives several vectors a cell.
        precision: In which numbers it computed.
    """

    encoder: str
    version: int
    dim: int
    sequence: bool = False
    precision: str = "float32"


def read_origin(folder: Path) -> Origin | None:
    """Read what made the vectors of a folder; null where there are none of this release."""
    try:
        made = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        return Origin(**{field.name: made[field.name] for field in fields(Origin)})
    except (OSError, ValueError, KeyError):
        return None


class VectorStore:
    """Vectors (or sequences of them) of one encoder, in one state, by key."""

    def __init__(self, root: Path, fingerprint: str, origin: Origin) -> None:
        self.folder = root / fingerprint
        self.origin = origin

    def find(self, keys: Keys) -> Int64[np.ndarray, " key"]:
        """Look keys up without loading a vector.

        Args:
            keys: Of `vector_key`, each once.

        Returns:
            The number of steps (1 of a vector) of those that are stored, 0 of the others.

        Raises:
            StoreError: A shard is damaged; names the file.
        """
        _touch(self.folder / "used")
        steps = np.zeros(len(keys), np.int64)
        order = np.argsort(keys)
        for file, shard in self.open_shards():
            places, rows = _match(keys, order, read_keys(file))
            if len(places):
                with name_damage(shard):
                    steps[places] = file.read(["steps"])["steps"].to_numpy()[rows]
        return steps

    def read(
        self, keys: Keys
    ) -> Iterator[
        tuple[
            Int64[np.ndarray, " found"],
            Int64[np.ndarray, " found"],
            Float32[np.ndarray, "step dim"],
        ]
    ]:
        """Read vectors in the order in which they are stored, some megabytes at a time.

        Args:
            keys: Of `vector_key`, each once.

        Yields:
            Places among the keys (each once in all), their steps, and their vectors one after the
            other, float32 (steps of all, dim).

        Raises:
            StoreError: A shard is damaged or holds vectors of another length; names the file.
        """
        order, waiting = np.argsort(keys), np.ones(len(keys), bool)
        for file, shard in self.open_shards():
            places, rows = _match(keys, order, read_keys(file))
            fresh = waiting[places]
            # A shard that was written twice at once may hold a key twice.
            places, first = np.unique(places[fresh], return_index=True)
            rows = rows[fresh][first]
            waiting[places] = False
            start = 0
            for group in range(file.num_row_groups if len(places) else 0):
                end = start + file.metadata.row_group(group).num_rows
                inside = (start <= rows) & (rows < end)
                if inside.any():
                    with name_damage(shard):
                        table = file.read_row_group(group, ["steps", "values"])
                    yield places[inside], *self._take(table, rows[inside] - start, shard)
                start = end

    def _take(
        self, table: pa.Table, rows: Int64[np.ndarray, " found"], shard: Path
    ) -> tuple[Int64[np.ndarray, " found"], Float32[np.ndarray, "step dim"]]:
        """Take rows out of a table of a shard.

        Raises:
            StoreError: Their vectors have another length than the encoder states.
        """
        chosen = table.take(pa.array(rows))
        steps = chosen["steps"].to_numpy().astype(np.int64)
        flat = np.asarray(chosen["values"].combine_chunks().flatten(), dtype=np.float32)
        if flat.size != steps.sum() * self.origin.dim:
            raise StoreError(
                f"store shard {shard} holds vectors of another length than the {self.origin.dim} of "
                f"encoder {self.origin.encoder}; raise `version` in its file if what it computes has "
                "changed, else delete the shard and run again"
            )
        return steps, flat.reshape(-1, self.origin.dim)

    def add(
        self,
        keys: Keys,
        vectors: Shaped[np.ndarray, ...],
        steps: Int64[np.ndarray, " key"] | None = None,
    ) -> None:
        """Append one shard.

        Args:
            keys: One per vector or sequence.
            vectors: float32 (steps of all keys, dim), one sequence after the other.
            steps: How many each key has; by default one.

        Raises:
            DataContractError: Numbers of keys and steps, the length or the type do not fit.
        """
        steps = np.ones(len(keys), np.int64) if steps is None else steps
        shape = (int(steps.sum()), self.origin.dim)
        if vectors.shape != shape or len(keys) != len(steps) or vectors.dtype != np.float32:
            raise DataContractError(
                f"VectorStore.add needs float32 {shape} for {len(keys)} keys with {shape[0]} steps, "
                f"got {vectors.dtype} {vectors.shape}; encoder {self.origin.encoder} must give "
                "vectors of the length that its `dim` states"
            )
        if not len(keys):
            return
        if not (self.folder / "encoder.json").exists():
            made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            described = {"schema_version": STORE_VERSION, "made": made, **asdict(self.origin)}
            write_json(self.folder / "encoder.json", described)
        write_shard(self.folder, keys, vectors, steps)

    def open_shards(self) -> Iterator[tuple[pq.ParquetFile, Path]]:
        """Open every shard, also those that appear while others are read."""
        for shard in list_shards(self.folder):
            with open_shard(shard) as file:
                if file is not None and read_version(file) == STORE_VERSION:
                    yield file, shard


def write_shard(
    folder: Path,
    keys: Keys,
    vectors: Float32[np.ndarray, "step dim"],
    steps: Int64[np.ndarray, " key"],
) -> None:
    """Write one file, in groups of rows that are read one at a time."""
    dim = vectors.shape[1]
    # Whole rows, dense: an S32 array's own bytes, zeros at their end among them.
    buffer = pa.py_buffer(np.ascontiguousarray(keys, dtype="S32").tobytes())
    offsets = np.concatenate([[0], np.cumsum(steps)]) * dim
    values = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))
    table = pa.table(
        {
            "key": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(keys), [None, buffer]),
            "steps": pa.array(steps.astype(np.int32)),
            "values": values,
        }
    ).replace_schema_metadata({"mm_store": STORE_VERSION})
    rows = max(1, GROUP_BYTES // max(1, vectors.nbytes // len(keys)))
    with atomic_file(folder / f"{uuid.uuid4().hex}.parquet") as temporary:
        # Neither dictionaries nor compression make float32 of a network smaller; sums of each page
        # let `mm store verify` see a flipped bit.
        pq.write_table(
            table,
            temporary,
            row_group_size=rows,
            use_dictionary=False,
            compression="none",
            write_statistics=False,
            write_page_checksum=True,
        )


def list_shards(folder: Path) -> Iterator[Path]:
    """List shards by name until no new one appears; merging replaces several by a new one."""
    seen: set[Path] = set()
    while fresh := sorted(set(folder.glob("[!.]*.parquet")) - seen):
        seen.update(fresh)
        yield from fresh


@contextlib.contextmanager
def open_shard(shard: Path) -> Iterator[pq.ParquetFile | None]:
    """Open a shard; gives null where it was merged or pruned since it was listed.

    Raises:
        StoreError: It is no Parquet file.
    """
    try:
        with name_damage(shard):
            file = pq.ParquetFile(shard)
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


@contextlib.contextmanager
def name_damage(shard: Path) -> Iterator[None]:
    """Name the shard that cannot be read.

    Raises:
        StoreError: It is damaged.
        FileNotFoundError: It is gone, which is no damage.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"store shard {shard} cannot be read ({error}); run `mm store verify --set-aside` and "
            "then this again: its vectors are computed anew"
        ) from None


def read_version(file: pq.ParquetFile) -> str:
    """Give a shard's schema version."""
    metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
    return metadata.get(b"mm_store", b"none").decode()


def read_keys(file: pq.ParquetFile) -> Keys:
    """Read all keys of a shard, dtype S32."""
    column = pa.concat_arrays(file.read(["key"])["key"].chunks)
    held = np.frombuffer(column.buffers()[1], dtype="S32")
    return held[column.offset : column.offset + len(column)]


def _match(
    keys: Keys, order: Int64[np.ndarray, " key"], stored: Shaped[np.ndarray, " stored"]
) -> tuple[Int64[np.ndarray, " found"], Int64[np.ndarray, " found"]]:
    """Give which keys are stored: places among `keys` (sorted by `order`) and among `stored`."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    at = np.searchsorted(keys, stored, sorter=order).clip(max=len(keys) - 1)
    places = order[at]
    rows = np.flatnonzero(keys[places] == stored)
    return places[rows], rows


def _touch(path: Path) -> None:
    """Set a file's time to now; a store that this user must not write to is used all the same."""
    with contextlib.suppress(OSError):
        path.touch()


# Fitted states.


def find_state(root: Path, digest: str) -> dict[str, np.ndarray] | None:
    """Give a fitted state that was kept, or null.

    Args:
        root: The store.
        digest: Of all that decides it.

    Raises:
        StoreError: Its file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = root / "states" / f"{digest}.safetensors"
    try:
        state: dict[str, np.ndarray] = load_file(path)
    except FileNotFoundError:
        return None
    except SafetensorError as error:
        raise StoreError(
            f"fitted state {path} cannot be read ({error}); delete it and run again: it is fitted "
            "anew"
        ) from None
    _touch(path)
    return state


def keep_state(root: Path, digest: str, state: dict[str, np.ndarray]) -> None:
    """Keep a fitted state for `find_state`."""
    from safetensors.numpy import save_file

    with atomic_file(root / "states" / f"{digest}.safetensors") as temporary:
        save_file(state, temporary)
