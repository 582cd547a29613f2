"""One vector of a sequence."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class MeanOverSteps(nn.Module):
    """Average a sequence over the steps that are no padding.

    Args:
        sequence: Gives (batch, step, dim) and a mask (batch, step), true somewhere in each row.
    """

    def __init__(self, sequence: nn.Module) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(self, *arrays: Tensor) -> Float[Tensor, "batch dim"]:
        """Average."""
        steps, valid = self.sequence(*arrays)
        weight = valid[:, :, None].to(steps.dtype)
        mean: Tensor = (steps * weight).sum(dim=1) / weight.sum(dim=1)
        return mean
