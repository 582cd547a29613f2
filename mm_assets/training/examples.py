"""Rows as tensors: vectors of every modality, which of them are present, and encoded labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from mm_assets.contracts.errors import DataContractError
from mm_assets.data.vectors import Embeddings, align_sequences, align_vectors
from mm_assets.fusion.steps import Steps
from mm_assets.targets.base import Target
from mm_assets.training.media import Media


@dataclass(frozen=True)
class Examples:
    """Rows in memory.

    Attributes:
        vectors: float32 (row, dim), or `Steps`, by modality; rows without the modality may hold anything.
        presence: bool (row, modality), in the order of `vectors`.
        labels: (row, ...) by target, as `Target.encode` gives them.
        groups: Rows with the same number are read in each other's light, in their order; null where
            each is read alone.
        media: By modality whose encoder is trained along; its `vectors` are those of the encoder
            as it was before.
    """

    vectors: dict[str, Tensor | Steps]
    presence: Bool[Tensor, "row modality"]
    labels: dict[str, Tensor]
    groups: Int[Tensor, " row"] | None = None
    media: dict[str, Media] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.presence)

    def take(self, rows: Shaped[Tensor, " chosen"]) -> Examples:
        """Choose rows by their numbers or by a mask."""
        return Examples(
            {name: matrix[rows] for name, matrix in self.vectors.items()},
            self.presence[rows],
            {name: labels[rows] for name, labels in self.labels.items()},
            None if self.groups is None else self.groups[rows],
            {name: media[rows] for name, media in self.media.items()},
        )

    def having(self, *names: str) -> Bool[Tensor, " row"]:
        """Tell which rows have every named modality."""
        named = torch.tensor([name in names for name in self.vectors])
        return self.presence[:, named].all(dim=1)

    def offer(self, *names: str) -> Examples:
        """Keep the rows that have every named modality, and hide their other modalities."""
        shown = torch.tensor([name in names for name in self.vectors])
        chosen = self.take(self.having(*names))
        return replace(chosen, presence=shown.expand(len(chosen), -1))

    def only(self, *names: str) -> Examples:
        """Keep the named modalities, and the rows that have at least one of them."""
        kept = torch.tensor([name in names for name in self.vectors])
        chosen = self.take(self.presence[:, kept].any(dim=1))
        return replace(
            chosen,
            vectors={name: found for name, found in chosen.vectors.items() if name in names},
            presence=chosen.presence[:, kept],
            media={name: media for name, media in chosen.media.items() if name in names},
        )

    def to(self, device: torch.device) -> Examples:
        """Move everything to a device but `media`, which go there as they are read."""
        return Examples(
            {name: matrix.to(device) for name, matrix in self.vectors.items()},
            self.presence.to(device),
            {name: labels.to(device) for name, labels in self.labels.items()},
            None if self.groups is None else self.groups.to(device),
            self.media,
        )


def gather_examples(
    rows: pd.DataFrame,
    embeddings: Mapping[str, Embeddings],
    targets: Mapping[str, Target],
    *,
    in_groups: bool = False,
) -> Examples:
    """Bring vectors and labels together, in the order of the rows.

    Args:
        rows: Of `read_augmented`.
        embeddings: By modality, in the model's order.
        targets: By name, which is also the label's column.
        in_groups: Whether rows of a group are read in each other's light, each copy among the
            copies of its kind.

    Raises:
        DataContractError: A row has no vector of any modality, or a label is not a class.
    """
    vectors, presence = gather_vectors(rows, embeddings)
    if not presence.any(dim=1).all():
        bare = rows.loc[~presence.any(dim=1).numpy(), "id"].iloc[0]
        raise DataContractError(
            f"every row needs a vector of at least one modality ({', '.join(vectors)}), but row "
            f"{bare!r} has none; run the embed stages again: `dvc repro`"
        )
    return Examples(
        vectors,
        presence,
        {
            name: torch.tensor(target.encode(rows[name], where=name))
            for name, target in targets.items()
        },
        number_groups(rows) if in_groups else None,
    )


def number_groups(rows: pd.DataFrame) -> Int[Tensor, " row"]:
    """Number the groups, those of copies apart; a row without a group has a number of its own."""
    group = ("group " + rows["group"].astype("str")).where(
        rows["group"].notna(), "row " + rows["id"].astype("str")
    )
    return torch.tensor(rows.groupby([group, rows["copy"]], sort=False).ngroup().to_numpy())


def gather_vectors(
    rows: pd.DataFrame, embeddings: Mapping[str, Embeddings]
) -> tuple[dict[str, Tensor | Steps], Bool[Tensor, "row modality"]]:
    """Bring vectors or sequences together, in the order of the rows.

    Args:
        rows: Columns ``id`` and ``copy``.
        embeddings: By modality, in the model's order.

    Returns:
        What `Examples` holds: `vectors` and `presence`.
    """
    vectors: dict[str, Tensor | Steps] = {}
    presence = []
    for name, found in embeddings.items():
        if found.encoder.get("sequence"):
            sequences, there = map(torch.from_numpy, align_sequences(found, rows))
            vectors[name] = Steps(sequences, there)
            presence.append(there.any(dim=1))
        else:
            matrix, present = align_vectors(found, rows)
            vectors[name] = torch.from_numpy(matrix)
            presence.append(torch.from_numpy(present))
    return vectors, torch.stack(presence, dim=1)
