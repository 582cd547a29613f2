"""What every kind of target can do; nothing outside a kind's file knows the list of kinds.

A kind's file is imported by stages that need no torch (`validate`, `augment`) and by the server,
so torch is imported inside the methods that compute with it.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator

from mm_assets.contracts.config import TargetConfig, validate_options
from mm_assets.contracts.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor as Tensor
    from torch import nn
else:
    Tensor = Any  # shapes and dtypes of any array are then checked in tests, without torch


class Options(BaseModel):
    """A kind's options, from `targets.KEY.options` or `targets.KEY.loss`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def must_be(wanted: str) -> WrapValidator:
    """Have a field of several types say in one sentence what it takes, not once for each type."""

    def check(value: object, validate: Callable[[object], object]) -> object:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"must be {wanted}") from None

    return WrapValidator(check)


class Target(ABC):
    """One thing to predict: how labels become numbers, its head, loss, metrics and ONNX output.

    A column of labels takes three forms: *raw* cells of the user's table; *kept* labels, which the
    validated table holds (one text or number each, equal for equal labels, null stays null); and
    *encoded* labels, numbers (row, ...) for the loss and the metrics.

    Metrics are functions of *tallies*, numbers that add up over rows (for classes: the confusion
    matrix). A resample of the rows is then a weighted sum of tallies, so intervals and paired
    tests need no knowledge of the kind.

    Attributes:
        kind: The file's name.
        headline: The metric that is shown first and compared; higher is better.
        has_classes: Whether `outline` gives classes that the model learns, or ranges of numbers.
        calibrated: Whether a temperature is fitted to the logits.
        pseudo_labelled: Whether its answers say how sure they are, so that sure ones can be learnt.
        options_model: Of `targets.KEY.options`.
        loss_model: Of `targets.KEY.loss`.
        classes: What the columns of `probabilities` stand for; empty for a number.
        objective: How the training loss differs from `loss`, as settled from training rows.
    """

    kind: ClassVar[str]
    headline: ClassVar[str]
    has_classes: ClassVar[bool] = True
    calibrated: ClassVar[bool] = True
    pseudo_labelled: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = Options
    loss_model: ClassVar[type[Options]]
    classes: tuple[str, ...]
    objective: Options

    # Raw and kept labels, without torch.

    @classmethod
    def check_config(cls, config: TargetConfig, *, where: str) -> None:
        """Refuse a configuration that the kind cannot follow, before any work.

        Args:
            config: Of the target.
            where: Its place, such as ``targets.mood``.

        Raises:
            ConfigError: An option or the loss is wrong, or `classes` do not fit the kind.
        """
        validate_options(cls.options_model, config.options, where=f"{where}.options")
        validate_options(cls.loss_model, config.loss, where=f"{where}.loss")

    @classmethod
    @abstractmethod
    def read_labels(cls, raw: pd.Series, config: TargetConfig) -> tuple[pd.Series, pd.Series]:
        """Read the label column of the user's table.

        Args:
            raw: Cells as `read_table` gave them.
            config: Of the target.

        Returns:
            Kept labels, same index; and what is wrong with each illegal one, as a sentence
            without its target, indexed by those rows alone.
        """

    @classmethod
    @abstractmethod
    def outline(cls, labels: pd.Series) -> pd.Series:
        """Sort kept labels into named categories, by which distributions are compared.

        Args:
            labels: Kept labels.

        Returns:
            Text, the index that of the labels: one category per known label, several where a row
            has several labels (its index is then repeated), none for null.
        """

    @classmethod
    def forget_unseen(cls, labels: pd.Series, training: Bool[np.ndarray, " row"]) -> pd.Series:
        """Make labels null whose category occurs in no training row, so that none can learn it.

        Args:
            labels: Kept labels.
            training: Which of them are training rows.
        """
        return labels.where(labels.isin(labels[training].dropna().unique()), None)

    # What is settled from training rows, and kept with the model.

    @classmethod
    @abstractmethod
    def fit(cls, labels: pd.Series, config: TargetConfig, *, where: str) -> Target:
        """Settle what is to be predicted from the training rows' kept labels.

        Raises:
            TrainingError: The labels leave nothing to learn.
            ConfigError: The loss has a weight for a class that is none of the training labels'.
        """

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Target:
        """Build a target again from its `state`; other keys of the mapping are ignored."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Give what was settled as JSON values, kept with the model and its signature."""

    def _objective_state(self) -> dict[str, Any]:
        """Give `objective` as an entry of the state; none by default."""
        given = self.objective.model_dump(exclude_defaults=True)
        return {"loss": given} if given else {}

    @abstractmethod
    def encode(self, labels: pd.Series, *, where: str) -> Shaped[np.ndarray, " row *label"]:
        """Turn kept labels into numbers; a null label has one that `is_known` tells apart.

        Raises:
            DataContractError: A label is not one of those that were settled.
        """

    @abstractmethod
    def is_known(self, labels: Shaped[np.ndarray, " row *label"]) -> Bool[np.ndarray, " row"]:
        """Tell which encoded labels are not null."""

    def fit_thresholds(
        self,
        labels: Shaped[np.ndarray, " row *label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> None:
        """Settle from validation rows where an answer tips over, for a kind that has thresholds.

        Args:
            labels: Encoded, all known.
            probabilities: Calibrated.
        """
        return  # most kinds have none

    # The network's part.

    @abstractmethod
    def head(self, dim: int) -> nn.Module:
        """Make the layer from a fused vector (batch, dim) to logits (batch, output)."""

    @abstractmethod
    def sum_losses(
        self,
        logits: Float[Tensor, "batch output"],
        labels: Shaped[Tensor, " batch *label"],
        *,
        proper: bool,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Add up the losses of the rows whose label is known, and what to divide the sum by.

        Args:
            logits: Of each row.
            labels: Encoded.
            proper: Whether each row has its plain loss in nats, or `objective` is followed.

        Returns:
            Sum of losses and sum of weights (of the plain loss: the number of known rows), both 0
            where no label is known; they add up over parts of a batch.
        """

    def loss(
        self, logits: Float[Tensor, "batch output"], labels: Shaped[Tensor, " batch *label"]
    ) -> Float[Tensor, ""]:
        """Mean loss in nats over the rows whose label is known; 0 where there are none.

        It is a proper score, least for the true probabilities: what calibration and evidence use.
        """
        return _divide(*self.sum_losses(logits, labels, proper=True))

    def training_loss(
        self, logits: Float[Tensor, "batch output"], labels: Shaped[Tensor, " batch *label"]
    ) -> Float[Tensor, ""]:
        """Weighted mean of the loss that `targets.KEY.loss` asks for; 0 where no label is known.

        It is what is trained, and stopped, by; by default the same as `loss`.
        """
        return _divide(*self.training_loss_sum(logits, labels))

    def training_loss_sum(
        self, logits: Float[Tensor, "batch output"], labels: Shaped[Tensor, " batch *label"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Give `training_loss` as its numerator and denominator, which add up over processes."""
        return self.sum_losses(logits, labels, proper=False)

    @abstractmethod
    def constant_logits(
        self, labels: Shaped[np.ndarray, " row *label"]
    ) -> Float[np.ndarray, " output"]:
        """Give the logits of least loss that look at nothing, from training labels."""

    @abstractmethod
    def mix(
        self,
        logits: Float[Tensor, "batch part output"],
        log_weights: Float[Tensor, "batch part"],
    ) -> Float[Tensor, "batch output"]:
        """Give the logits of the weighted mean of several answers.

        Args:
            logits: Of each part.
            log_weights: Logarithms of weights that add up to 1 in each row.
        """

    @abstractmethod
    def probabilities(self, logits: Float[Tensor, "batch output"]) -> Float[Tensor, "batch column"]:
        """Turn (calibrated) logits into the model's answer, which is also its ONNX output.

        Probabilities, one column per class; the value in the label's own unit for a number.
        """

    # Answers.

    @abstractmethod
    def pseudo_labels(
        self, probabilities: Float[np.ndarray, "row column"], confidence: float
    ) -> Shaped[np.ndarray, " row *label"]:
        """Take sure answers as labels.

        Args:
            probabilities: Calibrated.
            confidence: The probability from which on an answer is taken.

        Returns:
            Encoded labels, null where the answer is less sure.

        Raises:
            TrainingError: The kind does not say how sure it is; see `pseudo_labelled`.

        Source:
            Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for
            Deep Neural Networks"; Sohn et al. 2020, https://arxiv.org/abs/2001.07685 (the
            threshold).
        """

    @property
    def unit(self) -> float:
        """What differences between two answers are divided by: 1 for probabilities."""
        return 1.0

    @abstractmethod
    def answer(self, probabilities: Float[np.ndarray, "row column"]) -> list[str]:
        """Write the answer to each row as text, as the kept label would be written."""

    @abstractmethod
    def as_json(self, probabilities: Float[np.ndarray, " column"]) -> object:
        """Give one row's answer as `mm predict --json` prints it."""

    @abstractmethod
    def as_lines(self, probabilities: Float[np.ndarray, " column"]) -> list[str]:
        """Write one row's answer in lines for a person."""

    # Evidence.

    @abstractmethod
    def constant(self, labels: Shaped[np.ndarray, " row *label"]) -> Float[np.ndarray, " column"]:
        """Give the answer that looks at nothing and has the best headline, from training labels."""

    @abstractmethod
    def tally(
        self,
        labels: Shaped[np.ndarray, " row *label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Shaped[np.ndarray, "row tally"]:
        """Give each row's contribution to the metrics, int64 or float64; all labels known."""

    @abstractmethod
    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute every metric from sums of tallies, one per resample, for all of them at once.

        Of `brier`, `log_loss`, `hamming_loss`, `mae` and `rmse` lower is better.
        """

    @abstractmethod
    def confusion(
        self, tally: Shaped[np.ndarray, " tally"]
    ) -> Int[np.ndarray, "true predicted"] | None:
        """Give the confusion matrix that a sum of tallies holds, if the kind has one."""

    @abstractmethod
    def class_recalls(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]] | None:
        """Give each class's recall by sum of tallies, if the kind has classes.

        NaN where a resample has no row of the class.
        """

    @abstractmethod
    def rankings(
        self,
        labels: Shaped[np.ndarray, " row *label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> dict[str, tuple[Bool[np.ndarray, " row"], Float[np.ndarray, " row"]]]:
        """Tell, by class, which rows are of it and by what score it ranks all of them.

        Empty for a kind without probabilities; all labels must be known.
        """

    @abstractmethod
    def confidences(
        self,
        labels: Shaped[np.ndarray, " row *label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> tuple[Float[np.ndarray, " claim"], Bool[np.ndarray, " claim"]] | None:
        """Give the probability of everything that is claimed, and whether it is so.

        One claim per row where there is one answer; one per row and label, rows first, where each
        label is answered by itself; null for a kind without probabilities. All labels must be known.
        """

    @abstractmethod
    def surprise(
        self,
        labels: Shaped[np.ndarray, " row *label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float[np.ndarray, " row"]:
        """Tell how confidently each row is answered wrongly: 0 where right; all labels known."""


def _divide(total: Float[Tensor, ""], weight: Float[Tensor, ""]) -> Float[Tensor, ""]:
    import torch

    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def list_kinds() -> list[str]:
    """List the kinds of target, that is the files beside this one."""
    package = importlib.import_module("mm_assets.targets")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base")


def find_target(kind: str) -> type[Target]:
    """Import a kind's file and return its class; `load_target` has checked that it exists."""
    found: type[Target] = importlib.import_module(f"mm_assets.targets.{kind}").TARGET
    return found


def load_target(config: TargetConfig, *, where: str) -> type[Target]:
    """Find a target's kind and have it check the configuration; no torch is imported.

    Args:
        config: Of the target.
        where: Its place in `params.yaml`, such as ``targets.mood``.

    Raises:
        ConfigError: No such kind, or it cannot follow the configuration.
    """
    if config.kind not in list_kinds():
        raise ConfigError(
            f"params.yaml: `{where}.kind` must be one of {', '.join(list_kinds())}, got "
            f"{config.kind!r}"
        )
    found = find_target(config.kind)
    found.check_config(config, where=where)
    return found
