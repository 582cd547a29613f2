"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from mm_assets.evaluation.base import ByTarget, Evidence, Material
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg

MOST_CLASSES = 40  # beyond which nobody reads a matrix


def measure_confusion(
    target: Target, tallies: Shaped[np.ndarray, "row tally"]
) -> dict[str, Any] | None:
    """Count how often each class was answered with each.

    Args:
        target: Whose classes.
        tallies: Of `target.tally`.

    Returns:
        `classes`, and `counts` in their order, by true class and then by answer; null for a kind
        that has no confusion matrix, and for more than forty classes.
    """
    counts = target.confusion(tallies.sum(axis=0))
    if counts is None or len(target.classes) > MOST_CLASSES:
        return None
    return {"classes": list(target.classes), "counts": counts.tolist()}


def plot_confusion(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw a confusion matrix: counts in the cells, shaded by the share of the true class.

    Args:
        name: Of the target.
        evidence: With `confusion`, of `measure_confusion`.
        path: The SVG file.
    """
    classes = evidence["confusion"]["classes"]
    confusion, count = np.array(evidence["confusion"]["counts"]), len(classes)
    side = 2.2 + 0.55 * count
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), cell in np.ndenumerate(confusion):
        color = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(cell), ha="center", va="center", color=color)
    axes.set_xticks(range(count), classes, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(count), classes, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=f"{name}: test rows as given")
    save_svg(figure, path)


def _measure(material: Material) -> ByTarget:
    found = {
        name: measure_confusion(target, material.as_given[name].tallies)
        for name, target in material.targets.items()
    }
    return {name: {"confusion": one} for name, one in found.items() if one is not None}


EVIDENCE = Evidence(
    "confusion",
    _measure,
    "confusion matrix",
    plot_confusion,
)
