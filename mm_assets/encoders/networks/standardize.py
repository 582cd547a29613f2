"""Centre and scale by statistics of the training rows."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Standardize(nn.Module):
    """``(vector - mean) / scale``."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Float[Tensor, " dim"], scale: Float[Tensor, " dim"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, vector: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Standardise each number on its own."""
        return (vector - self.mean) / self.scale


class StandardizeSteps(nn.Module):
    """Standardise every step, and say how a row's steps are spread or give them all.

    Args:
        mean: Of each number.
        scale: Its standard deviation.
        pooled: Whether one vector per row is given.
    """

    def __init__(
        self, mean: Float[Tensor, " dim"], scale: Float[Tensor, " dim"], *, pooled: bool
    ) -> None:
        super().__init__()
        self.standardize = Standardize(mean, scale)
        self.pooled = pooled

    def forward(
        self, vectors: Float[Tensor, "batch steps dim"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch pooled"] | tuple[Tensor, Tensor]:
        """Give (batch, 2 dim), or (batch, steps, dim) with its mask, bool (batch, steps)."""
        steps = self.standardize(vectors)
        there = torch.arange(vectors.shape[1], device=length.device) < length[:, None]
        if not self.pooled:
            return steps, there
        weight = there[:, :, None].to(steps.dtype)
        count = weight.sum(dim=1).clamp(min=1)  # (batch, 1)
        mean = (steps * weight).sum(dim=1) / count
        variance = ((steps - mean[:, None]).square() * weight).sum(dim=1) / count
        return torch.cat([mean, variance.sqrt()], dim=1)
