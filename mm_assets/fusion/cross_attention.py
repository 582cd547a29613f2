"""Cross-modal attention: each modality is read in the light of each other one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.attention import AttentionStack, add_positions
from mm_assets.fusion.base import SequenceFusion
from mm_assets.fusion.options import AttentionOptions
from mm_assets.fusion.steps import Steps


class CrossAttention(SequenceFusion[AttentionOptions]):
    """Every modality's steps attend to those of every other one, in layers for each ordered pair.

    What a modality took from the others is put side by side, attends to itself, and is read at its
    last step; those of all modalities make the fused vector. A modality that is alone attends to
    itself only. An absent one is a single learned step.

    Source:
        Tsai et al. 2019, Multimodal Transformer, https://aclanthology.org/P19-1656, sections 3.1
        and 3.2 (without the convolutions over time, which are the encoders' affair).
    """

    def __init__(self, modalities: int, dim: int, options: AttentionOptions) -> None:
        super().__init__(modalities, dim, options)
        layers, heads = options.layers, options.heads
        self.others = [
            [n for n in range(modalities) if n != index] or [index] for index in range(modalities)
        ]
        self.pairs = nn.ModuleList(
            AttentionStack(dim, heads, layers) for others in self.others for _ in others
        )
        self.own = nn.ModuleList(
            AttentionStack(len(others) * dim, heads, layers) for others in self.others
        )
        self.mix = nn.Linear(sum(len(others) for others in self.others) * dim, dim)

    def forward(
        self, sequences: Sequence[Steps], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute ``relu(W [h_1, ..., h_k] + b)`` of the modalities' last steps ``h_i``."""
        filled = [add_positions(one) for one in self.fill_sequences(sequences, presence)]
        pairs, last = iter(self.pairs), []
        for asking, others, own in zip(filled, self.others, self.own, strict=True):
            taken = [
                next(pairs)(asking.values, filled[other].there, filled[other].values)
                for other in others
            ]
            x = own(torch.cat(taken, dim=2), asking.there)
            end = (asking.there.sum(dim=1) - 1)[:, None, None]
            last.append(x.gather(1, end.expand(-1, 1, x.shape[2]))[:, 0])
        return torch.relu(self.mix(torch.cat(last, dim=1)))


FUSION = CrossAttention
