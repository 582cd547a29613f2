"""Gated multimodal unit: each modality's share in each unit depends on all of them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.base import VectorFusion
from mm_assets.fusion.options import Options


class Gated(VectorFusion[Options]):
    """Sums what each present modality has to say, each unit of it gated by all the vectors.

    Since terms add up, evidence from independent modalities does too, as log odds do.

    Source:
        Arevalo et al. 2017, https://arxiv.org/abs/1702.01992, Figure 2a (the unit for more than
        two modalities), with biases and a presence mask.
    """

    def __init__(self, modalities: int, dim: int, options: Options) -> None:
        super().__init__(modalities, dim, options)
        self.content = nn.ModuleList(nn.Linear(dim, dim) for _ in range(modalities))
        self.gate = nn.Linear(modalities * dim, modalities * dim)

    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute ``sum_i sigmoid(U_i [x_1, ..., x_k]) * tanh(W_i x_i)`` over present ones."""
        filled = self.fill_absent(vectors, presence)
        gates = torch.sigmoid(self.gate(filled.flatten(1))).view(filled.shape)
        content = torch.stack(
            [torch.tanh(layer(filled[:, i])) for i, layer in enumerate(self.content)], dim=1
        )  # (batch, modality, dim)
        nothing = torch.zeros((), dtype=content.dtype, device=content.device)
        return torch.where(presence[..., None], gates * content, nothing).sum(dim=1)


FUSION = Gated
