"""Residual convolutions over time that see no padding."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Standardize(nn.Module):
    """Shift and scale each channel, and keep padding zero."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean)[:, None], persistent=False)
        self.register_buffer("scale", torch.from_numpy(scale)[:, None], persistent=False)

    def forward(
        self, samples: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel time"]:
        """Standardise; see the class."""
        scored = (samples - self.mean) / self.scale
        return scored * mask_steps(length, samples).to(samples.dtype)


class Block(nn.Module):
    """Two convolutions beside a shortcut; the first halves the rate."""

    def __init__(self, width_in: int, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(width_in, width, kernel, stride=2, padding=kernel // 2, bias=False)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.shortcut = nn.Conv1d(width_in, width, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Float[Tensor, "batch width time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch width2 half"]:
        """Compute one block; what lies beyond `length`, which counts its own steps, stays zero."""
        found = F.relu(self.norms[0](self.first(values)))
        valid = mask_steps(length, found).to(values.dtype)
        found = found * valid
        found = self.norms[1](self.second(self.dropout(found)))
        shown: Tensor = F.relu(found + self.shortcut(values)) * valid
        return shown


class SignalCNN(nn.Module):
    """A layer, blocks, and the mean and maximum over time.

    Source:
        Hannun et al. 2019, https://doi.org/10.1038/s41591-018-0268-3; much smaller.
    """

    def __init__(
        self,
        mean: np.ndarray,
        scale: np.ndarray,
        *,
        dim: int,
        width: int,
        blocks: int,
        kernel: int,
        dropout: float,
        noise: float,
    ) -> None:
        super().__init__()
        kernel += 1 - kernel % 2
        self.noise = noise
        self.standardize = Standardize(mean, scale)
        self.stem = nn.Conv1d(len(mean), width, kernel, stride=2, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(width)
        widths = [width, *(width * 2 ** (block // 2) for block in range(blocks))]
        self.blocks = nn.ModuleList(
            Block(before, after, kernel, dropout) for before, after in itertools.pairwise(widths)
        )
        self.last = nn.Linear(2 * widths[-1], dim)

    def forward(
        self, samples: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed signals.

        Args:
            samples: Zero padded at the end.
            length: True number of samples of each, at least 1.
        """
        values = self.standardize(samples, length)
        if self.training and self.noise:
            values = values + self.noise * torch.randn_like(values)
            values = values * mask_steps(length, values).to(values.dtype)
        length = (length + 1) // 2
        values = F.relu(self.norm(self.stem(values)))
        values = values * mask_steps(length, values).to(values.dtype)
        for block in self.blocks:
            length = (length + 1) // 2
            values = block(values, length)
        # All values are at least 0, so that padding is never the largest.
        mean = values.sum(dim=2) / length[:, None].to(values.dtype)
        found: Tensor = self.last(torch.cat([mean, values.amax(dim=2)], dim=1))
        return found


def mask_steps(
    length: Int[Tensor, " batch"], values: Float[Tensor, "batch width steps"]
) -> Bool[Tensor, "batch 1 steps"]:
    """Tell which steps of some values are no padding."""
    return (torch.arange(values.shape[2], device=length.device) < length[:, None])[:, None]
