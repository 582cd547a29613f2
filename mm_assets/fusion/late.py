"""Late fusion: each modality answers by itself, and the answers are averaged."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.base import Parts, VectorFusion, weigh_parts
from mm_assets.fusion.options import LateOptions


class Late(VectorFusion[LateOptions]):
    """A linear opinion pool of the present modalities, with equal weights or each target's own.

    Source:
        Kittler et al. 1998, On combining classifiers, https://doi.org/10.1109/34.667881 (the sum
        rule); learned weights that are positive and add up to 1: Breiman 1996, Stacked regressions,
        https://doi.org/10.1007/BF00117832.
    """

    def __init__(self, modalities: int, dim: int, options: LateOptions) -> None:
        super().__init__(modalities, dim, options)
        self.parts = modalities
        self.weighed_by_target = options.weights == "learned"
        self.content = nn.ModuleList(nn.Linear(dim, dim) for _ in range(modalities))

    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Parts:
        """Give ``tanh(W_i x_i + b_i)``, and equal shares to the modalities that are present."""
        filled = self.fill_absent(vectors, presence)
        content = [torch.tanh(layer(filled[:, i])) for i, layer in enumerate(self.content)]
        return Parts(
            torch.stack(content, dim=1), weigh_parts(torch.zeros_like(filled[..., 0]), presence)
        )


FUSION = Late
