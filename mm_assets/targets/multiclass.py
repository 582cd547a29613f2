"""Exactly one of several classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Shaped
from pydantic import Field

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, DataContractError, TrainingError
from mm_assets.data.table import as_text
from mm_assets.targets.base import Options, Target, Tensor, must_be

if TYPE_CHECKING:
    from torch import nn

UNKNOWN = -1  # the number of a null label
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FocalLoss(Options):
    """What every loss of classes can do beside weights.

    Attributes:
        focal: Exponent gamma of (1 - p) before each logarithm: rows that are told with confidence
            count less. Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002.
        label_smoothing: Share of the label that is spread evenly over all classes (of binary and
            multilabel: over yes and no). Source: Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567, section 7.
    """

    focal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ClassLoss(FocalLoss):
    """A loss of classes as settled from training rows.

    Attributes:
        weights: Of each class, or of a yes to each label; empty where all are 1.
    """

    weights: dict[str, float] = Field(default_factory=dict)

    def weigh(
        self, names: Sequence[str], like: Float[Tensor, "batch output"]
    ) -> Float[Tensor, " name"] | None:
        """Give the weights of some classes on the device of the logits; none where all are 1."""
        import torch

        if not self.weights:
            return None
        return torch.tensor(
            [self.weights[name] for name in names], dtype=like.dtype, device=like.device
        )


class MulticlassLoss(FocalLoss):
    """Classes that are rare, or matter more, may weigh more.

    Attributes:
        class_weights: ``balanced``, so that each class has the same share of the loss, as
            `sklearn.utils.class_weight.compute_class_weight` has it; or by class, 1 for the others.
    """

    class_weights: Annotated[
        Literal["balanced"] | dict[str, Weight] | None,
        must_be("balanced, a mapping from classes to weights above 0, or null"),
    ] = None


class Multiclass(Target):
    """Softmax over classes.

    A kept label is the class's name. Tallies are the confusion matrix, rows the truth, flattened;
    then the Brier score and the log loss.
    """

    kind: ClassVar[str] = "multiclass"
    headline: ClassVar[str] = "accuracy"
    loss_model: ClassVar[type[Options]] = MulticlassLoss
    objective: ClassLoss

    def __init__(self, classes: tuple[str, ...], objective: ClassLoss | None = None) -> None:
        self.classes = classes
        self.objective = objective or ClassLoss()

    @classmethod
    def check_config(cls, config: TargetConfig, *, where: str) -> None:
        """Refuse fewer than two classes, one that is named twice, and a weight of no class.

        Raises:
            ConfigError: So it is, the loss is wrong, or an option is given: the kind has none.
        """
        super().check_config(config, where=where)
        classes = config.classes
        if classes is not None and isinstance(given := config.loss.get("class_weights"), dict):
            check_weighted(given, classes, where=f"{where}.loss.class_weights")
        if classes is not None and len(set(classes)) < max(2, len(classes)):
            raise ConfigError(
                f"params.yaml: `{where}.classes` must be at least 2 different names, got "
                f"{', '.join(classes) or 'none'}; or leave it out: the labels then say which there "
                "are"
            )

    @classmethod
    def read_labels(cls, raw: pd.Series, config: TargetConfig) -> tuple[pd.Series, pd.Series]:
        """Write each cell as text, 7 and 7.0 both as ``7``; it must be a class to the letter.

        Where `classes` is not given, any name will do. A label that only spaces around it or upper
        and lower case keep from being a class is told which one.
        """
        labels = as_text(raw)
        legal = labels.isin(config.classes) if config.classes else labels.str.strip() != ""
        bad = labels[labels.notna() & ~legal]
        wanted = f"one of {', '.join(config.classes)}" if config.classes else "a name, or null"
        meant = {name.strip().casefold(): name for name in config.classes or ()}
        close = [meant.get(label.strip().casefold()) for label in bad]
        hints = pd.Series(
            [f"; write '{name}'" if name else "" for name in close], index=bad.index, dtype="str"
        )
        return labels, "must be " + wanted + "; got '" + bad + "'" + hints

    @classmethod
    def outline(cls, labels: pd.Series) -> pd.Series:
        """Every class is a category."""
        return labels.dropna()

    @classmethod
    def fit(cls, labels: pd.Series, config: TargetConfig, *, where: str) -> Multiclass:
        """Take the configured classes, or else the training labels' distinct values, sorted.

        Raises:
            TrainingError: Fewer than two classes, or a class without any training row.
            ConfigError: A weight is of no class.
        """
        classes = cls._find_classes(labels, config, where)
        asked = MulticlassLoss.model_validate(config.loss)
        weights: dict[str, float] = {}
        if asked.class_weights == "balanced":
            counts = labels.value_counts()
            weights = {
                name: float(counts.sum() / (len(classes) * counts[name])) for name in classes
            }
        elif asked.class_weights:
            given = asked.class_weights
            check_weighted(given, classes, where=f"targets.{where}.loss.class_weights")
            weights = {name: given.get(name, 1.0) for name in classes}
        objective = ClassLoss(
            weights=weights, focal=asked.focal, label_smoothing=asked.label_smoothing
        )
        return cls(classes, objective)

    @classmethod
    def _find_classes(cls, labels: pd.Series, config: TargetConfig, where: str) -> tuple[str, ...]:
        seen = {str(label) for label in labels.dropna().unique()}
        classes = tuple(config.classes or sorted(seen))
        if len(classes) < 2:
            raise TrainingError(
                f"target {where!r} needs at least 2 classes, got {len(classes)} "
                f"({', '.join(classes) or 'no label at all'}) in the training rows; add labelled "
                "rows or take the target out of params.yaml"
            )
        if absent := [name for name in classes if name not in seen]:
            raise TrainingError(
                f"target {where!r} has no training row of class {', '.join(absent)}; add such rows "
                f"or take the class out of `targets.{where}.classes` in params.yaml"
            )
        return classes

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Multiclass:
        """Build the target again from its `state`."""
        return cls(tuple(state["classes"]), ClassLoss.model_validate(state.get("loss", {})))

    def state(self) -> dict[str, Any]:
        """Give the classes in their order, and the loss unless it is plain."""
        return {"classes": list(self.classes), **self._objective_state()}

    def encode(self, labels: pd.Series, *, where: str) -> Int[np.ndarray, " row"]:
        """Number the classes from 0 in their order; null becomes -1.

        Raises:
            DataContractError: A label is none of the classes; names it.
        """
        numbers = {name: number for number, name in enumerate(self.classes)}
        found = labels.astype(object).map(
            lambda label: UNKNOWN if pd.isna(label) else numbers.get(str(label))
        )
        if found.isna().any():
            stranger = labels[found.isna()].iloc[0]
            raise DataContractError(
                f"target {where!r} needs one of {', '.join(self.classes)}, got {stranger!r}; the "
                "validate stage quarantines such rows: run `dvc repro`"
            )
        return found.to_numpy(dtype=np.int64)

    def is_known(self, labels: Shaped[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Tell which labels are not null."""
        known: np.ndarray = labels != UNKNOWN
        return known

    def head(self, dim: int) -> nn.Module:
        """Make a linear layer to one logit per class."""
        from torch import nn

        return nn.Linear(dim, len(self.classes))

    def sum_losses(
        self,
        logits: Float[Tensor, "batch output"],
        labels: Shaped[Tensor, " batch"],
        *,
        proper: bool,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Add up cross-entropies; a row weighs as its class, as in `torch.nn.CrossEntropyLoss`.

        With `focal`, the logarithm of each class's probability p is multiplied by (1 - p) to its
        power, also where smoothing gives the class but a share of the label.
        """
        import torch
        import torch.nn.functional as F

        asked = ClassLoss() if proper else self.objective
        weights = asked.weigh(self.classes, logits)
        known = labels != UNKNOWN
        weight = known.float() if weights is None else weights[labels.clamp(min=0)] * known
        if not asked.focal:
            total = F.cross_entropy(
                logits,
                labels,
                weight=weights,
                ignore_index=UNKNOWN,
                reduction="sum",
                label_smoothing=asked.label_smoothing,
            )
            return total, weight.sum()
        count, spread = len(self.classes), asked.label_smoothing
        truth = F.one_hot(labels.clamp(min=0), count) * (1 - spread) + spread / count
        if weights is not None:
            truth = truth * weights
        logs = torch.log_softmax(logits, dim=1)
        # Kept above 0, where a power below 1 has no gradient.
        others = (-torch.expm1(logs)).clamp(min=torch.finfo(logs.dtype).eps)
        losses = -(truth * others**asked.focal * logs).sum(dim=1)
        return (losses * known).sum(), weight.sum()

    def constant_logits(self, labels: Shaped[np.ndarray, " row"]) -> Float[np.ndarray, " output"]:
        """Give the logarithms of the classes' frequencies."""
        logits: np.ndarray = np.log(self.constant(labels))
        return logits

    def mix(
        self,
        logits: Float[Tensor, "batch part output"],
        log_weights: Float[Tensor, "batch part"],
    ) -> Float[Tensor, "batch output"]:
        """Give the logarithms of the mean probabilities."""
        import torch

        logs = torch.log_softmax(logits, dim=2) + log_weights[:, :, None]
        return torch.logsumexp(logs, dim=1)

    def probabilities(self, logits: Float[Tensor, "batch output"]) -> Float[Tensor, "batch column"]:
        """Softmax."""
        import torch

        return torch.softmax(logits, dim=1)

    def pseudo_labels(
        self, probabilities: Float[np.ndarray, "row column"], confidence: float
    ) -> Int[np.ndarray, " row"]:
        """Take each row's most probable class, if it is as probable as that."""
        sure = probabilities.max(axis=1) >= confidence
        return np.where(sure, probabilities.argmax(axis=1), UNKNOWN)

    def answer(self, probabilities: Float[np.ndarray, "row column"]) -> list[str]:
        """Name each row's most probable class."""
        return [self.classes[number] for number in probabilities.argmax(axis=1)]

    def as_json(self, probabilities: Float[np.ndarray, " column"]) -> dict[str, float]:
        """Give each class's probability."""
        return dict(zip(self.classes, map(float, probabilities), strict=True))

    def as_lines(self, probabilities: Float[np.ndarray, " column"]) -> list[str]:
        """Write a bar for each class, the most probable first."""
        ranked = sorted(self.as_json(probabilities).items(), key=lambda item: -item[1])
        return [f"{name:<16} {share:6.1%}  {'█' * round(share * 30)}" for name, share in ranked]

    def constant(self, labels: Shaped[np.ndarray, " row"]) -> Float[np.ndarray, " column"]:
        """Give the classes' frequencies; its largest is the majority class."""
        counts = np.bincount(labels[self.is_known(labels)], minlength=len(self.classes))
        shares: np.ndarray = counts / counts.sum()
        return shares

    def tally(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float64[np.ndarray, "row tally"]:
        """Mark each row's cell of the confusion matrix; add its Brier score and log loss."""
        count = len(self.classes)
        cells = labels * count + probabilities.argmax(axis=1)
        truth = labels[:, None] == np.arange(count)
        return np.hstack(
            [
                cells[:, None] == np.arange(count**2),
                ((probabilities - truth) ** 2).sum(axis=1, keepdims=True, dtype=np.float64),
                log_losses(probabilities[truth])[:, None],
            ]
        )

    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute accuracy, balanced accuracy, macro and weighted F1, Brier score and log loss.

        A class that is neither present nor predicted has no F1 and is left out of the mean, as
        `sklearn.metrics.f1_score` does when its labels are not given; balanced accuracy is the mean
        recall of the classes that are present, and the weighted F1 weighs them by their rows. The
        Brier score is the squared error summed over classes, from 0 to 2; the log loss in nats.

        Source:
            Brier 1950, https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
        """
        confusion = self._fold(tallies)
        hits, present = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
        sizes, rows = present + confusion.sum(axis=1), present.sum(axis=1)  # true + predicted
        absent = np.full(hits.shape, np.nan)
        f1 = np.divide(2 * hits, sizes, out=absent.copy(), where=sizes > 0)
        recalls = np.divide(hits, present, out=absent, where=present > 0)
        return {
            "accuracy": hits.sum(axis=1) / rows,
            "balanced_accuracy": np.nanmean(recalls, axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
            "weighted_f1": np.nansum(f1 * present, axis=1) / rows,
            "brier": tallies[:, -2] / rows,
            "log_loss": tallies[:, -1] / rows,
        }

    def confusion(self, tally: Shaped[np.ndarray, " tally"]) -> Int[np.ndarray, "true predicted"]:
        """Fold a sum of tallies back into a matrix."""
        matrix: np.ndarray = self._fold(tally)[0]
        return matrix.astype(np.int64)

    def class_recalls(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Give the share of each class's rows that is answered with it."""
        confusion = self._fold(tallies)
        hits, rows = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
        recalls = np.divide(hits, rows, out=np.full(hits.shape, np.nan), where=rows > 0)
        return dict(zip(self.classes, recalls.T, strict=True))

    def rankings(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> dict[str, tuple[Bool[np.ndarray, " row"], Float[np.ndarray, " row"]]]:
        """Rank rows by each class's probability, the class against all others."""
        return {
            name: (labels == place, probabilities[:, place])
            for place, name in enumerate(self.classes)
        }

    def confidences(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> tuple[Float[np.ndarray, " claim"], Bool[np.ndarray, " claim"]]:
        """Give each row's top probability and whether that class is the label."""
        return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels

    def surprise(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float[np.ndarray, " row"]:
        """Give the top probability where it is another class's."""
        confidence, correct = self.confidences(labels, probabilities)
        return np.where(correct, 0.0, confidence)

    def _fold(self, tallies: Shaped[np.ndarray, "*some tally"]) -> np.ndarray:
        count = len(self.classes)
        return tallies[..., : count**2].reshape(-1, count, count)  # (resample, true, predicted)


def check_weighted(names: Iterable[str], classes: Sequence[str], *, where: str) -> None:
    """Refuse a weight for what is no class.

    Raises:
        ConfigError: So it is; names it.
    """
    if strangers := sorted(set(names) - set(classes)):
        raise ConfigError(
            f"params.yaml: `{where}` must name only {', '.join(classes)}, got {strangers[0]!r}"
        )


def log_losses(probabilities: Float[np.ndarray, " *shape"]) -> Float64[np.ndarray, " *shape"]:
    """Give the log loss, in nats, of what had these probabilities and is so.

    Kept finite as `sklearn.metrics.log_loss` does: a probability of 0 counts as the resolution of
    its dtype.
    """
    least = np.finfo(probabilities.dtype).eps
    lost: np.ndarray = -np.log(probabilities.astype(np.float64).clip(least, 1))
    return lost


TARGET = Multiclass
