"""An incoming batch as the pipeline would see it: its valid rows, and their vectors."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mm_assets.contracts.errors import DataContractError, StageError
from mm_assets.data.table import COPY, GROUP, ID, RENDER, SPLIT
from mm_assets.data.vectors import Embeddings, read_embeddings
from mm_assets.drift.ingestion import read_batch
from mm_assets.stages.project import Project, build_project
from mm_assets.stages.validate import judge_rows
from mm_assets.validation.rows import drop_found, read_ids

INCOMING = "incoming"  # the split of a batch's rows


@dataclass(frozen=True)
class Batch:
    """A batch's rows, validated.

    Attributes:
        project: The project, over the batch's folder in the place of `data/`.
        samples: Valid rows; columns as `read_augmented` gives them, index from 0.
        findings: Of all rows.
        rows_in: Of its table.
    """

    project: Project
    samples: pd.DataFrame
    findings: pd.DataFrame
    rows_in: int


def validate_batch(project: Project, folder: Path) -> Batch:
    """Sort a batch's rows as stage `validate` would: by the same rules, in the same code.

    Args:
        project: Of the pipeline.
        folder: The batch's.

    Raises:
        SourceError: Its table cannot be read, or lacks a column.
    """
    config = project.config
    raw = read_batch(folder, config)
    own = build_project(config, replace(project.workspace, data_folder=folder))
    named, _, findings = judge_rows(own, raw, read_ids(raw, config))
    samples = drop_found(named, findings).reset_index(drop=True)
    samples[COPY], samples[SPLIT], samples[RENDER] = 0, INCOMING, None
    return Batch(own, samples, findings, len(raw))


def embed_batch(batch: Batch, key: str, made: Embeddings) -> Embeddings:
    """Compute what the store lacks of a batch's vectors, by the encoder as it was fitted.

    Args:
        batch: Of `validate_batch`.
        key: The modality.
        made: The embed stage's out, whose state makes the vectors.

    Returns:
        In memory; without any row where the batch does not have the modality.

    Raises:
        StageError: `params.yaml` has another encoder than made those vectors.
        DataContractError: A vector is not finite.
    """
    from mm_assets.embedding.cells import Cells
    from mm_assets.embedding.encoding import compute_missing
    from mm_assets.embedding.shares import open_shares, write_shares
    from mm_assets.embedding.states import Fitted

    project = batch.project
    modality, encoder = project.modalities[key], project.encoders[key]
    _require_same_encoder(project, key, made)
    rows = batch.samples
    present = rows.loc[rows[key].notna(), [ID, COPY, SPLIT, GROUP, RENDER, key]]
    if present.empty:
        nothing = np.empty(0, dtype=object)
        matrix = np.empty((0, made.matrix.shape[1]), np.float32)
        return replace(made, ids=nothing, copies=np.empty(0, np.int64), matrix=matrix, steps=None)
    cells = Cells(
        key,
        present.reset_index(drop=True),
        modality=modality,
        encoder=encoder,
        folder=project.workspace.data,
        compute=project.config.compute,
    )
    fitted = Fitted(made.state, np.arange(len(cells)), "")
    shares = open_shares(cells, [fitted], project.workspace)
    compute_missing(cells, shares, project.workspace)
    project.workspace.drift.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vectors-", dir=project.workspace.drift) as folder:
        write_shares(Path(folder), cells, shares)
        found = read_embeddings(Path(folder))
        found = replace(found, matrix=np.array(found.matrix))
    for share in shares:
        share.close()
    finite = np.logical_and.reduceat(
        np.isfinite(found.matrix).all(axis=1), np.cumsum(found.lengths) - found.lengths
    )
    if not finite.all():
        raise DataContractError(
            f"batch {project.workspace.data.name!r}: {key!r} needs finite vectors, but those of "
            f"{int((~finite).sum())} of {len(finite)} rows are not, such as of "
            f"{found.ids[~finite][0]!r}; look at that row, and take it out of the batch"
        )
    return found


def _require_same_encoder(project: Project, key: str, made: Embeddings) -> None:
    """Require that the encoder of `params.yaml` is the one that the model knows.

    Raises:
        StageError: It is another, or has other options or weights.
    """
    now = project.encoders[key].fingerprint(
        made.state, preprocessing=project.modalities[key].preprocessing()
    )
    if now != made.encoder["fingerprint"]:
        raise StageError(
            f"a batch is compared by the encoders that the current model was trained with, but "
            f"`modalities.{key}` of params.yaml has changed since (encoder {made.encoder['name']!r} "
            "made the vectors); run `dvc repro`, or `retrain` where that made the model, or take the "
            "change back"
        )
