"""Encoders whose whole network is learnt from training rows, with labels or without."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mm_assets.contracts.errors import ConfigError
from mm_assets.encoders import base

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import nn

    from mm_assets.contracts.config import Precision

ANSWERS = "answers"  # what precedes the names of the last layer's arrays in a state
BODY = "body"  # and those of all others
CONSTANTS = "constants"  # and what the body was built from


class LearnedOptions(base.Options):
    """How a network is fitted; good as it is for some hundred to some ten thousand rows.

    `objective`: ``supervised`` by the targets' labels, or one of the encoder's own that looks at
    none; null takes the encoder's first.
    """

    objective: str | None = None
    dim: Annotated[int, Field(ge=2, le=2048)] = 64  # width of what the body gives
    epochs: Annotated[int, Field(ge=1, le=1000)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    folds: Annotated[int, Field(ge=2, le=20)] = 5  # of training rows, where it is supervised


class LearnedEncoder(base.Encoder):
    """A body, (batch, dim), that `mm_assets.training.network_fitting` fits.

    Supervised, its vector is what it answers: the logits of every target, side by side. Networks
    of different folds agree on nothing else: their hidden units are in no common order, so hidden
    vectors of one fold would mean nothing to a fusion that was trained on another's.

    Source:
        Wolpert 1992, Stacked generalization, https://doi.org/10.1016/S0893-6080(05)80023-1

    Class attributes:
        objectives: What it can be fitted for, the default first: ``supervised``, ``contrastive``
            (a sample against its rendered copy), or a word for what the body's own
            `self_supervised_loss` computes, such as ``reconstruction`` or ``masked``.
    """

    fitted: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("supervised",)
    options_model: ClassVar[type[base.Options]] = LearnedOptions
    options: LearnedOptions

    def __init__(
        self,
        options: LearnedOptions,
        weights: Path,
        precision: Precision = "float32",
        sequence: bool = False,
    ) -> None:
        super().__init__(options, weights, precision, sequence)
        if self.objective not in self.objectives:
            raise ConfigError(
                f"params.yaml: `objective` of encoder {self.name} must be one of "
                f"{', '.join(self.objectives)}, got {self.objective!r}"
            )

    @property
    def objective(self) -> str:
        """What it is fitted for."""
        return self.options.objective or self.objectives[0]

    @property
    def supervised(self) -> bool:
        """Whether fitting looks at labels."""
        return self.objective == "supervised"

    @abstractmethod
    def body(self, constants: dict[str, np.ndarray]) -> nn.Module:
        """Build the network that is fitted, with fresh weights drawn from torch's generator.

        Its `forward` takes the arrays of `Modality.collate` as tensors, in their order, and
        returns (batch, options.dim) float32. In training mode it may distort what it is given
        (SpecAugment, dropout); in evaluation mode a row's vector depends on nothing but the row.
        Where `objectives` name one of its own, it has `self_supervised_loss(*arrays)`, a scalar.

        Args:
            constants: Statistics of training rows that it is built from, as
                `mm_assets.training.encoder_fitting` fits them for an encoder that needs some.
        """

    def weights_digest(self) -> str:
        """Give an empty text: there are no published weights."""
        return ""

    def dim(self, state: dict[str, np.ndarray] | None = None) -> int:
        """Give the length of a vector: the body's, or the number of all targets' logits."""
        answers = self.require_state(state).get(f"{ANSWERS}.bias")
        return int(self.options.dim) if answers is None else len(answers)

    def network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the fitted network; see `Encoder.network`."""
        from mm_assets.encoders.networks.chain import Chain

        return Chain(*self._restore(state)).eval()

    def sequence_network(self, state: dict[str, np.ndarray] | None = None) -> nn.Module:
        """Build the network that gives a sequence; see `Encoder.sequence_network`.

        Its body has `sequence`, which returns (batch, steps, options.dim) and the mask; what a
        supervised encoder would answer to each step takes the place of what it answers to all.
        """
        from mm_assets.encoders.networks.chain import StepChain

        return StepChain(*self._restore(state)).eval()

    def _restore(self, state: dict[str, np.ndarray] | None) -> tuple[nn.Module, nn.Module]:
        """Build body and last layer from a state."""
        import torch
        from torch import nn

        fitted = self.require_state(state)

        def take(prefix: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(f"{prefix}."): array
                for name, array in fitted.items()
                if name.startswith(f"{prefix}.")
            }

        answers = take(ANSWERS)
        with torch.random.fork_rng(devices=[]):  # weights are drawn, and then replaced
            body = self.body(take(CONSTANTS))
            last = nn.Linear(*reversed(answers["weight"].shape)) if answers else nn.Identity()
        body.load_state_dict({name: torch.from_numpy(a) for name, a in take(BODY).items()})
        last.load_state_dict({name: torch.from_numpy(array) for name, array in answers.items()})
        return body, last
