"""Vectors of hashed words."""

from __future__ import annotations

import torch
from jaxtyping import Int, Int32
from torch import Tensor, nn

PADDING, UNKNOWN, MASKED = range(3)  # rows of the table; those of known words follow
KNOWN = 3


class Words(nn.Module):
    """A vector per known word, and one for all others.

    Args:
        lookup: Each hash's row of the table.
        dim: Width of a vector.
        dropout: Share of words that are seen as unknown while it is fitted.
    """

    lookup: Tensor

    def __init__(self, lookup: Int32[Tensor, " hash"], *, dim: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("lookup", lookup, persistent=False)  # it is among the constants
        self.dim, self.dropout = dim, dropout
        self.table = nn.Embedding(max(int(lookup.max()) + 1, KNOWN), dim, padding_idx=PADDING)

    def find(self, ids: Int[Tensor, "batch steps"]) -> Int[Tensor, "batch steps"]:
        """Give each word's row of the table."""
        rows: Tensor = self.lookup[ids]
        return rows

    def forward(self, ids: Int[Tensor, "batch steps"]) -> Tensor:
        """Give each word's vector, (batch, steps, dim); 0 for padding.

        Args:
            ids: Hashes, 0 for padding.
        """
        rows = self.find(ids)
        if self.training:
            lost = (torch.rand(rows.shape, device=rows.device) < self.dropout) & (rows != PADDING)
            rows = torch.where(lost, UNKNOWN, rows)
        vectors: Tensor = self.table(rows)
        return vectors
