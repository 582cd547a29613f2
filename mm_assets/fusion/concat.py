"""Concatenation: the baseline that any other fusion has to beat."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.base import VectorFusion
from mm_assets.fusion.options import Options


class Concat(VectorFusion[Options]):
    """One hidden layer over the vectors side by side, learned ones standing in for absent ones."""

    def __init__(self, modalities: int, dim: int, options: Options) -> None:
        super().__init__(modalities, dim, options)
        self.mix = nn.Linear(modalities * dim, dim)

    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute ``relu(W [x_1, ..., x_k] + b)``."""
        return torch.relu(self.mix(self.fill_absent(vectors, presence).flatten(1)))


FUSION = Concat
