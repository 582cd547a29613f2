"""Layers of attention between sequences, for the fusions that are built of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mm_assets.fusion.steps import Steps

WIDER = 4  # times, inside a layer's two linear ones


class AttentionLayer(nn.Module):
    """Attention of one sequence to another (or to itself), then two linear layers.

    Each half is normalised first and added to what came.

    Args:
        dim: Width of each step.
        heads: Divides it.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3; with the normalisation
        first, and one for both sequences, as Tsai et al. 2019, https://aclanthology.org/P19-1656,
        equation 5.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.inner_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value, self.mix = (nn.Linear(dim, dim) for _ in range(4))
        self.inner, self.outer = nn.Linear(dim, WIDER * dim), nn.Linear(WIDER * dim, dim)

    def forward(
        self,
        x: Float[Tensor, "batch steps dim"],
        context: Float[Tensor, "batch others dim"],
        there: Bool[Tensor, "batch others"] | Bool[Tensor, "batch steps others"],
    ) -> Float[Tensor, "batch steps dim"]:
        """Apply the layer.

        Args:
            x: Asks; the layer's result is added to it.
            context: Is asked.
            there: Which of its steps may be, by all steps or by each; at least one.
        """
        seen = self.norm(context)
        query, key, value = (
            part(given).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, given in ((self.query, self.norm(x)), (self.key, seen), (self.value, seen))
        )
        mask = there[:, None, None, :] if there.ndim == 2 else there[:, None]
        found = F.scaled_dot_product_attention(query, key, value, mask)
        x = x + self.mix(found.transpose(1, 2).flatten(2))
        inner: Tensor = x + self.outer(torch.relu(self.inner(self.inner_norm(x))))
        return inner


class AttentionStack(nn.Module):
    """Layers one after the other, all of which ask the same context, or the sequence itself."""

    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(dim, heads) for _ in range(layers))

    def forward(
        self,
        x: Float[Tensor, "batch steps dim"],
        there: Bool[Tensor, "batch others"] | Bool[Tensor, "batch steps others"],
        context: Float[Tensor, "batch others dim"] | None = None,
    ) -> Float[Tensor, "batch steps dim"]:
        """Apply all layers; without `context` the sequence attends to itself."""
        for layer in self.layers:
            x = layer(x, x if context is None else context, there)
        return x


def add_positions(sequence: Steps) -> Steps:
    """Add to each step what tells where it is, counted from 0."""
    values = sequence.values
    places = torch.arange(values.shape[1], device=values.device)
    return Steps(values + encode_places(places, values.shape[2]), sequence.there)


def encode_places(places: Int[Tensor, " step"], dim: int) -> Float[Tensor, "step dim"]:
    """Tell places apart by waves of many lengths.

    Source:
        Vaswani et al. 2017, section 3.5.
    """
    pace = torch.exp(torch.arange(0, dim, 2, device=places.device) * (-math.log(10_000.0) / dim))
    turns = places[:, None] * pace
    return torch.stack([torch.sin(turns), torch.cos(turns)], dim=2).flatten(1)[:, :dim]
