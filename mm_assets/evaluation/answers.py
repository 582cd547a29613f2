"""What a model answers to rows, and what looking at nothing would answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mm_assets.targets.base import Target
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel
from mm_assets.training.scoring import predict_logits


@dataclass(frozen=True)
class Answers:
    """One target's answers on some of the test rows.

    Attributes:
        rows: Their numbers among all test rows, ascending; only rows with a known label.
        probabilities: Of `Target.probabilities`, calibrated, (row, column).
        tallies: Of `Target.tally`, (row, tally).
    """

    rows: Int[np.ndarray, " row"]
    probabilities: Float[np.ndarray, "row column"]
    tallies: Shaped[np.ndarray, "row tally"]


def answer_rows(
    model: FusionModel, rows: Examples, subset: Sequence[str] | None = None
) -> dict[str, Answers]:
    """Answer for the rows that have a subset of the modalities, with the others hidden.

    Args:
        model: Calibrated.
        rows: Test rows.
        subset: Names; by default every row is taken with what it has.

    Returns:
        By target.
    """
    numbers = np.arange(len(rows))
    if subset is not None:
        numbers, rows = np.flatnonzero(rows.having(*subset).numpy()), rows.offer(*subset)
    answers = {}
    for name, logits in model.temper(predict_logits(model, rows)).items():
        target, labels = model.targets[name], rows.labels[name].numpy()
        known = target.is_known(labels)
        probabilities = target.probabilities(logits).numpy()[known]
        answers[name] = Answers(
            numbers[known], probabilities, target.tally(labels[known], probabilities)
        )
    return answers


def answer_majority(
    target: Target,
    training_labels: Shaped[np.ndarray, " training *label"],
    labels: Shaped[np.ndarray, " row *label"],
) -> Answers:
    """Answer with the best constant of the training labels: what a model must beat."""
    rows = np.flatnonzero(target.is_known(labels))
    probabilities = np.tile(target.constant(training_labels), (len(rows), 1))
    return Answers(rows, probabilities, target.tally(labels[rows], probabilities))
