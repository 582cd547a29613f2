"""What is trained on decoded rows, and what a trained model needs of the stages before it.

Mostly a model takes the vectors that stage `embed` made. Where encoders were trained along with the
fusion (`train.finetune`), it takes those of its own encoders, which are computed here.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn

from mm_assets.contracts.errors import DataContractError
from mm_assets.data.vectors import Embeddings, read_embeddings
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.disturbed import encode_disturbed
from mm_assets.embedding.encoding import build_network
from mm_assets.embedding.states import fill_spool
from mm_assets.fusion.steps import Steps
from mm_assets.stages.project import Project
from mm_assets.targets.base import Target
from mm_assets.training.examples import Examples, gather_examples
from mm_assets.training.media import Media
from mm_assets.training.model import FusionModel, load_model
from mm_assets.training.optimization import freeze_weights
from mm_assets.training.spool import Spool


def read_vectors(project: Project) -> dict[str, Embeddings]:
    """Read the embed stages' vectors, by modality."""
    return {key: read_embeddings(project.workspace.embeddings(key)) for key in project.modalities}


def gather_rows(
    project: Project,
    rows: pd.DataFrame,
    embeddings: Mapping[str, Embeddings],
    targets: Mapping[str, Target],
) -> Examples:
    """Bring vectors and labels together, and groups where there is a context.

    Raises:
        DataContractError: A vector is not finite; or as `gather_examples`.
    """
    in_groups = project.config.fusion.context is not None
    found = gather_examples(rows, embeddings, targets, in_groups=in_groups)
    for index, (key, given) in enumerate(found.vectors.items()):
        if isinstance(given, Steps):
            sound = (torch.isfinite(given.values).all(dim=2) | ~given.there).all(dim=1)
        else:
            # In pieces: what `isfinite` works with is larger than what it is given.
            pieces = [torch.isfinite(piece).all(dim=1) for piece in torch.split(given, 1024)]
            sound = torch.cat(pieces)
        bad = ~sound & found.presence[:, index]
        if bad.any():
            first = rows.loc[bad.numpy(), "id"].iloc[0]
            raise DataContractError(
                f"modality {key!r} needs finite vectors, but those of {int(bad.sum())} of "
                f"{int(found.presence[:, index].sum())} rows are not, such as of {first!r}; run "
                f"`dvc repro -f embed@{key}` and look at its checks"
            )
    return found


def read_model(project: Project, embeddings: Mapping[str, Embeddings]) -> FusionModel:
    """Read the trained model, with networks for the encoders that it has of its own."""

    def build(key: str) -> nn.Module:
        return build_network(project.encoders[key], embeddings[key].state)

    return load_model(project.workspace.model, build)


def find_network(
    project: Project, model: FusionModel, embeddings: Mapping[str, Embeddings], key: str
) -> nn.Module:
    """Give the network that makes a modality's vectors: a copy of the model's own, or the encoder's.

    It is the caller's to change, as computing with it does.
    """
    if key in model.tuned:
        return copy.deepcopy(model.tuned[key]).eval()
    return build_network(project.encoders[key], embeddings[key].state)


def encode_rows(
    project: Project,
    model: FusionModel,
    embeddings: Mapping[str, Embeddings],
    rows: pd.DataFrame,
) -> dict[str, Embeddings]:
    """Give the vectors that a model takes of some rows.

    Args:
        project: Where the media are.
        model: Of `read_model`.
        embeddings: Of `read_vectors`.
        rows: Of `read_augmented`.

    Raises:
        StageError: A cell that was valid cannot be decoded now.
    """
    own = {
        key: encode_disturbed(
            key,
            rows,
            functools.partial(find_network, project, model, embeddings, key),
            levels=[0.0],
            seed=0,
            modality=project.modalities[key],
            encoder=project.encoders[key],
            folder=project.workspace.data,
            compute=project.config.compute,
        )[0.0]
        for key in model.tuned
    }
    return {key: own.get(key, found) for key, found in embeddings.items()}


@contextlib.contextmanager
def open_media(project: Project, rows: pd.DataFrame) -> Iterator[dict[str, Media]]:
    """Decode the rows of modalities whose encoders are trained along, into files.

    Args:
        project: Names them in `train.finetune`.
        rows: Of `read_augmented`, index from 0.

    Yields:
        By modality; gone with the block.

    Raises:
        StageError: A cell that was valid cannot be decoded now.
        DiskError: The disk has too little room for decoded rows.
    """
    with contextlib.ExitStack() as stack:
        found = {}
        for key in project.config.train.finetune:
            there = rows[key].notna().to_numpy()
            cells = Cells(
                key,
                rows[there].reset_index(drop=True),
                modality=project.modalities[key],
                encoder=project.encoders[key],
                folder=project.workspace.data,
                compute=project.config.compute,
            )
            spool = stack.enter_context(Spool(project.workspace.spool))
            fill_spool(spool, cells, np.arange(len(cells)), project.workspace)
            places = np.full(len(rows), -1)
            places[there] = np.arange(len(cells))
            found[key] = Media(spool, torch.from_numpy(places))
        yield found


def build_tuned(project: Project, embeddings: Mapping[str, Embeddings]) -> dict[str, nn.Module]:
    """Build the networks that are trained along, with their published weights.

    Raises:
        ConfigError: `train.finetune` freezes weights that an encoder does not have, or all of them.
    """
    found = {}
    for key, asked in project.config.train.finetune.items():
        found[key] = build_network(project.encoders[key], embeddings[key].state)
        freeze_weights(found[key], asked, key)
    return found
