"""Networks of several inputs followed by a layer of one."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Chain(nn.Module):
    """Compute ``last(first(*arrays))``; `nn.Sequential` takes one input alone."""

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, *arrays: Tensor) -> Tensor:
        """Chain the two."""
        found: Tensor = self.last(self.first(*arrays))
        return found


class StepChain(nn.Module):
    """Compute ``last(steps), mask`` where ``steps, mask = first.sequence(*arrays)``."""

    first: Any  # has `sequence`, as `LearnedEncoder.sequence_network` says

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(
        self, *arrays: Tensor
    ) -> tuple[Float[Tensor, "batch steps dim"], Bool[Tensor, "batch steps"]]:
        """Chain the two."""
        steps, there = self.first.sequence(*arrays)
        return self.last(steps), there
