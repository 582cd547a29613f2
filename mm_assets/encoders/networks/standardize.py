"""Centre and scale by statistics of the training rows."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Standardize(nn.Module):
    """``(vector - mean) / scale``."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Float[Tensor, " dim"], scale: Float[Tensor, " dim"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, vector: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Standardise each number on its own."""
        return (vector - self.mean) / self.scale
