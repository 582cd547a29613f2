"""The answers that are wrong and most sure of it: mislabelled rows and blind spots show here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mm_assets.evaluation.base import Material
from mm_assets.modalities.base import Modality
from mm_assets.validation.previews import preview

MOST_ERRORS = 8  # of each target that are shown


def find_confident_errors(surprise: Float[np.ndarray, " row"]) -> Int[np.ndarray, " error"]:
    """Number the wrongly answered rows, the most surprising first and no more than are shown.

    Args:
        surprise: Of `Target.surprise`, 0 where the answer is right.
    """
    worst = np.argsort(-surprise, kind="stable")[:MOST_ERRORS]
    return worst[surprise[worst] > 0]


def list_errors(
    material: Material, modalities: Mapping[str, Modality[Any]], data: Path
) -> dict[str, list[dict[str, Any]]]:
    """List each target's most confident errors, with previews of what the model was shown.

    Args:
        material: What is evaluated.
        modalities: By key.
        data: The data folder, where media lie.

    Returns:
        By target: `id`, `group`, `true`, `predicted`, `surprise` and `previews`, HTML by modality.
    """
    errors: dict[str, list[dict[str, Any]]] = {}
    for name, target in material.targets.items():
        given = material.as_given[name]
        labels = material.test.labels(name)[given.rows]
        surprise = target.surprise(labels, given.probabilities)
        worst = find_confident_errors(surprise)
        answers = target.answer(given.probabilities[worst])
        rows = material.test.table.iloc[given.rows[worst]].to_dict("records")
        errors[name] = [
            {
                "id": row["id"],
                "group": row["group"],
                "true": str(row[name]),
                "predicted": answer,
                "surprise": float(surprise[place]),
                "previews": {
                    key: str(preview(modality, row[key], data))
                    for key, modality in modalities.items()
                },
            }
            for place, answer, row in zip(worst, answers, rows, strict=True)
        ]
    return errors
