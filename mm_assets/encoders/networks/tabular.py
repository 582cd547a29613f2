"""Numbers scaled robustly and categories as one-hot slots, without a text in the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class RobustScale(nn.Module):
    """``(number - median) / scale``, clipped; beside each number whether it is missing."""

    median: Tensor
    scale: Tensor

    def __init__(
        self, median: Float[Tensor, " column"], scale: Float[Tensor, " column"], *, clip: float
    ) -> None:
        super().__init__()
        self.register_buffer("median", median)
        self.register_buffer("scale", scale)
        self.clip = clip

    def forward(self, numbers: Float[Tensor, "batch column"]) -> Float[Tensor, "batch dim"]:
        """Give all scaled numbers (0 where missing, which is NaN), then as many indicators."""
        missing = torch.isnan(numbers)
        known = torch.where(missing, self.median, numbers)
        scaled = ((known - self.median) / self.scale).clamp(-self.clip, self.clip)
        return torch.cat([scaled, missing.to(scaled.dtype)], dim=1)  # (batch, 2 column)


class OneHot(nn.Module):
    """A slot per known category of a column, one for all others and one for none.

    Args:
        known: Per column, the hashes of its categories.
    """

    wanted: Tensor
    column: Tensor
    member: Tensor

    def __init__(self, known: Sequence[Int[Tensor, " _"]]) -> None:
        super().__init__()
        missing = torch.zeros(1, dtype=torch.int64)
        self.register_buffer("wanted", torch.cat([torch.cat([one, missing]) for one in known]))
        sizes = torch.tensor([len(one) + 1 for one in known])
        self.register_buffer("column", torch.repeat_interleave(torch.arange(len(known)), sizes))
        # Sums the slots of a column: none is set for a category that is not known.
        member = self.column == torch.arange(len(known))[:, None]  # (column, slot)
        self.register_buffer("member", member.T.to(torch.float32))

    def forward(self, categories: Int[Tensor, "batch column"]) -> Float[Tensor, "batch dim"]:
        """Give the slots of every column (its categories, then missing), then a column's "other"."""
        slots = (categories[:, self.column] == self.wanted).to(torch.float32)  # (batch, slot)
        return torch.cat([slots, 1 - slots @ self.member], dim=1)


class Tabular(nn.Module):
    """The vectors of several parts beside each other; each part reads one array."""

    def __init__(self, parts: Sequence[nn.Module], *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.parts = nn.ModuleList(parts)

    def forward(self, first: Tensor, second: Tensor | None = None) -> Float[Tensor, "batch dim"]:
        """Take the arrays in the order of the parts, as many as there are parts."""
        arrays = [first] if second is None else [first, second]
        vectors = [part(array) for part, array in zip(self.parts, arrays, strict=True)]
        return torch.cat(vectors, dim=1)  # (batch, dim)
