"""What the model is worth on every subset of its modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from mm_assets.contracts.config import EvaluationConfig
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.targets.base import Target
from mm_assets.training.examples import Examples
from mm_assets.training.loop import predict_logits
from mm_assets.training.model import FusionModel


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


def judge_answers(
    target: Target,
    majority: Answers,
    subsets: Mapping[str, Answers],
    as_given: Answers,
    groups: Shaped[np.ndarray, " row"],
    *,
    bounds: Mapping[str, float],
    config: EvaluationConfig,
    seed: int,
) -> dict[str, Any]:
    """Turn one target's answers into evidence, as `evidence.json` holds it.

    Args:
        target: The target.
        majority: Of `answer_majority`.
        subsets: Of `answer_rows` by name, small ones first and all modalities last.
        as_given: Of `answer_rows`, each row with what it has.
        groups: Of all test rows.
        bounds: The best accuracy that any model can reach, by subset, where that is known.
        config: The `evaluation` section of `params.yaml`.
        seed: Of the resamples.

    Returns:
        `majority`, `subsets` (with `upper_bound` where known; those that no row has are left
        out), `as_given` and, with several modalities, `fusion_vs_best_single`: on the rows that
        have all of them, all against the one that does best there.

    Raises:
        DataContractError: No row has a known label.
    """
    resampling: dict[str, Any] = {
        "resamples": config.bootstrap,
        "confidence": config.confidence,
        "seed": seed,
    }

    def score(answers: Answers) -> dict[str, Any]:
        return score_with_intervals(target, answers.tallies, groups[answers.rows], **resampling)

    evidence: dict[str, Any] = {
        "majority": score(majority) | {"answer": target.answer(majority.probabilities[:1])[0]},
        "subsets": {
            name: score(answers) | ({"upper_bound": bounds[name]} if name in bounds else {})
            for name, answers in subsets.items()
            if len(answers.rows)
        },
        "as_given": score(as_given),
    }
    *singles, complete = subsets
    rows = subsets[complete].rows
    singles = [name for name in singles if "+" not in name]
    if singles and len(rows):
        tallies = {
            name: subsets[name].tallies[np.isin(subsets[name].rows, rows)] for name in singles
        }

        def headline(name: str) -> float:
            return float(target.metrics(tallies[name].sum(axis=0)[None])[target.headline][0])

        best = max(singles, key=headline)
        evidence["fusion_vs_best_single"] = {
            "best_single": best,
            f"best_single_{target.headline}": headline(best),
            **compare_paired(
                target, subsets[complete].tallies, tallies[best], groups[rows], **resampling
            ),
        }
    return evidence
