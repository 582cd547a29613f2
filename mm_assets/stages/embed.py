"""The embed stage: one vector (or sequence) per row that has the modality, bought once.

Cells are named by their content and asked for in the store; what it lacks is computed, and kept in
it as it comes; the out is then written from the store, some megabytes at a time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mm_assets.contracts.config import SPLITS
from mm_assets.contracts.errors import StageError
from mm_assets.contracts.report import StageReport
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.table import COPY, ID, read_augmented
from mm_assets.data.vectors import read_chunks
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.encoding import compute_missing
from mm_assets.embedding.shares import open_shares, write_shares
from mm_assets.embedding.states import Fitted, fit_states
from mm_assets.stages.project import Project
from mm_assets.training.supervision import Supervision
from mm_assets.validation.beside import CheckBeside
from mm_assets.validation.embed import check_embeddings, measure_vectors


def embed(project: Project, key: str) -> StageReport:
    """Write `artifacts/embeddings/KEY/`; see `mm_assets.data.vectors` for what is in it.

    Args:
        project: The project.
        key: The modality.

    Raises:
        StageError: No row has the modality, or a cell that was valid cannot be decoded now.
        ConfigError: The device cannot compute in the encoder's precision.
        TrainingError: The training rows leave an encoder nothing to learn.
        DiskError: The disk has too little room for the vectors.
    """
    workspace = project.workspace
    with CheckBeside() as checking:
        rows = read_augmented(workspace.augmented, splits=SPLITS, columns=[key])
        present = keep_present(rows, key)
        cells = open_cells(project, key, present)
        states = find_states(project, cells)
        shares = open_shares(cells, states, workspace)
        compute_missing(cells, shares, workspace)
        folder = workspace.embeddings(key)
        with atomic_folder(folder) as temporary:
            steps = write_shares(temporary, cells, shares)
        for share in shares:
            share.close()

        made, folds = shares[0].store.origin, len(shares) - 1
        measures = measure_vectors(
            present[[ID, COPY]], lambda: read_chunks(folder, steps), contents=cells.keys
        )
        suite = checking.run(check_embeddings, measures, rows=len(present), dim=made.dim)
    return StageReport(
        stage=f"embed@{key}",
        rows_in=len(rows),
        rows_out=len(present),
        metrics={
            "encoder": made.encoder,
            "dim": made.dim,
            "samples_with_modality": int(present[COPY].eq(0).sum()),
            "copies_with_modality": int(present[COPY].gt(0).sum()),
            "distinct_contents": len(np.unique(cells.keys)),
            **({"folds": folds} if folds else {}),
            **({"steps": int(steps.sum())} if made.sequence else {}),
        },
        suites=(suite,),
    )


def keep_present(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Keep the rows that have a modality, index from 0.

    Raises:
        StageError: None has.
    """
    present = rows[rows[key].notna()].reset_index(drop=True)
    if present.empty:
        raise StageError(
            f"embed@{key}: no row has this modality; check `modalities.{key}.column` in params.yaml"
        )
    return present


def open_cells(project: Project, key: str, present: pd.DataFrame) -> Cells:
    """Read the cells of some rows of `keep_present`.

    Raises:
        StageError: A cell cannot be read any more.
    """
    return Cells(
        key,
        present,
        modality=project.modalities[key],
        encoder=project.encoders[key],
        folder=project.workspace.data,
        compute=project.config.compute,
    )


def find_states(project: Project, cells: Cells) -> list[Fitted]:
    """Fit what is to be fitted on all cells of a modality, or take it from the store; see `fit_states`.

    Raises:
        TrainingError: The training rows leave nothing to learn.
    """
    supervised = project.encoders[cells.name].supervised
    supervision = _read_supervision(project, cells.name) if supervised else None
    return fit_states(cells, project.workspace, supervision=supervision, seed=project.config.seed)


def _read_supervision(project: Project, key: str) -> Supervision:
    """Fit the targets on all training rows, as stage `train` does.

    Returns:
        With the labels of those that have the modality.
    """
    asked = project.config.targets
    rows = read_augmented(project.workspace.augmented, splits=["train"], columns=[key, *asked])
    targets = {
        name: target.fit(rows[name], asked[name], where=name)
        for name, target in project.targets.items()
    }
    present = rows[rows[key].notna()]
    return Supervision(
        targets,
        {name: target.encode(present[name], where=name) for name, target in targets.items()},
        {name: target.weight for name, target in asked.items()},
    )
