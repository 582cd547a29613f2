"""Products of all modalities' features: the tensor of them, whole or of low rank."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.fusion.base import VectorFusion
from mm_assets.fusion.options import LowRankOptions


class LowRank(VectorFusion[LowRankOptions]):
    """A linear layer over the outer product of ``[x_1, 1], ..., [x_k, 1]``.

    With a rank, its weights are a sum of so many outer products of factors, one a modality, and the
    tensor is never built. With rank null the tensor is built, and the weights are free.

    Source:
        Liu et al. 2018, Low-rank Multimodal Fusion, https://aclanthology.org/P18-1209, equations 8
        and 9; the whole tensor: Zadeh et al. 2017, Tensor Fusion Network,
        https://aclanthology.org/D17-1115, section 4.2. Learned vectors stand in for absent ones.
    """

    def __init__(self, modalities: int, dim: int, options: LowRankOptions) -> None:
        super().__init__(modalities, dim, options)
        self.rank = options.rank
        if self.rank is None:
            self.mix = nn.Linear((dim + 1) ** modalities, dim)
            return
        # A bias is the factor's column for the 1 that each vector ends with. It begins at 1: the
        # product is then near 1, and each modality moves it also where the others say nothing.
        factors = [nn.Linear(dim, self.rank * dim) for _ in range(modalities)]
        for factor in factors:
            nn.init.ones_(factor.bias)
        self.factors = nn.ModuleList(factors)
        self.sum = nn.Parameter(torch.full((self.rank,), 1 / self.rank))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute ``sum_r s_r prod_i W_i^r [x_i, 1] + b``, or ``W ([x_1, 1] x ... x [x_k, 1]) + b``."""
        filled = self.fill_absent(vectors, presence)
        if self.rank is None:
            whole: Tensor = self.mix(multiply_outer(filled))
            return whole
        product = torch.ones((), device=filled.device)
        for index, factor in enumerate(self.factors):
            product = product * factor(filled[:, index]).unflatten(1, (self.rank, self.dim))
        return torch.einsum("r,brd->bd", self.sum, product) + self.bias


def multiply_outer(
    vectors: Float[Tensor, "batch modality dim"],
) -> Float[Tensor, "batch cells"]:
    """Multiply each element of ``[x_1, 1]`` with each of ``[x_2, 1]`` and so on.

    Returns:
        The tensor, flattened with the last modality varying fastest.
    """
    extended = torch.nn.functional.pad(vectors, (0, 1), value=1.0)
    cells = extended[:, 0]
    for index in range(1, vectors.shape[1]):
        cells = (cells[:, :, None] * extended[:, index, None, :]).flatten(1)
    return cells


FUSION = LowRank
