"""The answers that are wrong and most sure of it: mislabelled rows and blind spots show here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mm_assets.evaluation.answers import Answers
from mm_assets.evaluation.base import ByTarget, Material
from mm_assets.evaluation.shapley import MOST_MODALITIES, explain_rows
from mm_assets.modalities.base import Modality
from mm_assets.validation.previews import preview

MOST_ERRORS, MOST_RIGHT = 8, 4  # of each target that are shown


def find_confident_errors(surprise: Float[np.ndarray, " row"]) -> Int[np.ndarray, " error"]:
    """Number the wrongly answered rows, the most surprising first and no more than are shown.

    Args:
        surprise: Of `Target.surprise`, 0 where the answer is right.
    """
    worst = np.argsort(-surprise, kind="stable")[:MOST_ERRORS]
    return worst[surprise[worst] > 0]


def find_sure_answers(
    surprise: Float[np.ndarray, " row"],
    probabilities: Float[np.ndarray, "row column"],
    answers: Sequence[str],
) -> Int[np.ndarray, " answer"]:
    """Number rows that are answered well, the surest of each answer; no more than are shown.

    Args:
        surprise: Of `Target.surprise`, 0 where the answer is right; of a number its error.
        probabilities: Of the same rows.
        answers: Of `Target.answer`.
    """
    order = np.lexsort((-probabilities.max(axis=1), surprise))
    order = order[surprise[order] < max(float(surprise.mean()), np.finfo(float).tiny)]
    first = {answers[row]: int(row) for row in reversed(order)}  # the surest overwrites the others
    chosen = sorted(first.values(), key=order.tolist().index)
    return np.array(chosen[:MOST_RIGHT], dtype=np.int64)


def show_answers(
    material: Material, modalities: Mapping[str, Modality[Any]], data: Path
) -> ByTarget:
    """Show each target's most confident errors, and some right answers to compare them with.

    Args:
        material: What is evaluated.
        modalities: By key.
        data: The data folder, where media lie.

    Returns:
        By target `errors` and `right`: of each row `id`, `group`, `true`, `predicted`, `surprise`,
        `previews` (HTML by modality), and `moved`, what `explain_rows` gives; null with a single
        modality or with too many.
    """
    shown: ByTarget = {}
    for name, target in material.targets.items():
        given = material.as_given[name]
        surprise = target.surprise(material.test.labels(name)[given.rows], given.probabilities)
        answers = target.answer(given.probabilities)
        chosen = {
            "errors": find_confident_errors(surprise),
            "right": find_sure_answers(surprise, given.probabilities, answers),
        }
        shown[name] = {
            kind: [
                {
                    "predicted": answers[place],
                    "surprise": float(surprise[place]),
                    "true": str(row[name]),
                    **{key: row[key] for key in ("id", "group")},
                    "previews": {
                        key: str(preview(modality, row[key], data))
                        for key, modality in modalities.items()
                    },
                    "moved": moved,
                }
                for place, row, moved in zip(
                    places,
                    material.test.table.iloc[given.rows[places]].to_dict("records"),
                    _explain(material, name, given, places),
                    strict=True,
                )
            ]
            for kind, places in chosen.items()
        }
    return shown


def _explain(
    material: Material, name: str, given: Answers, places: Int[np.ndarray, " answer"]
) -> Sequence[dict[str, Any] | None]:
    """Explain answers as far as their modalities can be told apart."""
    if not 1 < len(material.model.modalities) <= MOST_MODALITIES:
        return [None] * len(places)
    return explain_rows(material, material.test, given.rows[places], name)
