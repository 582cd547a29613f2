"""Rows of one modality as an encoder's network takes them, read when a batch needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from mm_assets.fusion.steps import Steps
from mm_assets.training.spool import Spool

TOGETHER = 16  # rows of like size that a network computes at once: less padding

Network = Callable[..., Tensor | tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Media:
    """Decoded, collated rows of a modality whose encoder is trained along with the fusion.

    Attributes:
        spool: Holds the rows that have the modality.
        places: Of each row in it; -1 where the row lacks the modality.
    """

    spool: Spool
    places: Int[Tensor, " row"]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Shaped[Tensor, " chosen"]) -> Media:
        """Choose rows by their numbers or by a mask."""
        return Media(self.spool, self.places[rows])

    def encode(self, network: Network, dim: int, device: torch.device | None) -> Tensor | Steps:
        """Read all rows and encode them.

        Args:
            network: Of `Encoder.network` or `Encoder.sequence_network`.
            dim: Width of its vectors.
            device: Where it is.

        Returns:
            float32 (row, dim), or sequences; 0 where a row lacks the modality.
        """
        rows = (self.places >= 0).nonzero()[:, 0]
        if not len(rows):
            return torch.zeros(len(self), dim, device=device)
        sizes = torch.from_numpy(self.spool.measure(self.places[rows].tolist()))
        rows = rows[sizes.argsort(stable=True)]
        parts = []
        for chosen in torch.split(rows, TOGETHER):
            arrays = self.spool.take(self.places[chosen].tolist())
            found = network(*(torch.from_numpy(a).to(device) for a in arrays.values()))
            parts.append(found if isinstance(found, tuple) else (found,))
        columns = zip(*parts, strict=True)
        values, *mask = (_spread(column, rows.to(device), len(self)) for column in columns)
        return Steps(values, *mask) if mask else values


def _spread(
    parts: Sequence[Tensor], rows: Int[Tensor, " present"], count: int
) -> Shaped[Tensor, "row ..."]:
    """Put present rows into their places among all; the others, and padding, are 0 or false."""
    longest = max(part.shape[1] for part in parts)
    padded = [
        F.pad(part, [0, 0] * (part.ndim - 2) + [0, longest - part.shape[1]])
        if part.shape[1] < longest
        else part
        for part in parts
    ]
    found = torch.cat(padded)
    return found.new_zeros(count, *found.shape[1:]).index_copy(0, rows, found)
