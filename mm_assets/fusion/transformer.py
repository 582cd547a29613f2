"""A transformer over the tokens of all modalities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.attention import AttentionStack, add_positions
from mm_assets.fusion.base import SequenceFusion
from mm_assets.fusion.options import AttentionOptions
from mm_assets.fusion.steps import Steps


class Transformer(SequenceFusion[AttentionOptions]):
    """Every token attends to every other; a token of its own, read at the end, to all of them.

    A token is a step of a modality (a vector is one step), to which its place and a learned vector
    of its modality are added. An absent modality has one learned token.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; tokens of several modalities in one
        sequence, with vectors of their type: Kim et al. 2021, ViLT, https://arxiv.org/abs/2102.03334,
        section 3.1.
    """

    def __init__(self, modalities: int, dim: int, options: AttentionOptions) -> None:
        super().__init__(modalities, dim, options)
        self.kind = nn.Parameter(torch.randn(modalities, dim) * 0.02)
        self.read = nn.Parameter(torch.randn(dim) * 0.02)
        self.layers = AttentionStack(dim, options.heads, options.layers)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, sequences: Sequence[Steps], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Give the reading token after all layers, normalised."""
        filled = [add_positions(one) for one in self.fill_sequences(sequences, presence)]
        batch = presence.shape[0]
        tokens = torch.cat(
            [
                self.read.expand(batch, 1, -1),
                *(one.values + kind for one, kind in zip(filled, self.kind, strict=True)),
            ],
            dim=1,
        )
        there = torch.cat([torch.ones_like(presence[:, :1]), *(one.there for one in filled)], dim=1)
        read: Tensor = self.norm(self.layers(tokens, there)[:, 0])
        return read


FUSION = Transformer
