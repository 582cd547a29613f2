"""Counting events by type and window, in tensors alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

GAP, AGE, VALUE, HAS_VALUE = range(4)  # the last axis of `numbers`


def log_signed(numbers: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """Compute ``sign(x) ln(1 + |x|)``, which keeps the sign and tames long tails."""
    return torch.sign(numbers) * torch.log1p(numbers.abs())


class EventCounts(nn.Module):
    """See `mm_assets.encoders.event_counts.EventCounts`.

    Args:
        types: int64 (known,), hashes of the types that have counts of their own.
        windows_s: Lengths of the windows, in seconds.
    """

    types: Tensor

    def __init__(self, types: Int[Tensor, " known"], windows_s: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("types", types)
        self.windows_s = list(windows_s)

    def forward(
        self, types: Int[Tensor, "batch steps"], numbers: Float[Tensor, "batch steps 4"]
    ) -> Float[Tensor, "batch dim"]:
        """Count.

        Args:
            types: 0 for padding.
            numbers: Gap and age in seconds, value, and whether there is one.
        """
        there = (types != 0).to(numbers.dtype)  # (batch, steps)
        known = (types[:, :, None] == self.types).to(numbers.dtype)  # (batch, steps, known)
        other = there[:, :, None] - known.sum(dim=2, keepdim=True)
        slots = torch.cat([known, other], dim=2)  # (batch, steps, slot)

        def add(weight: Tensor) -> Tensor:
            return (weight[:, None, :] @ slots)[:, 0]  # (batch, slot)

        within = [(numbers[:, :, AGE] <= window).to(numbers.dtype) for window in self.windows_s]
        counts = [add(inside) for inside in [torch.ones_like(there), *within]]
        values = add(numbers[:, :, VALUE] * numbers[:, :, HAS_VALUE])
        total = there.sum(dim=1, keepdim=True)
        # The first event follows none, so there is one gap less than there are events.
        gaps = log_signed(numbers[:, :, GAP]) * there
        mean = gaps.sum(dim=1, keepdim=True) / (total - 1).clamp(min=1)
        follows = torch.cat([torch.zeros_like(there[:, :1]), there[:, 1:]], dim=1)
        spread = (follows * (gaps - mean).square()).sum(dim=1, keepdim=True)
        span = (numbers[:, :, AGE] * there).amax(dim=1, keepdim=True)
        return torch.cat(
            [
                *(log_signed(count) for count in counts),
                log_signed(values),
                log_signed(total),
                mean,
                torch.sqrt(spread / (total - 1).clamp(min=1)),
                gaps.amax(dim=1, keepdim=True),
                log_signed(span),
            ],
            dim=1,
        )
