"""Embedding a table for a benchmark: through the real stage, in a folder that is thrown away."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from measure import share_weights

from mm_assets.contracts.config import Config
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.vectors import Embeddings, read_embeddings
from mm_assets.stages.embed import embed
from mm_assets.stages.project import build_project

ROOT = Path(__file__).parents[1]


def embed_rows(
    raw: pd.DataFrame,
    data: Path,
    config: Config,
    split: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, dict[str, Embeddings]]:
    """Embed every row with the encoders of a configuration.

    An encoder that is only a standardisation is undone by the model's own, which is fitted in each
    fold on its training rows; one that learns more must be fitted per fold instead, with `split`.

    Args:
        raw: The raw table.
        data: The folder that its paths are relative to.
        config: Names columns and encoders.
        split: Of each row; by default all are training rows.

    Returns:
        Rows as `read_augmented` gives them, and vectors by modality.
    """
    share_weights()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.data.symlink_to(data.resolve())
        rows = pd.DataFrame({"id": raw[config.data.id], "copy": 0, "split": "train"})
        if split is not None:
            rows["split"] = list(split)
        rows["group"] = raw[config.data.group]
        rows["render"] = pd.Series([None] * len(raw), dtype="str")
        for key, entry in {**config.modalities, **config.targets}.items():
            rows[key] = raw[entry.column]
        workspace.augmented.mkdir(parents=True)
        rows.to_parquet(workspace.augmented / "samples.parquet")
        project = build_project(config, workspace)
        for key in project.modalities:
            embed(project, key)
        found = {key: read_embeddings(workspace.embeddings(key)) for key in project.modalities}
        # Their files are gone with the folder.
        return rows, {key: replace(one, matrix=np.array(one.matrix)) for key, one in found.items()}
