"""Attention between patches of a signal."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm_assets.encoders.networks.signal_cnn import Standardize, mask_steps

LONGEST_PERIOD = 10_000.0  # of the sines that mark places, in patches over 2 pi


class Layer(nn.Module):
    """Attention and a feed-forward network, each normalised before and added to its input."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.project = nn.Linear(dim, 3 * dim)
        self.gather = nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, values: Float[Tensor, "batch patch dim"], valid: Bool[Tensor, "batch 1 patch"]
    ) -> Float[Tensor, "batch patch dim"]:
        """Compute one layer; no patch attends to one that is not `valid`."""
        parts = self.project(self.norms[0](values)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (batch, head, patch, dim / head)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None])
        values = values + self.dropout(self.gather(found.transpose(1, 2).flatten(2)))
        inner = self.dropout(F.gelu(self.inner(self.norms[1](values))))
        shown: Tensor = values + self.dropout(self.outer(inner))
        return shown


class SignalTransformer(nn.Module):
    """Patches of all channels, sines for their places, layers, and the mean over patches.

    Source:
        Nie et al. 2023, https://arxiv.org/abs/2211.14730; here the channels of a patch go together,
        since a recording's leads are few and show one thing.
    """

    def __init__(
        self,
        mean: np.ndarray,
        scale: np.ndarray,
        *,
        dim: int,
        patch: int,
        layers: int,
        heads: int,
        dropout: float,
        noise: float,
        masked: float,
    ) -> None:
        super().__init__()
        self.patch, self.noise, self.masked = patch, noise, masked
        self.standardize = Standardize(mean, scale)
        self.embed = nn.Linear(len(mean) * patch, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Parameter(0.02 * torch.randn(dim))
        self.predict = nn.Linear(dim, len(mean) * patch)
        self.last = nn.Linear(dim, dim)

    def forward(
        self, samples: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim"]:
        """Embed signals.

        Args:
            samples: Zero padded at the end.
            length: True number of samples of each, at least 1.
        """
        patches, valid = self.cut(samples, length)
        if self.training and self.noise:
            patches = patches + self.noise * torch.randn_like(patches)
        found = self.attend(self.embed(patches), valid)
        weight = valid[:, 0, :, None].to(found.dtype)  # (batch, patch, 1)
        shown: Tensor = self.last((found * weight).sum(dim=1) / weight.sum(dim=1))
        return shown

    def self_supervised_loss(
        self, samples: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Hide patches and score how well they are predicted: mean squared error, dimensionless."""
        patches, valid = self.cut(samples, length)
        drawn = torch.rand(patches.shape[:2], device=patches.device)
        drawn = torch.where(valid[:, 0], drawn, 2.0)
        # Of each signal one patch at least.
        hidden = (drawn < self.masked) | (drawn == drawn.amin(dim=1, keepdim=True))
        hidden = hidden & valid[:, 0]
        values = torch.where(hidden[:, :, None], self.hidden, self.embed(patches))
        error = (self.predict(self.attend(values, valid)) - patches).square().mean(dim=2)
        # The body's last layer takes no part in the prediction, and stays as it was drawn.
        loss: Tensor = (error * hidden).sum() / hidden.sum()
        return loss

    def cut(
        self, samples: Float[Tensor, "batch channel time"], length: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch patch value"], Bool[Tensor, "batch 1 patch"]]:
        """Give standardised patches, the last one filled up with zeros, and which are no padding."""
        values = F.pad(self.standardize(samples, length), (0, self.patch - 1))
        patches = values.unfold(2, self.patch, self.patch)  # (batch, channel, patch, sample)
        patches = patches.permute(0, 2, 1, 3).flatten(2)
        count = (length + self.patch - 1) // self.patch
        return patches, mask_steps(count, patches.transpose(1, 2))

    def attend(
        self, values: Float[Tensor, "batch patch dim"], valid: Bool[Tensor, "batch 1 patch"]
    ) -> Float[Tensor, "batch patch dim"]:
        """Add places, and run the layers."""
        values = values + mark_places(values)
        for layer in self.layers:
            values = layer(values, valid)
        found: Tensor = self.norm(values)
        return found


def mark_places(values: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "steps dim"]:
    """Give sines and cosines of each place, whose periods grow geometrically."""
    _, steps, dim = values.shape
    speed = torch.arange(dim // 2, device=values.device) * (-math.log(LONGEST_PERIOD) * 2 / dim)
    angle = torch.arange(steps, device=values.device)[:, None] * torch.exp(speed)
    return torch.cat([angle.sin(), angle.cos()], dim=1)
