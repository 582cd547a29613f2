"""`artifacts/embeddings/MODALITY/`: what the embed stage writes and later stages read.

`rows.parquet` (``id``, ``copy``, ``start``, ``steps``), `vectors.npy` (float32 (steps of all rows,
dim), memory-mapped by readers), `encoder.json` and, where fitted, `state.safetensors`. A row's
vectors are those from ``start`` on, ``steps`` of them: one, unless the encoder gives a sequence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from mm_assets.contracts.errors import DataContractError, StageError
from mm_assets.data.atomic import write_json
from mm_assets.data.table import COPY, ID

if TYPE_CHECKING:
    import pandas as pd


EMBEDDINGS_VERSION = 2
MATRIX = "vectors.npy"
CHUNK_BYTES = 8_000_000  # of vectors that are read at a time


@dataclass(frozen=True)
class Embeddings:
    """One modality's vectors, for the rows that have the modality.

    Attributes:
        ids: Sample ids, (row,).
        copies: 0 for the sample itself, 1.. for its renderings, (row,).
        matrix: float32 (step, dim): the rows' vectors, one row after the other.
        encoder: As in `encoder.json`: name, version, fingerprint, dim and others.
        state: The encoder's fitted state; empty where it has none.
        steps: How many vectors each row has, (row,); by default one.
    """

    ids: np.ndarray
    copies: np.ndarray
    matrix: np.ndarray
    encoder: dict[str, Any]
    state: dict[str, np.ndarray]
    steps: np.ndarray | None = None

    @property
    def lengths(self) -> Int64[np.ndarray, " row"]:
        """How many vectors each row has."""
        return np.ones(len(self.ids), np.int64) if self.steps is None else self.steps


class MatrixFile:
    """`vectors.npy` while it is written, in any order and without holding it in memory."""

    def __init__(self, folder: Path, steps: int, dim: int) -> None:
        self.dim = dim
        self.file = (folder / MATRIX).open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": (steps, dim)}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.file.flush()
        self.start_bytes = self.file.tell()
        os.truncate(self.file.fileno(), self.start_bytes + 4 * steps * dim)

    def put(self, start: int, vectors: Float32[np.ndarray, "step dim"]) -> None:
        """Write vectors from a step on."""
        data = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
        os.pwrite(self.file.fileno(), data, self.start_bytes + 4 * start * self.dim)

    def __enter__(self) -> MatrixFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def write_rows(
    folder: Path,
    ids: Shaped[np.ndarray, " row"],
    copies: Shaped[np.ndarray, " row"],
    steps: Int64[np.ndarray, " row"],
    encoder: dict[str, Any],
    state: dict[str, np.ndarray],
) -> None:
    """Write all but the matrix; see `Embeddings` for what is given."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    table = {
        ID: pa.array(ids, pa.string()),
        COPY: pa.array(copies, pa.int64()),
        "start": pa.array(np.cumsum(steps) - steps),
        "steps": pa.array(steps),
    }
    pq.write_table(pa.table(table), folder / "rows.parquet")
    write_json(folder / "encoder.json", {"schema_version": EMBEDDINGS_VERSION, **encoder})
    if state:
        save_file(state, folder / "state.safetensors")


def write_embeddings(folder: Path, embeddings: Embeddings) -> None:
    """Write vectors that are in memory."""
    with MatrixFile(folder, *embeddings.matrix.shape) as file:
        file.put(0, embeddings.matrix)
    write_rows(
        folder,
        embeddings.ids,
        embeddings.copies,
        embeddings.lengths,
        embeddings.encoder,
        embeddings.state,
    )


def read_embeddings(folder: Path) -> Embeddings:
    """Read what was written; the matrix is memory-mapped, and loaded where it is looked at.

    Raises:
        StageError: Nothing was written, or by a release with another schema; names the stage.
    """
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    if not (folder / "encoder.json").is_file():
        raise StageError(
            f"no embeddings of {folder.name!r} in {folder.parent}; run `dvc repro embed@{folder.name}`"
            " (in the web UI press *Reload definitions* first: params.yaml has changed)"
        )
    encoder = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    version = encoder.pop("schema_version", None)
    if version != EMBEDDINGS_VERSION:
        raise StageError(
            f"the embeddings in {folder} have schema version {version}, this release reads "
            f"{EMBEDDINGS_VERSION}; make them again with `dvc repro -f embed@{folder.name}` (vectors "
            "come from the store)"
        )
    table = pq.read_table(folder / "rows.parquet")
    state = folder / "state.safetensors"
    return Embeddings(
        ids=table[ID].to_numpy(zero_copy_only=False),
        copies=table[COPY].to_numpy(),
        matrix=np.load(folder / MATRIX, mmap_mode="r"),
        encoder=encoder,
        state=load_file(state) if state.exists() else {},
        steps=table["steps"].to_numpy(),
    )


