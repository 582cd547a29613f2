"""A weighted sum: one learned weight a modality, to be read afterwards."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.base import VectorFusion, weigh_parts
from mm_assets.fusion.options import Options


class Weighted(VectorFusion[Options]):
    """Adds up what present modalities say, each by a share that is the same in every row.

    The shares of those present add up to 1.

    Source:
        Kiela et al. 2018, Dynamic Meta-Embeddings, https://aclanthology.org/D18-1176, section 3.1,
        with one weight a modality instead of one computed from each vector, as Peters et al. 2018,
        https://aclanthology.org/N18-1202, equation 1, have it for layers.
    """

    def __init__(self, modalities: int, dim: int, options: Options) -> None:
        super().__init__(modalities, dim, options)
        self.content = nn.ModuleList(nn.Linear(dim, dim) for _ in range(modalities))
        self.scores = nn.Parameter(torch.zeros(modalities))

    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute ``sum_i softmax_i(s) tanh(W_i x_i + b_i)`` over present modalities."""
        filled = self.fill_absent(vectors, presence)
        content = torch.stack(
            [torch.tanh(layer(filled[:, i])) for i, layer in enumerate(self.content)], dim=1
        )  # (batch, modality, dim)
        shares = weigh_parts(self.scores, presence).exp()
        return (shares[..., None] * content).sum(dim=1)

    def shares(self) -> Float[Tensor, " modality"]:
        """Give the modalities' shares in a row that has all of them."""
        return torch.softmax(self.scores, dim=0)


FUSION = Weighted
