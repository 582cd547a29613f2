"""A network of several inputs followed by a layer of one."""

from __future__ import annotations

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
