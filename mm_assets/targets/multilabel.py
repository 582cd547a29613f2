"""Any number of labels at once, each told by itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Shaped
from pydantic import Field

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, DataContractError, TrainingError
from mm_assets.data.table import as_text
from mm_assets.targets.base import Options, Target, Tensor, must_be
from mm_assets.targets.binary import decision_losses, mix_log_odds
from mm_assets.targets.multiclass import ClassLoss, FocalLoss, Weight, check_weighted, log_losses

if TYPE_CHECKING:
    from torch import nn

UNKNOWN = -1  # in every place of a row whose labels are null


class MultilabelOptions(Options):
    """What stands between the labels of a cell that is text."""

    separator: Annotated[str, Field(min_length=1)] = "|"


class MultilabelLoss(FocalLoss):
    """Labels that are rare, or matter more, may weigh more.

    Attributes:
        positive_weight: Of a yes, where a no weighs 1: one for all labels, or by label, 1 for the
            others; ``balanced``: so that yes and no have the same share of each label's loss.
    """

    positive_weight: Annotated[
        Literal["balanced"] | Weight | dict[str, Weight] | None,
        must_be("balanced, a weight above 0, a mapping from labels to such weights, or null"),
    ] = None


class Multilabel(Target):
    """A sigmoid per label, and a threshold from which on it is answered.

    A kept label is a row's set as JSON text, sorted: ``["loud", "tender"]``; ``[]`` is a known set
    without any label, null an unknown one. Tallies are true positives, false positives and false
    negatives by label, then rows that are right in every label, rows, Brier score and log loss.

    Args:
        classes: The labels.
        thresholds: Of each; probabilities from it on are a yes.
        objective: The loss, as settled; by default plain.
    """

    kind: ClassVar[str] = "multilabel"
    headline: ClassVar[str] = "macro_f1"
    options_model: ClassVar[type[Options]] = MultilabelOptions
    loss_model: ClassVar[type[Options]] = MultilabelLoss
    objective: ClassLoss

    def __init__(
        self,
        classes: tuple[str, ...],
        thresholds: tuple[float, ...] = (),
        objective: ClassLoss | None = None,
    ) -> None:
        self.classes = classes
        self.objective = objective or ClassLoss()
        self.thresholds = np.array(thresholds or [0.5] * len(classes))

    @classmethod
    def check_config(cls, config: TargetConfig, *, where: str) -> None:
        """Refuse fewer than two labels, one that is named twice, and a weight of no label.

        Raises:
            ConfigError: So it is, or an option or the loss is wrong.
        """
        super().check_config(config, where=where)
        classes = config.classes
        if classes is not None and isinstance(given := config.loss.get("positive_weight"), dict):
            check_weighted(given, classes, where=f"{where}.loss.positive_weight")
        if classes is not None and len(set(classes)) < max(2, len(classes)):
            raise ConfigError(
                f"params.yaml: `{where}.classes` must be at least 2 different labels, got "
                f"{', '.join(classes) or 'none'}; one label alone is of kind binary"
            )

    @classmethod
    def read_labels(cls, raw: pd.Series, config: TargetConfig) -> tuple[pd.Series, pd.Series]:
        """Read each cell as a set of names: a list, a JSON list as text, or separated text.

        An empty list is a known set without any label; an empty or blank text is null.
        """
        separator = MultilabelOptions.model_validate(config.options).separator
        is_list = raw.map(lambda cell: isinstance(cell, (list, tuple, np.ndarray)))
        cells = as_text(raw.mask(is_list, None))
        cells[is_list] = raw[is_list].map(lambda cell: json.dumps(list(cell), default=str))
        cells = cells.mask(cells.str.strip() == "", None)
        sets, details = {}, {}
        for cell in cells.dropna().unique():
            try:
                sets[cell] = _write(_parse(cell, separator))
                strangers = sorted(set(json.loads(sets[cell])) - set(config.classes or []))
                if config.classes and strangers:
                    details[cell] = (
                        f"must name only {', '.join(config.classes)}; got '{strangers[0]}'"
                    )
            except ValueError:
                details[cell] = (
                    f"must be a list of names, or names separated by {separator!r}; got '{cell}'"
                )
        return cells.map(sets).astype("str"), cells.map(details).dropna().astype("str")

    @classmethod
    def outline(cls, labels: pd.Series) -> pd.Series:
        """Every label of a row is a category; an empty set has none."""
        known = labels.dropna()
        return known.map({text: json.loads(text) for text in known.unique()}).explode().dropna()

    @classmethod
    def forget_unseen(cls, labels: pd.Series, training: Bool[np.ndarray, " row"]) -> pd.Series:
        """Take labels that occur in no training row out of the sets."""
        seen = set(cls.outline(labels[training]))
        return labels.map(
            {
                text: _write([name for name in json.loads(text) if name in seen])
                for text in labels.dropna().unique()
            }
        )

    @classmethod
    def fit(cls, labels: pd.Series, config: TargetConfig, *, where: str) -> Multilabel:
        """Take the configured labels, or else those of the training rows, sorted.

        Raises:
            TrainingError: Fewer than two labels, one without any training row, or none that tells
                training rows apart.
            ConfigError: A weight is of no label.
        """
        seen = set(cls.outline(labels))
        classes = tuple(config.classes or sorted(seen))
        if len(classes) < 2:
            raise TrainingError(
                f"target {where!r} of kind multilabel needs at least 2 labels, got {len(classes)} "
                f"({', '.join(classes) or 'none at all'}) in the training rows; add labelled rows, "
                "or tell a single label by kind binary"
            )
        if absent := [name for name in classes if name not in seen]:
            raise TrainingError(
                f"target {where!r} has no training row with label {', '.join(absent)}; add such "
                f"rows or take the label out of `targets.{where}.classes` in params.yaml"
            )
        rows, counts = int(labels.notna().sum()), cls.outline(labels).value_counts()
        if (counts == rows).all():
            raise TrainingError(
                f"target {where!r} needs a label that some training rows lack, but all {rows} that "
                f"are labelled have {', '.join(classes)}; add other rows or take the target out of "
                "params.yaml"
            )
        asked = MultilabelLoss.model_validate(config.loss)
        weights: dict[str, float] = {}
        if asked.positive_weight == "balanced":
            # Half a row says no where none does.
            weights = {
                name: float(max(rows - counts[name], 0.5) / counts[name]) for name in classes
            }
        elif isinstance(asked.positive_weight, dict):
            given = asked.positive_weight
            check_weighted(given, classes, where=f"targets.{where}.loss.positive_weight")
            weights = {name: given.get(name, 1.0) for name in classes}
        elif asked.positive_weight is not None:
            weights = dict.fromkeys(classes, asked.positive_weight)
        objective = ClassLoss(
            weights=weights, focal=asked.focal, label_smoothing=asked.label_smoothing
        )
        return cls(classes, objective=objective)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Multilabel:
        """Build the target again from its `state`."""
        return cls(
            tuple(state["classes"]),
            tuple(state["thresholds"]),
            ClassLoss.model_validate(state.get("loss", {})),
        )

    def state(self) -> dict[str, Any]:
        """Give the labels in their order, their thresholds, and the loss unless it is plain."""
        return {
            "classes": list(self.classes),
            "thresholds": self.thresholds.tolist(),
            **self._objective_state(),
        }

    def encode(self, labels: pd.Series, *, where: str) -> Int[np.ndarray, "row label"]:
        """Mark a row's labels with 1, the others with 0; a null row is -1 throughout.

        Raises:
            DataContractError: A label is not one of those that were settled; names it.
        """
        places = {name: place for place, name in enumerate(self.classes)}
        codes, texts = pd.factorize(labels)  # -1 for null
        encoded = np.zeros((len(texts) + 1, len(places)), dtype=np.int64)
        encoded[-1] = UNKNOWN
        for row, text in enumerate(texts):
            names = json.loads(text)
            if strangers := [name for name in names if name not in places]:
                raise DataContractError(
                    f"target {where!r} knows the labels {', '.join(self.classes)}, got "
                    f"{strangers[0]!r}; the validate stage quarantines such rows: run `dvc repro`"
                )
            encoded[row, [places[name] for name in names]] = 1
        return encoded[codes]

    def is_known(self, labels: Shaped[np.ndarray, "row label"]) -> Bool[np.ndarray, " row"]:
        """Tell which rows' labels are not null."""
        known: np.ndarray = labels[:, 0] != UNKNOWN
        return known

    def fit_thresholds(
        self,
        labels: Shaped[np.ndarray, "row label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> None:
        """Choose for each label the threshold of highest F1; 0.5 for one that no row has.

        Midway between two probabilities, so that no answer hangs on a last bit.

        Source:
            Lipton et al. 2014, https://arxiv.org/abs/1402.1892.
        """
        for place in range(len(self.classes)):
            has, shown = labels[:, place] == 1, probabilities[:, place].astype(np.float64)
            if not has.any():
                self.thresholds[place] = 0.5
                continue
            order = np.argsort(-shown, kind="stable")
            shown, found = shown[order], np.cumsum(has[order])
            f1 = 2 * found / (np.arange(1, len(shown) + 1) + found[-1])
            below = np.append(shown[1:], 0.0)
            f1[shown == below] = 0  # equal probabilities are answered alike
            best = int(f1.argmax())
            self.thresholds[place] = (shown[best] + below[best]) / 2

    def head(self, dim: int) -> nn.Module:
        """Make a linear layer to one logit per label."""
        from torch import nn

        return nn.Linear(dim, len(self.classes))

    def sum_losses(
        self,
        logits: Float[Tensor, "batch output"],
        labels: Shaped[Tensor, "batch output"],
        *,
        proper: bool,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Add up binary cross-entropies, averaged over labels, to be divided by the known rows."""
        asked, known = ClassLoss() if proper else self.objective, labels[:, 0] != UNKNOWN
        weights = asked.weigh(self.classes, logits)
        losses = decision_losses(logits, labels, asked, weights).mean(dim=1)
        return (losses * known).sum(), known.float().sum()

    def constant_logits(
        self, labels: Shaped[np.ndarray, "row label"]
    ) -> Float[np.ndarray, " output"]:
        """Give the log odds of each label, kept finite by half a row where all rows have it."""
        known = labels[self.is_known(labels)]
        margin = 0.5 / len(known)
        shares = known.mean(axis=0).clip(margin, 1 - margin)
        logits: np.ndarray = np.log(shares / (1 - shares))
        return logits

    def mix(
        self,
        logits: Float[Tensor, "batch part output"],
        log_weights: Float[Tensor, "batch part"],
    ) -> Float[Tensor, "batch output"]:
        """Give the log odds of each label's mean probability."""
        return mix_log_odds(logits, log_weights)

    def probabilities(self, logits: Float[Tensor, "batch output"]) -> Float[Tensor, "batch column"]:
        """Sigmoid of each label's logit."""
        import torch

        return torch.sigmoid(logits)

    def pseudo_labels(
        self, probabilities: Float[np.ndarray, "row column"], confidence: float
    ) -> Int[np.ndarray, "row label"]:
        """Take the decisions of each row where every one of them, yes or no, is as sure as that."""
        given = self._decide(probabilities)
        sure = (self._state_confidence(probabilities) >= confidence).all(axis=1, keepdims=True)
        return np.where(sure, given.astype(np.int64), UNKNOWN)

    def answer(self, probabilities: Float[np.ndarray, "row column"]) -> list[str]:
        """Write each row's set as JSON text."""
        return [
            _write([name for name, yes in zip(self.classes, row, strict=True) if yes])
            for row in self._decide(probabilities)
        ]

    def as_json(self, probabilities: Float[np.ndarray, " column"]) -> dict[str, Any]:
        """Give the labels that are answered, and every label's probability."""
        return {
            "labels": json.loads(self.answer(probabilities[None])[0]),
            "probabilities": dict(zip(self.classes, map(float, probabilities), strict=True)),
        }

    def as_lines(self, probabilities: Float[np.ndarray, " column"]) -> list[str]:
        """Write yes or no for each label, the most probable first, with the least of a yes."""
        answer = self.as_json(probabilities)
        thresholds = dict(zip(self.classes, self.thresholds, strict=True))
        ranked = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
        return [
            f"{name:<16} {'yes' if name in answer['labels'] else 'no':<3} {share:6.1%}  "
            f"(yes from {thresholds[name]:.1%})"
            for name, share in ranked
        ]

    def constant(self, labels: Shaped[np.ndarray, "row label"]) -> Float[np.ndarray, " column"]:
        """Answer every label always.

        Of all answers that look at nothing it has the highest F1 of each label that occurs.

        Source:
            Lipton et al. 2014, https://arxiv.org/abs/1402.1892, section 5.
        """
        return np.ones(len(self.classes))

    def tally(
        self,
        labels: Shaped[np.ndarray, "row label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float64[np.ndarray, "row tally"]:
        """Mark each row's hits, wrong and missed labels; add its Brier score and log loss."""
        truth, given = labels == 1, self._decide(probabilities)
        exact = (truth == given).all(axis=1)
        squares = ((probabilities - truth) ** 2).mean(axis=1, dtype=np.float64)
        logs = log_losses(np.where(truth, probabilities, 1 - probabilities)).mean(axis=1)
        row = np.stack([exact, np.ones_like(exact), squares, logs], axis=1)
        return np.hstack([truth & given, ~truth & given, truth & ~given, row])

    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute what follows from each label's decisions, by label or for all of them.

        A label that is neither present nor answered has no F1 and is left out of the mean; where
        that is so for every label nothing was to be found, and every F1 is 1. The weighted F1
        weighs labels by the rows that have them. Balanced accuracy is the mean recall of yes and no
        (of the one that is present, where all rows agree), averaged over labels. The Hamming loss
        is the share of wrong decisions. The Brier score is the squared error of a label's
        probability, the log loss in nats; both are averaged over labels.
        """
        found, wrong, missed, exact, rows, brier, logs = self._part(tallies)
        sizes, present = 2 * found + wrong + missed, found + missed
        f1 = np.divide(2 * found, sizes, out=np.zeros(found.shape), where=sizes > 0)
        labels, total, owners = (sizes > 0).sum(axis=1), sizes.sum(axis=1), present.sum(axis=1)
        nothing = (total == 0).astype(np.float64)  # was to be found, and nothing was
        absent = rows[:, None] - present
        recalls = np.full((2, *found.shape), np.nan)
        np.divide(found, present, out=recalls[0], where=present > 0)
        np.divide(absent - wrong, absent, out=recalls[1], where=absent > 0)
        return {
            "macro_f1": np.divide(f1.sum(axis=1), labels, out=nothing.copy(), where=labels > 0),
            "micro_f1": np.divide(
                2 * found.sum(axis=1), total, out=nothing.copy(), where=total > 0
            ),
            "weighted_f1": np.divide(
                (f1 * present).sum(axis=1), owners, out=nothing, where=owners > 0
            ),
            "balanced_accuracy": np.nanmean(recalls, axis=0).mean(axis=1),
            "exact_match": exact / rows,
            "hamming_loss": (wrong + missed).sum(axis=1) / (rows * len(self.classes)),
            "brier": brier / rows,
            "log_loss": logs / rows,
        }

    def confusion(self, tally: Shaped[np.ndarray, " tally"]) -> None:
        """A set of labels has no confusion matrix."""
        return

    def class_recalls(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Give the share of the rows that have a label which is answered."""
        found, _, missed, *_ = self._part(tallies)
        rows = found + missed
        recalls = np.divide(found, rows, out=np.full(found.shape, np.nan), where=rows > 0)
        return dict(zip(self.classes, recalls.T, strict=True))

    def rankings(
        self,
        labels: Shaped[np.ndarray, "row label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> dict[str, tuple[Bool[np.ndarray, " row"], Float[np.ndarray, " row"]]]:
        """Rank rows by each label's probability."""
        return {
            name: (labels[:, place] == 1, probabilities[:, place])
            for place, name in enumerate(self.classes)
        }

    def confidences(
        self,
        labels: Shaped[np.ndarray, "row label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> tuple[Float[np.ndarray, " claim"], Bool[np.ndarray, " claim"]]:
        """Give the probability of each decision, yes or no, and whether it is right."""
        right = self._decide(probabilities) == (labels == 1)
        return self._state_confidence(probabilities).ravel(), right.ravel()

    def surprise(
        self,
        labels: Shaped[np.ndarray, "row label"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> Float[np.ndarray, " row"]:
        """Give the largest probability of a wrong decision."""
        stated, right = self.confidences(labels, probabilities)
        worst: np.ndarray = np.where(right, 0.0, stated).reshape(labels.shape).max(axis=1)
        return worst

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        decided: np.ndarray = probabilities >= self.thresholds
        return decided

    def _state_confidence(self, probabilities: np.ndarray) -> np.ndarray:
        """Give the probability of each decision, yes or no."""
        return np.where(self._decide(probabilities), probabilities, 1 - probabilities)

    def _part(self, tallies: np.ndarray) -> tuple[np.ndarray, ...]:
        """Take tallies apart: hits, wrong and missed by label, exact rows, rows, Brier, log loss."""
        count = len(self.classes)
        found, wrong, missed, rest = np.split(tallies, [count, 2 * count, 3 * count], axis=1)
        return found, wrong, missed, *rest.T


def _parse(cell: str, separator: str) -> list[str]:
    """Take the names out of a cell that is not blank.

    Raises:
        ValueError: It is no list of names.
    """
    found = json.loads(cell) if cell.lstrip().startswith("[") else cell.split(separator)
    names = [str(name).strip() for name in found if isinstance(name, (str, int, float))]
    if len(names) < len(found) or not all(names):
        raise ValueError(cell)
    return names


def _write(names: Iterable[str]) -> str:
    """Write a set of names always in the same way."""
    return json.dumps(sorted(set(names)), ensure_ascii=False)


TARGET = Multilabel
