"""A weighted sum of one vector per n-gram, on the unit sphere."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding


class HashedNgrams(nn.Module):
    """``normalise(sum of weight * table[lookup[bucket]])``; zero where nothing is known."""

    lookup: Tensor
    table: Tensor

    def __init__(self, lookup: Int[Tensor, " bucket"], table: Float[Tensor, "known dim"]) -> None:
        super().__init__()
        self.register_buffer("lookup", lookup)
        self.register_buffer("table", table)

    def forward(
        self, buckets: Int[Tensor, "batch steps"], weights: Float[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """Look every bucket up and sum; a padded step has weight 0."""
        vectors: Tensor = embedding(self.lookup[buckets], self.table)  # (batch, steps, dim)
        summed: Tensor = (weights[:, None] @ vectors)[:, 0]  # (batch, dim)
        length: Tensor = summed.norm(dim=1, keepdim=True)
        return summed / length.clamp_min(torch.finfo(torch.float32).tiny)
