"""Sequences of vectors of different lengths, as one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Steps:
    """One modality's sequences; takes the place of a matrix (row, dim) in `Examples.vectors`.

    Attributes:
        values: What each step says; padding may hold anything.
        there: False where a step is padding.
    """

    values: Float[Tensor, "row steps dim"]
    there: Bool[Tensor, "row steps"]

    def __len__(self) -> int:
        return len(self.there)

    def __getitem__(self, rows: Shaped[Tensor, " chosen"]) -> Steps:
        """Choose rows by their numbers or by a mask, without steps that none of them has."""
        there = self.there[rows]
        longest = max(1, int(there.sum(dim=1).amax())) if len(there) else 1
        return Steps(self.values[rows][:, :longest], there[:, :longest])

    def to(self, device: torch.device) -> Steps:
        """Move to a device."""
        return Steps(self.values.to(device), self.there.to(device))

    def flat(self) -> Float[Tensor, "known dim"]:
        """Give the steps that are no padding, row after row."""
        return self.values[self.there]


def as_steps(vectors: Float[Tensor, "row dim"]) -> Steps:
    """Make each vector a sequence of one step."""
    return Steps(vectors[:, None], torch.ones_like(vectors[:, :1], dtype=torch.bool))


def average_steps(steps: Steps) -> Float[Tensor, "row dim"]:
    """Give each row's mean over the steps that are there; 0 where there are none."""
    known = torch.where(steps.there[..., None], steps.values, 0.0)
    return known.sum(dim=1) / steps.there.sum(dim=1, keepdim=True).clamp(min=1)
