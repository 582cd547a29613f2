"""Exactly one of several classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, DataContractError, TrainingError
from mm_assets.data.table import as_text
from mm_assets.targets.base import Target, Tensor

if TYPE_CHECKING:
    from torch import nn

UNKNOWN = -1  # the number of a null label


class Multiclass(Target):
    """Softmax over classes; tallies are the confusion matrix, rows the truth, flattened.

    A kept label is the class's name.
    """

    kind: ClassVar[str] = "multiclass"
    headline: ClassVar[str] = "accuracy"

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes

    @classmethod
    def check_config(cls, config: TargetConfig, *, where: str) -> None:
        """Refuse fewer than two classes, and one that is named twice.

        Raises:
            ConfigError: So it is, or an option is given: the kind has none.
        """
        super().check_config(config, where=where)
        classes = config.classes
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
        """
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
        return cls(classes)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Multiclass:
        """Build the target again from its `state`."""
        return cls(tuple(state["classes"]))

    def state(self) -> dict[str, Any]:
        """Give the classes in their order."""
        return {"classes": list(self.classes)}

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

    def loss(
        self, logits: Float[Tensor, "batch output"], labels: Shaped[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over rows with a label; 0 (with a gradient) without any."""
        import torch.nn.functional as F

        total = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
        return total / (labels != UNKNOWN).sum().clamp(min=1)

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

    def answer(self, probabilities: Float[np.ndarray, "row column"]) -> list[str]:
        """Name each row's most probable class."""
        return [self.classes[number] for number in probabilities.argmax(axis=1)]

    def as_json(self, probabilities: Float[np.ndarray, " column"]) -> dict[str, float]:
        """Give each class's probability."""
        return dict(zip(self.classes, map(float, probabilities), strict=True))

    def as_lines(self, answer: dict[str, float]) -> list[str]:
        """Write a bar for each class, the most probable first."""
        ranked = sorted(answer.items(), key=lambda item: -item[1])
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
    ) -> Int[np.ndarray, "row tally"]:
        """Mark each row's cell of the confusion matrix."""
        cells = labels * len(self.classes) + probabilities.argmax(axis=1)
        tallies: np.ndarray = cells[:, None] == np.arange(len(self.classes) ** 2)
        return tallies.astype(np.int64)

    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute accuracy and macro F1.

        A class that is neither present nor predicted has no F1 and is left out of the mean, as
        `sklearn.metrics.f1_score` does when its labels are not given.
        """
        confusion = self._fold(tallies)
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        sizes = confusion.sum(axis=2) + confusion.sum(axis=1)  # true + predicted, by class
        f1 = np.divide(2 * hits, sizes, out=np.full(hits.shape, np.nan), where=sizes > 0)
        return {
            "accuracy": hits.sum(axis=1) / confusion.sum(axis=(1, 2)),
            "macro_f1": np.nanmean(f1, axis=1),
        }

    def confusion(self, tally: Int[np.ndarray, " tally"]) -> Int[np.ndarray, "true predicted"]:
        """Fold a sum of tallies back into a matrix."""
        matrix: np.ndarray = self._fold(tally)[0]
        return matrix

    def class_recalls(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Give the share of each class's rows that is answered with it."""
        confusion = self._fold(tallies)
        hits, rows = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
        recalls = np.divide(hits, rows, out=np.full(hits.shape, np.nan), where=rows > 0)
        return dict(zip(self.classes, recalls.T, strict=True))

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
        return tallies.reshape(-1, count, count)  # (resample, true, predicted)


TARGET = Multiclass
