"""Yes or no: one of two classes, told by one logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.targets.base import Options, Tensor
from mm_assets.targets.multiclass import UNKNOWN, Multiclass

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
        classes = super().fit(labels, config, where=where).classes
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
        return cls((classes[1 - classes.index(positive)], positive))

    def head(self, dim: int) -> nn.Module:
        """Make a linear layer to one logit, of the positive class."""
        from torch import nn

        return nn.Linear(dim, 1)

    def loss(
        self, logits: Float[Tensor, "batch output"], labels: Shaped[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Mean binary cross-entropy in nats over rows with a label; 0 without any."""
        import torch.nn.functional as F

        known = labels != UNKNOWN
        truth = labels.clamp(min=0).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)

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
        """Compute accuracy, macro F1 and the positive class's F1.

        The last is 0 where that class is neither present nor predicted, as
        `sklearn.metrics.f1_score` has it.
        """
        _, wrongly, missed, found = tallies.T  # true negatives first
        sizes = 2 * found + wrongly + missed
        f1 = np.divide(2 * found, sizes, out=np.zeros(len(tallies)), where=sizes > 0)
        return {**super().metrics(tallies), "f1": f1}


TARGET = Binary
