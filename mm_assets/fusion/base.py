"""What every fusion does: any subset of the modalities' vectors becomes one vector."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.contracts.config import FusionConfig


class Fusion(nn.Module, ABC):
    """Fuses vectors of equal width, whichever of them are present.

    What stands in the place of an absent vector is selected out, never multiplied by zero: it may
    be anything, NaN included, without reaching the output.

    Args:
        modalities: How many there are.
        dim: Width of each vector.
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(modalities, dim))

    @abstractmethod
    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch fused"]:
        """Fuse each row's present vectors.

        Args:
            vectors: One per modality; those of absent modalities may hold anything.
            presence: Which modalities a row has; none is allowed.

        Returns:
            As wide as one vector.
        """

    def fill_absent(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch modality dim"]:
        """Put a learned vector in the place of each absent one."""
        return torch.where(presence[..., None], vectors, self.absent)


class AttendSteps(nn.Module):
    """Turns each row's sequence of vectors into one: their mean, weighted by learned attention.

    Args:
        dim: Width of each step.

    Source:
        Yang et al. 2016, Hierarchical Attention Networks, https://aclanthology.org/N16-1174,
        equations 5-7.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(
        self, steps: Float[Tensor, "batch steps dim"], there: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute ``sum_t softmax_t(u tanh(W h_t + b)) h_t`` over the steps that are there.

        A row without any gives something finite, to be selected out by the presence mask.
        """
        scores = self.score(torch.tanh(self.hidden(steps)))[:, :, 0]  # (batch, steps)
        # -inf in a whole row would make its softmax, and then every gradient, NaN.
        weights = torch.softmax(scores.masked_fill(~there, torch.finfo(scores.dtype).min), dim=1)
        return (weights[:, None, :] @ steps)[:, 0]


def build_fusion(config: FusionConfig, *, modalities: int) -> Fusion:
    """Build the fusion that `fusion.name` names; `load_project` has checked that it exists."""
    found: type[Fusion] = importlib.import_module(f"mm_assets.fusion.{config.name}").FUSION
    return found(modalities, config.dim)
