"""What a model answers to rows, and what looking at nothing would answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

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
    for name, found in predict(model, rows).items():
        target, labels = model.targets[name], rows.labels[name].numpy()
        known = target.is_known(labels)
        answers[name] = Answers(
            numbers[known], found[known], target.tally(labels[known], found[known])
        )
    return answers


def predict(model: FusionModel, rows: Examples) -> dict[str, Float[np.ndarray, "row column"]]:
    """Give calibrated probabilities, or values, of every row by target."""
    logits = model.temper(predict_logits(model, rows))
    return {
        name: model.targets[name].probabilities(found).numpy() for name, found in logits.items()
    }


def predict_shown(
    model: FusionModel,
    rows: Examples,
    numbers: Int[np.ndarray, " case"],
    shown: Bool[np.ndarray, "case modality"],
) -> dict[str, Float[np.ndarray, "case column"]]:
    """Answer for single rows of which something is hidden; rows of their group keep what they have.

    Args:
        model: Calibrated.
        rows: Among which the cases are.
        numbers: Of each case's row; a row may come several times.
        shown: Which modalities it is answered from, of those that it has.
    """
    if rows.groups is None:
        cases, own = rows.take(torch.from_numpy(numbers)), np.arange(len(numbers))
    else:
        groups = rows.groups.numpy()
        members = [np.flatnonzero(groups == groups[number]) for number in numbers]
        cases = rows.take(torch.from_numpy(np.concatenate(members)))
        sizes = [len(one) for one in members]
        cases = replace(
            cases, groups=torch.arange(len(numbers)).repeat_interleave(torch.tensor(sizes))
        )
        inside = [
            np.searchsorted(one, number) for one, number in zip(members, numbers, strict=True)
        ]
        own = np.cumsum([0, *sizes[:-1]]) + np.array(inside)
    presence = cases.presence.clone()
    presence[torch.from_numpy(own)] = torch.from_numpy(shown)
    found = predict(model, replace(cases, presence=presence))
    return {name: answers[own] for name, answers in found.items()}


def answer_majority(
    target: Target,
    training_labels: Shaped[np.ndarray, " training *label"],
    labels: Shaped[np.ndarray, " row *label"],
) -> Answers:
    """Answer with the best constant of the training labels: what a model must beat."""
    rows = np.flatnonzero(target.is_known(labels))
    probabilities = np.tile(target.constant(training_labels), (len(rows), 1))
    return Answers(rows, probabilities, target.tally(labels[rows], probabilities))