def read_chunks(
    folder: Path, steps: Int64[np.ndarray, " row"]
) -> Iterator[tuple[Float32[np.ndarray, "step dim"], Int64[np.ndarray, " chosen"]]]:
    """Read the matrix from its begin to its end, whole rows, some megabytes at a time.

    It is read, not mapped: a mapped page counts as the process's memory as long as there is enough.

    Args:
        folder: Holds `vectors.npy`.
        steps: How many vectors each row has.

    Yields:
        Vectors of some rows, one row after the other, and their steps.
    """
    with (folder / MATRIX).open("rb") as file:
        np.lib.format.read_magic(file)
        (_, dim), _, dtype = np.lib.format.read_array_header_1_0(file)
        piece = np.cumsum(steps) * 4 * dim // CHUNK_BYTES
        bounds = [0, *(np.flatnonzero(np.diff(piece)) + 1), len(steps)]
        for begin, end in pairwise(bounds):
            chosen = steps[begin:end]
            flat = np.fromfile(file, dtype, count=int(chosen.sum()) * dim)
            yield flat.reshape(-1, dim), chosen


def align_vectors(embeddings: Embeddings, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Put vectors in the order of the rows of `augmented/samples.parquet`.

    Args:
        embeddings: One modality's vectors, one a row.
        rows: A frame with columns ``id`` and ``copy``.

    Returns:
        float32 (row, dim) with zeros where absent, and bool (row,) telling which are present. The
        zeros are selected out by the fusion's presence mask, never computed with.

    Raises:
        DataContractError: Two rows carry the same id and copy, or the encoder gave sequences.
    """
    if embeddings.encoder.get("sequence"):
        raise DataContractError(
            "align_vectors needs one vector a row, got sequences of encoder "
            f"{embeddings.encoder.get('name')}; use align_sequences, or leave `sequence` out of the "
            "encoder in params.yaml"
        )
    places = _find_rows(embeddings, rows)
    present = places >= 0
    aligned = np.zeros((len(rows), embeddings.matrix.shape[1]), dtype=np.float32)
    some = max(1, CHUNK_BYTES // max(1, aligned[:1].nbytes))
    for chosen in np.split(np.flatnonzero(present), np.arange(some, present.sum(), some)):
        aligned[chosen] = _map_anew(embeddings.matrix)[places[chosen]]
    return aligned, present


def _map_anew(matrix: np.ndarray) -> np.ndarray:
    """Map a file once more: pages count as the process's memory until the map that read them goes."""
    file = getattr(matrix, "filename", None)  # of a file that is mapped
    return matrix if file is None else np.load(file, mmap_mode="r")


def align_sequences(
    embeddings: Embeddings, rows: pd.DataFrame
) -> tuple[Float32[np.ndarray, "row steps dim"], Bool[np.ndarray, "row steps"]]:
    """Put sequences in the order of the rows of `augmented/samples.parquet`.

    Args:
        embeddings: One modality's vectors; one a row is a sequence of one step.
        rows: A frame with columns ``id`` and ``copy``.

    Returns:
        float32 (row, steps, dim), zeros after a sequence's end, and bool (row, steps), false there;
        of a row without the modality it is false throughout. ``steps`` is that of the longest.

    Raises:
        DataContractError: Two rows carry the same id and copy.
    """
    places, lengths = _find_rows(embeddings, rows), embeddings.lengths
    starts = np.cumsum(lengths) - lengths
    taken = np.where(places >= 0, lengths[places], 0)
    mask = np.arange(taken.max(initial=1)) < taken[:, None]  # (row, steps)
    aligned = np.zeros((*mask.shape, embeddings.matrix.shape[1]), dtype=np.float32)
    for row in np.flatnonzero(places >= 0):
        start = starts[places[row]]
        aligned[row, : taken[row]] = embeddings.matrix[start : start + taken[row]]
    return aligned, mask


def _find_rows(embeddings: Embeddings, rows: pd.DataFrame) -> Int64[np.ndarray, " row"]:
    """Give each row's place among the embeddings, -1 where it has none.

    Raises:
        DataContractError: Two rows of the embeddings carry the same id and copy.
    """
    import pandas as pd

    index = pd.MultiIndex.from_arrays([embeddings.ids, embeddings.copies])
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise DataContractError(f"embeddings hold two vectors for id {twice[0]!r}, copy {twice[1]}")
    found = index.get_indexer(pd.MultiIndex.from_arrays([rows[ID], rows[COPY]]))
    return np.asarray(found, dtype=np.int64)
