"""What every kind of target can do; nothing outside a kind's file knows the list of kinds."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from mm_assets.contracts.config import TargetConfig


class Target(ABC):
    """One thing to predict: how labels become numbers, its head, loss, metrics and ONNX output.

    Metrics are functions of *tallies*, numbers that add up over rows (for classes: the confusion
    matrix). A resample of the rows is then a weighted sum of tallies, so intervals and paired
    tests need no knowledge of the kind.

    Attributes:
        kind: The file's name.
        headline: The metric that is shown first and compared; higher is better.
        classes: What the columns of `probabilities` stand for.
    """

    kind: ClassVar[str]
    headline: ClassVar[str]
    classes: tuple[str, ...]

    @classmethod
    @abstractmethod
    def fit(cls, labels: pd.Series, config: TargetConfig, *, where: str) -> Target:
        """Settle what is to be predicted from the training rows' labels and the configuration.

        Raises:
            TrainingError: The labels leave nothing to learn.
        """

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Target:
        """Build a target again from its `state`."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give what was settled as JSON values, kept with the model."""

    @abstractmethod
    def encode(self, labels: pd.Series, *, where: str) -> Shaped[np.ndarray, " row"]:
        """Turn labels into numbers; a null label has one that `is_known` tells apart.

        Raises:
            DataContractError: A label is not one of those that were settled.
        """

    @abstractmethod
    def is_known(self, labels: Shaped[np.ndarray, " row"]) -> Shaped[np.ndarray, " row"]:
        """Tell which encoded labels are not null, bool."""

    @abstractmethod
    def head(self, dim: int) -> nn.Module:
        """Make the layer from a fused vector (batch, dim) to logits (batch, output)."""

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "batch output"], labels: Shaped[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the rows whose label is known; 0 where there are none."""

    @abstractmethod
    def probabilities(self, logits: Float[Tensor, "batch output"]) -> Float[Tensor, "batch output"]:
        """Turn (calibrated) logits into the model's answer, which is also its ONNX output."""

    @abstractmethod
    def answer(self, probabilities: Float[np.ndarray, "row output"]) -> list[str]:
        """Name the answer to each row, as the label column would hold it."""

    @abstractmethod
    def constant(self, labels: Shaped[np.ndarray, " row"]) -> Float[np.ndarray, " output"]:
        """Give the probabilities of the best answer that looks at nothing, from training labels."""

    @abstractmethod
    def tally(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row output"],
    ) -> Int[np.ndarray, "row tally"]:
        """Count each row's contribution to the metrics; every label must be known."""

    @abstractmethod
    def confusion(
        self, tally: Int[np.ndarray, " tally"]
    ) -> Int[np.ndarray, "true predicted"] | None:
        """Give the confusion matrix that a sum of tallies holds, if the kind has one."""

    @abstractmethod
    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute every metric from sums of tallies, one per resample, for all of them at once."""


def find_target(kind: str) -> type[Target]:
    """Import a kind's file and return its class; `load_project` has checked that it exists."""
    found: type[Target] = importlib.import_module(f"mm_assets.targets.{kind}").TARGET
    return found
