"""`artifacts/embeddings/MODALITY/`: what the embed stage writes and later stages read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_assets.contracts.errors import DataContractError, StageError
from mm_assets.data.atomic import write_json
from mm_assets.data.table import COPY, ID

if TYPE_CHECKING:
    import pandas as pd


EMBEDDINGS_VERSION = 1


@dataclass(frozen=True)
class Embeddings:
    """One modality's vectors, for the rows that have the modality.

    Attributes:
        ids: Sample ids, (row,).
        copies: 0 for the sample itself, 1.. for its renderings, (row,).
        matrix: float32 (row, dim).
        encoder: Name, version, fingerprint and dim, as in `encoder.json`.
        state: The encoder's fitted state; empty where it has none.
    """

    ids: np.ndarray
    copies: np.ndarray
    matrix: np.ndarray
    encoder: dict[str, Any]
    state: dict[str, np.ndarray]


def write_embeddings(folder: Path, embeddings: Embeddings) -> None:
    """Write `vectors.parquet`, `encoder.json` and, where fitted, `state.safetensors`."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    matrix = embeddings.matrix
    values = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
    table = pa.table(
        {
            ID: pa.array(embeddings.ids, pa.string()),
            COPY: pa.array(embeddings.copies, pa.int64()),
            "vector": values,
        }
    )
    pq.write_table(table, folder / "vectors.parquet")
    described = {"schema_version": EMBEDDINGS_VERSION, **embeddings.encoder}
    write_json(folder / "encoder.json", described)
    if embeddings.state:
        save_file(embeddings.state, folder / "state.safetensors")


def read_embeddings(folder: Path) -> Embeddings:
    """Read what `write_embeddings` wrote.

    Raises:
        StageError: Nothing was written, or by a release with another schema; names the stage.
    """
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    if not (folder / "vectors.parquet").is_file():
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
    table = pq.read_table(folder / "vectors.parquet")
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    state = folder / "state.safetensors"
    return Embeddings(
        ids=table[ID].to_numpy(zero_copy_only=False),
        copies=table[COPY].to_numpy(),
        matrix=np.asarray(flat, dtype=np.float32).reshape(table.num_rows, encoder["dim"]),
        encoder=encoder,
        state=load_file(state) if state.exists() else {},
    )


def align_vectors(embeddings: Embeddings, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Put vectors in the order of the rows of `augmented/samples.parquet`.

    Args:
        embeddings: One modality's vectors.
        rows: A frame with columns ``id`` and ``copy``.

    Returns:
        float32 (row, dim) with zeros where absent, and bool (row,) telling which are present. The
        zeros are selected out by the fusion's presence mask, never computed with.

    Raises:
        DataContractError: Two vectors carry the same id and copy.
    """
    import pandas as pd

    index = pd.MultiIndex.from_arrays([embeddings.ids, embeddings.copies])
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise DataContractError(f"embeddings hold two vectors for id {twice[0]!r}, copy {twice[1]}")
    places = index.get_indexer(pd.MultiIndex.from_arrays([rows[ID], rows[COPY]]))
    present = places >= 0
    aligned = np.zeros((len(rows), embeddings.matrix.shape[1]), dtype=np.float32)
    aligned[present] = embeddings.matrix[places[present]]
    return aligned, present
