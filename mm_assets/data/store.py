"""The embedding store: a vector is computed once per content, rendering and encoder.

Layout: `STORE/ENCODER_FINGERPRINT/*.parquet`. A shard is written whole, under a new name, and
never changed, so any number of writers may add at once and a killed one leaves nothing half done.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mm_assets.contracts.errors import DataContractError, StoreError
from mm_assets.data.atomic import atomic_file

STORE_VERSION = "1"


def vector_key(content: str, render: str | None) -> bytes:
    """Key of one vector under its encoder: SHA-256 of the cell's content and its rendering.

    Args:
        content: Hex SHA-256 of the cell's bytes.
        render: The rendering as JSON text, or null for the sample as it is.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(f"{content}\n{render or ''}".encode()).digest()


class VectorStore:
    """Vectors of one encoder, in one state, by key."""

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint

    def find(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Look keys up.

        Args:
            keys: Of `vector_key`.

        Returns:
            float32 vectors of shape (dim,) for the keys that are stored.

        Raises:
            StoreError: A shard is damaged or of another release; names the file.
        """
        wanted = pa.array(sorted(set(keys)), type=pa.binary(32))
        found: dict[bytes, np.ndarray] = {}
        for shard in sorted(self.folder.glob("[!.]*.parquet")):
            try:
                table = pq.read_table(shard, filters=pa.compute.field("key").isin(wanted))
            except (pa.ArrowInvalid, OSError) as error:
                raise StoreError(
                    f"store shard {shard} cannot be read ({error}); delete it and run again: its "
                    "vectors are computed anew"
                ) from None
            version = (table.schema.metadata or {}).get(b"mm_store", b"none").decode()
            if version != STORE_VERSION:
                raise StoreError(
                    f"store shard {shard} has schema version {version}, this release reads "
                    f"{STORE_VERSION}; delete it and run again"
                )
            if table.num_rows:
                matrix = np.stack(table["vector"].to_numpy(zero_copy_only=False))
                found.update(zip(table["key"].to_pylist(), matrix, strict=True))
        return found

    def add(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Append one shard.

        Args:
            keys: One per row.
            vectors: float32 (row, dim).

        Raises:
            DataContractError: As many keys as rows are needed, and float32.
        """
        if vectors.ndim != 2 or len(keys) != len(vectors) or vectors.dtype != np.float32:
            raise DataContractError(
                f"VectorStore.add needs one key per row of a float32 matrix, got {len(keys)} keys "
                f"and {vectors.dtype} {vectors.shape}"
            )
        if not len(keys):
            return
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        table = pa.table(
            {"key": pa.array(list(keys), type=pa.binary(32)), "vector": values}
        ).replace_schema_metadata({"mm_store": STORE_VERSION})
        with atomic_file(self.folder / f"{uuid.uuid4().hex}.parquet") as temporary:
            pq.write_table(table, temporary)
