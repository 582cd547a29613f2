"""What every fusion does: any subset of the modalities' vectors becomes one vector, or several."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mm_assets.contracts.config import FusionConfig
from mm_assets.fusion.options import Options, read_fusion_options
from mm_assets.fusion.steps import Steps

Given = TypeVar("Given", bound=Options)


class Parts(NamedTuple):
    """Several fused vectors a row, each of which gives an answer of its own.

    Attributes:
        vectors: What each part says.
        log_weights: Logarithms of the parts' shares in the answer, whose exponentials add up to 1
            in each row; of a part that says nothing far below the others, but finite.
    """

    vectors: Float[Tensor, "batch part dim"]
    log_weights: Float[Tensor, "batch part"]


class Fusion(nn.Module, ABC, Generic[Given]):
    """Fuses what has equal width, whichever of it is present.

    What stands in the place of an absent modality is selected out, never multiplied by zero: it may
    be anything, NaN included, without reaching the output.

    Args:
        modalities: How many there are.
        dim: Width of each vector.
        options: The fusion's own.

    Attributes:
        sequential: Whether it takes sequences as they are; for the others, each was attended to one
            vector before.
        parts: How many fused vectors a row has.
        weighed_by_target: Whether each target learns what each part's answer counts.
    """

    sequential: ClassVar[bool] = False
    parts: int = 1
    weighed_by_target: bool = False

    def __init__(self, modalities: int, dim: int, options: Given) -> None:
        super().__init__()
        self.modalities, self.dim, self.options = modalities, dim, options
        self.absent = nn.Parameter(torch.zeros(modalities, dim))

    def fill_absent(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch modality dim"]:
        """Put a learned vector in the place of each absent one."""
        return torch.where(presence[..., None], vectors, self.absent)

    def shares(self) -> Float[Tensor, " modality"] | None:
        """Give what each modality weighs where all are present, if the fusion has such weights."""
        return None


class VectorFusion(Fusion[Given]):
    """A fusion of one vector per modality."""

    @abstractmethod
    def forward(
        self, vectors: Float[Tensor, "batch modality dim"], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"] | Parts:
        """Fuse each row's present vectors.

        Args:
            vectors: One per modality; those of absent modalities may hold anything.
            presence: Which modalities a row has; none is allowed.

        Returns:
            As wide as one vector; or `Parts`.
        """


class SequenceFusion(Fusion[Given]):
    """A fusion of sequences of any length, a vector being one of one step."""

    sequential: ClassVar[bool] = True

    @abstractmethod
    def forward(
        self, sequences: Sequence[Steps], presence: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Fuse each row's present sequences; arguments and result as `VectorFusion.forward`."""

    def fill_sequences(
        self, sequences: Sequence[Steps], presence: Bool[Tensor, "batch modality"]
    ) -> list[Steps]:
        """Put a learned vector, as the first and only step, in the place of each absent sequence.

        Padding becomes 0.
        """
        filled = []
        for index, (values, there) in enumerate((s.values, s.there) for s in sequences):
            present = presence[:, index, None]  # (batch, 1)
            first = torch.arange(there.shape[1], device=there.device) == 0
            known = (there & present)[..., None]
            stand_in = torch.where((first & ~present)[..., None], self.absent[index], 0.0)
            # ONNX Runtime has no choice between two masks.
            filled.append(
                Steps(torch.where(known, values, stand_in), (present & there) | (~present & first))
            )
        return filled


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


def weigh_parts(
    scores: Float[Tensor, "*batch part"], speaks: Bool[Tensor, "batch part"]
) -> Float[Tensor, "batch part"]:
    """Turn scores into the logarithms of shares, of those parts that say something.

    A row of which none does gets equal shares.
    """
    # Far below any score, and yet a number: its exponential is 0, its gradient no NaN.
    return torch.log_softmax(torch.where(speaks, scores, -1e9), dim=-1)


def build_fusion(config: FusionConfig, *, modalities: int) -> Fusion[Options]:
    """Build the fusion that `fusion.name` names.

    Raises:
        ConfigError: It does not exist, or its options do not fit; `load_project` has seen to that.
    """
    options = read_fusion_options(config, modalities=modalities)
    found: type[Fusion[Options]] = importlib.import_module(f"mm_assets.fusion.{config.name}").FUSION
    return found(modalities, config.dim, options)
