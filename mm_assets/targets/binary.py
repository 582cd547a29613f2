"""Yes or no: one of two classes, told by one logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.targets.base import Options, Tensor, must_be
from mm_assets.targets.multiclass import UNKNOWN, ClassLoss, FocalLoss, Multiclass, Weight

if TYPE_CHECKING:
    from torch import nn


def mix_log_odds(
    logits: Float[Tensor, "batch part output"], log_weights: Float[Tensor, "batch part"]
) -> Float[Tensor, "batch output"]:
    """Give the log odds of the weighted mean of probabilities, of which log odds are given."""
    import torch
    import torch.nn.functional as F

    yes, no = (
        torch.logsumexp(F.logsigmoid(side) + log_weights[:, :, None], dim=1)
        for side in (logits, -logits)
    )
    return yes - no


def decision_losses(
    logits: Float[Tensor, "batch output"],
    labels: Shaped[Tensor, "batch output"],
    asked: ClassLoss,
    weights: Float[Tensor, " output"] | None,
) -> Float[Tensor, "batch output"]:
    """Give the binary cross-entropy, in nats, of each decision between yes and no.

    Args:
        logits: Log odds of a yes.
        labels: 1 for yes, 0 for no; other values are to be masked in the result.
        asked: With `focal`, the logarithm of each side's probability p is multiplied by (1 - p) to
            its power.
        weights: Of a yes to each label, as `pos_weight` of `torch.nn.BCEWithLogitsLoss`.
    """
    import torch.nn.functional as F

    truth = labels.clamp(min=0).to(logits.dtype)
    truth = truth * (1 - asked.label_smoothing) + asked.label_smoothing / 2
    if not asked.focal:
        return F.binary_cross_entropy_with_logits(
            logits, truth, pos_weight=weights, reduction="none"
        )
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    taken = truth * yes * (asked.focal * no).exp()
    left = (1 - truth) * no * (asked.focal * yes).exp()
    return -(taken if weights is None else taken * weights) - left


class BinaryLoss(FocalLoss):
    """A yes that is rare, or matters more, may weigh more.

    Attributes:
        positive_weight: Of a row of the positive class, where the others weigh 1; ``balanced``: so
            that both classes have the same share of the loss.
    """

    positive_weight: Annotated[
        Literal["balanced"] | Weight | None, must_be("balanced, a weight above 0, or null")
    ] = None


class BinaryOptions(Options):
    """Which class is the one that is looked for; by default the last (of 0 and 1, no and yes)."""

    positive: str | None = None


class Binary(Multiclass):
    """Sigmoid of one logit; labels, answers and tallies are those of two classes.

    Attributes:
        classes: The negative class, then the positive one.
    """

    kind: ClassVar[str] = "binary"
    options_model: ClassVar[type[Options]] = BinaryOptions
    loss_model: ClassVar[type[Options]] = BinaryLoss

    @classmethod
    def check_config(cls, config: TargetConfig, *, where: str) -> None:
        """Refuse other than two classes, and a positive one that is none of them.

        Raises:
            ConfigError: So it is, or another option is given.
        """
        super().check_config(config, where=where)
        if not config.classes:
            return
        if len(config.classes) != 2:
            raise ConfigError(
                f"params.yaml: `{where}.classes` must be 2 names for kind binary, got "
                f"{len(config.classes)}; for more classes set `{where}.kind: multiclass`"
            )
        positive = config.options.get("positive")
        if positive is not None and positive not in config.classes:
            raise ConfigError(
                f"params.yaml: `{where}.options.positive` must be one of "
                f"{', '.join(config.classes)}, got {positive!r}"
            )

    @classmethod
    def fit(cls, labels: pd.Series, config: TargetConfig, *, where: str) -> Binary:
        """Take the two classes, the positive one last.

        Raises:
            TrainingError: There are not two classes, or one has no training row.
        """
        classes = cls._find_classes(labels, config, where)
        if len(classes) != 2:
            raise TrainingError(
                f"target {where!r} of kind binary needs 2 classes, got {len(classes)} "
                f"({', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}) in the training "
                f"rows; set `targets.{where}.kind: multiclass` in params.yaml, or name the two in "
                f"`targets.{where}.classes`"
            )
        positive = BinaryOptions.model_validate(config.options).positive or classes[1]
        if positive not in classes:
            raise TrainingError(
                f"target {where!r} has no training row of class {positive}, its "
                f"`targets.{where}.options.positive`; the classes are {', '.join(classes)}"
            )
        negative = classes[1 - classes.index(positive)]
        asked = BinaryLoss.model_validate(config.loss)
        weight = asked.positive_weight
        if weight == "balanced":
            weight = float((labels == negative).sum() / (labels == positive).sum())
        objective = ClassLoss(
            weights={} if weight is None else {positive: weight},
            focal=asked.focal,
            label_smoothing=asked.label_smoothing,
        )
        return cls((negative, positive), objective)

    def head(self, dim: int) -> nn.Module:
        """Make a linear layer to one logit, of the positive class."""
        from torch import nn

        return nn.Linear(dim, 1)

    def sum_losses(
        self,
        logits: Float[Tensor, "batch output"],
        labels: Shaped[Tensor, " batch"],
        *,
        proper: bool,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Add up binary cross-entropies, to be divided by the number of rows with a label.

        So a positive weight is not divided out again, as in `torch.nn.BCEWithLogitsLoss`.
        """
        asked, known = ClassLoss() if proper else self.objective, labels != UNKNOWN
        weights = asked.weigh(self.classes[1:], logits)
        losses = decision_losses(logits, labels[:, None], asked, weights)[:, 0]
        return (losses * known).sum(), known.float().sum()

    def constant_logits(self, labels: Shaped[np.ndarray, " row"]) -> Float[np.ndarray, " output"]:
        """Give the log odds of the positive class."""
        negative, positive = self.constant(labels)
        return np.log([positive / negative])

    def mix(
        self,
        logits: Float[Tensor, "batch part output"],
        log_weights: Float[Tensor, "batch part"],
    ) -> Float[Tensor, "batch output"]:
        """Give the log odds of the mean probability."""
        return mix_log_odds(logits, log_weights)

    def probabilities(self, logits: Float[Tensor, "batch output"]) -> Float[Tensor, "batch column"]:
        """Sigmoid, of each class: two columns, as with more classes."""
        import torch

        return torch.sigmoid(torch.cat([-logits, logits], dim=1))

    def metrics(
        self, tallies: Shaped[np.ndarray, "resample tally"]
    ) -> dict[str, Float[np.ndarray, " resample"]]:
        """Compute those of several classes, and the positive class's F1.

        The last is 0 where that class is neither present nor predicted, as
        `sklearn.metrics.f1_score` has it. The Brier score is the squared error of one probability,
        from 0 to 1, as is usual for two classes: half the sum over both.
        """
        metrics = super().metrics(tallies)
        _, wrongly, missed, found = tallies[:, :4].T  # true negatives first
        sizes = 2 * found + wrongly + missed
        f1 = np.divide(2 * found, sizes, out=np.zeros(len(tallies)), where=sizes > 0)
        return metrics | {"f1": f1, "brier": metrics["brier"] / 2}

    def rankings(
        self,
        labels: Shaped[np.ndarray, " row"],
        probabilities: Float[np.ndarray, "row column"],
    ) -> dict[str, tuple[Bool[np.ndarray, " row"], Float[np.ndarray, " row"]]]:
        """Rank rows by the positive class's probability."""
        return {self.classes[1]: super().rankings(labels, probabilities)[self.classes[1]]}


TARGET = Binary
