"""A number, in the unit in which its column gives it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Shaped
from pydantic import Field

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.data.table import as_text
from mm_assets.targets.base import Options, Target, Tensor

if TYPE_CHECKING:
    from torch import nn


class RegressionLoss(Options):
    """Large errors may count less.

    Attributes:
        huber: From this error on, in standard deviations of the training labels, the loss grows
            linearly. Source: Huber 1964, https://doi.org/10.1214/aoms/1177703732.
    """

    huber: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Regression(Target):
    """The expected value under a normal distribution of fixed spread.

    A kept label is a float64, NaN where it is null. The network works on standardised values;
    the answer, and so the ONNX output, is in the label's own unit. Tallies are, in units of the
    training labels' spread: rows, absolute errors, squared errors, labels less the training mean,
    and their squares; centred, so that a large mean costs no digits.

    Args:
        mean: Of the training labels.
        scale: Their standard deviation.
        objective: The loss; by default plain.
    """

    kind: ClassVar[str] = "regression"
    headline: ClassVar[str] = "r2"
    has_classes: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False
    pseudo_labelled: ClassVar[bool] = False
    loss_model: ClassVar[type[Options]] = RegressionLoss
    objective: RegressionLoss

    def __init__(self, mean: float, scale: float, objective: RegressionLoss | None = None) -> None:
        self.classes = ()
        self.mean, self.scale = mean, scale
        self.objective = objective or RegressionLoss()

    @classmethod
    def check_config(cls, config: TargetConfig, *, where: str) -> None:
        """Refuse classes.

        Raises:
            ConfigError: They are given, the loss is wrong, or an option is given: there is none.
        """
        super().check_config(config, where=where)
        if config.classes is not None:
            raise ConfigError(
                f"params.yaml: `{where}.classes` belongs to kinds with classes, and a regression "
                "has none; take it out, or choose kind multiclass"
            )

    @classmethod
    def read_labels(cls, raw: pd.Series, config: TargetConfig) -> tuple[pd.Series, pd.Series]:
        """Read each cell as a finite number; NaN is null."""
        if pd.api.types.is_numeric_dtype(raw):
            values = raw.astype("float64")
            text = values.astype("str")
            known = values.notna()
        else:
            text = as_text(raw)
            known = text.notna() & (text.str.strip().str.lower() != "nan")
            values = pd.to_numeric(text, errors="coerce").astype("float64")
        bad = known & ~np.isfinite(values)
        return values.where(~bad), "must be a finite number, or null; got '" + text[bad] + "'"

    @classmethod
    def outline(cls, labels: pd.Series) -> pd.Series:
        """Sort numbers into the ranges between their quartiles; equal ones share a range."""
        known = labels.dropna()
        edges = known.quantile([0.25, 0.5, 0.75]).unique().tolist() if len(known) else []
        shown = [f"{edge:.6g}" for edge in edges]
        names = [f"up to {edge}" for edge in shown[:1]]
        names += [f"{low} to {high}" for low, high in itertools.pairwise(shown)]
        names += [f"over {edge}" for edge in shown[-1:]]
        return pd.Series(
            np.array(names, dtype=object)[np.searchsorted(edges, known)], index=known.index
        )

    @classmethod
    def forget_unseen(cls, labels: pd.Series, training: Bool[np.ndarray, " row"]) -> pd.Series:
        """Keep every number: a model may meet one that no training row has."""
        return labels

    @classmethod
    def fit(cls, labels: pd.Series, config: TargetConfig, *, where: str) -> Regression:
        """Take mean and standard deviation of the training rows' labels.

        Raises:
            TrainingError: There are no two different numbers, or their spread is no number.
        """
        known = labels.dropna().astype("float64")
        if known.nunique() < 2:
            came = f"{known.iloc[0]:g} in every one" if len(known) else "no label at all"
            raise TrainingError(
                f"target {where!r} needs at least 2 different numbers in the training rows, got "
                f"{came}; add labelled rows or take the target out of params.yaml"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = float(known.mean()), float(known.std(ddof=0))
        if not (math.isfinite(mean) and 0 < scale < math.inf):
            raise TrainingError(
                f"target {where!r} has numbers from {known.min():g} to {known.max():g}, whose "
                f"standard deviation is {scale:g}; give them in another unit"
            )
        return cls(mean, scale, RegressionLoss.model_validate(config.loss))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Regression:
        """Build the target again from its `state`."""
        objective = RegressionLoss.model_validate(state.get("loss", {}))
        return cls(state["mean"], state["scale"], objective)

    def state(self) -> dict[str, Any]:
        """Give mean and deviation of the training labels, and the loss unless it is plain."""
        return {"mean": self.mean, "scale": self.scale, **self._objective_state()}

    def encode(self, labels: pd.Series, *, where: str) -> Float64[np.ndarray, " row"]:
        """Give the numbers as they are; null is NaN."""
        return labels.to_numpy(dtype=np.float64, na_value=np.nan)

    def is_known(self, labels: Shaped[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Tell which labels are not null."""
        known: np.ndarray = ~np.isnan(labels)
        return known

    def head(self, dim: int) -> nn.Module:
        """Make a linear layer to one standardised value."""
        from torch import nn

        return nn.Linear(dim, 1)

    def sum_losses(
        self,
        logits: Float[Tensor, "batch output"],
        labels: Shaped[Tensor, " batch"],
        *,
        proper: bool,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Add up half the squared errors of standardised values, or Huber's loss of them.

        The former is the negative log likelihood, in nats, of a normal distribution that is as
        wide as the training labels, less its constant; so that it adds to the losses of classes.
        """
        import torch
        import torch.nn.functional as F

        known = ~labels.isnan()
        truth = ((labels - self.mean) / self.scale).nan_to_num(nan=0.0).to(logits.dtype)
        errors = (logits[:, 0] - truth) * known
        delta = None if proper else self.objective.huber
        total = (
            errors.square().sum() / 2
            if delta is None
            else F.huber_loss(errors, torch.zeros_like(errors), reduction="sum", delta=delta)
        )
        return total, known.float().sum()

    def constant_logits(self, labels: Shaped[np.ndarray, " row"]) -> Float[np.ndarray, " output"]:
        """Give the training mean, standardised."""
        return (self.constant(labels) - self.mean) / self.scale

    def mix(
        self,
        logits: Float[Tensor, "batch part output"],
        log_weights: Float[Tensor, "batch part"],
    ) -> Float[Tensor, "batch output"]:
        """Give the weighted mean."""
        return (logits * log_weights.exp()[:, :, None]).sum(dim=1)

    def probabilities(self, logits: Float[Tensor, "batch output"]) -> Float[Tensor, "batch column"]:
        """Turn standardised values into the label's own unit."""
        return logits * self.scale + self.mean

    def pseudo_labels(
        self, probabilities: Float[np.ndarray, "row column"], confidence: float
    ) -> Float64[np.ndarray, " row"]:
        """Refuse: a number is given without a probability.

        Raises:
            TrainingError: Always.
        """
        raise TrainingError(
            "pseudo-labels need a target that says how sure it is, got one of kind regression; "
            "take pseudo-labels out of params.yaml, or choose a kind with classes"
        )

    @property
    def unit(self) -> float:
        """The training labels' standard deviation."""
        return self.scale

    def answer(self, probabilities: Float[np.ndarray, "row column"]) -> list[str]:
        """Write each number to six digits."""
        return [f"{value:.6g}" for value in probabilities[:, 0]]

    def as_json(self, probabilities: Float[np.ndarray, " column"]) -> float:
        """Give the number."""
        return float(probabilities[0])

    def as_lines(self, probabilities: Float[np.ndarray, " column"]) -> list[str]:
        """Write the number to six digits."""
        return self.answer(probabilities[None])

    def constant(self, labels: Shaped[np.ndarray, " row"]) -> Float[np.ndarray, " column"]:
        """Give the mean of the training labels."""
        return np.array([np.nanmean(labels)])

    def tally(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float64[np.ndarray, "row tally"]:
        """Give each row's error and label, and their squares."""
        truth = (labels - self.mean) / self.scale
        error = (probabilities[:, 0].astype(np.float64) - labels) / self.scale
        return np.stack([np.ones_like(truth), np.abs(error), error**2, truth, truth**2], axis=1)

    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute R squared, and mean absolute and root mean squared error in the label's unit.

        R squared compares with the mean of the resample itself. Where all labels are equal it is
        1 if the answers are too, else 0, as `sklearn.metrics.r2_score` has it.
        """
        rows, absolute, squared, truth, squares = tallies.T
        spread = squares - truth**2 / rows
        varies = spread > 1e-12 * squares  # less is rounding
        r2 = np.where(squared > 0, 0.0, 1.0)
        r2 = 1 - np.divide(squared, spread, out=1 - r2, where=varies)
        return {
            "r2": r2,
            "mae": self.scale * absolute / rows,
            "rmse": self.scale * np.sqrt(squared / rows),
        }

    def confusion(self, tally: Shaped[np.ndarray, " tally"]) -> None:
        """A number has no confusion matrix."""
        return

    def class_recalls(self, tallies: Shaped[np.ndarray, "resample tally"]) -> None:
        """A number has no classes."""
        return

    def rankings(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> dict[str, tuple[Bool[np.ndarray, " row"], Float[np.ndarray, " row"]]]:
        """A number has no classes."""
        return {}

    def confidences(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> None:
        """A number is given without a probability."""
        return

    def surprise(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float[np.ndarray, " row"]:
        """Give the absolute error in units of the training labels' standard deviation."""
        spreads: np.ndarray = np.abs(probabilities[:, 0] - labels) / self.scale
        return spreads


TARGET = Regression
