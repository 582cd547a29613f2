"""Pictures of the evidence, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from mm_assets.training.curves import save_svg


def plot_subsets(name: str, evidence: Mapping[str, Any], metric: str, path: Path) -> None:
    """Draw a target's headline metric for every subset, beside majority answer and upper bound.

    Args:
        name: Of the target.
        evidence: Of `judge_answers`.
        metric: The headline metric.
        path: The SVG file.
    """
    bars = {**evidence["subsets"], "as given": evidence["as_given"]}
    values = np.array([bar[metric] for bar in bars.values()])
    ends = np.array([[bar[f"{metric}_low"], bar[f"{metric}_high"]] for bar in bars.values()])
    places = np.arange(len(bars))
    figure = Figure(figsize=(7, 1.6 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    axes.barh(places, values, height=0.6, color="#4c78a8")
    # The interval of a resampled metric may lie wholly to one side of its value.
    axes.hlines(places, ends[:, 0], ends[:, 1], color="black", label="interval")
    bounds = {
        place: bar["upper_bound"] for place, bar in enumerate(bars.values()) if "upper_bound" in bar
    }
    if bounds:
        axes.scatter(
            list(bounds.values()),
            list(bounds),
            marker="|",
            s=160,
            color="#e45756",
            label="best possible",
            zorder=3,
        )
    axes.axvline(evidence["majority"][metric], color="0.5", linestyle=":", label="majority answer")
    axes.set_yticks(places, [f"{label} ({bar['rows']})" for label, bar in bars.items()])
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 1),
        xlabel=f"{metric.replace('_', ' ')} on test rows (their number)",
        title=f"{name}: what each subset of modalities is worth",
    )
    figure.legend(loc="outside lower center", ncols=3)
    save_svg(figure, path)


def plot_confusion(
    name: str, classes: Sequence[str], confusion: Int[np.ndarray, "true predicted"], path: Path
) -> None:
    """Draw a confusion matrix: counts in the cells, shaded by the share of the true class.

    Args:
        name: Of the target.
        classes: In the order of both axes.
        confusion: Counts.
        path: The SVG file.
    """
    count = len(classes)
    side = 2.2 + 0.55 * count
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), cell in np.ndenumerate(confusion):
        color = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(cell), ha="center", va="center", color=color)
    axes.set_xticks(range(count), classes, rotation=45, ha="right")
    axes.set_yticks(range(count), classes)
    axes.set(xlabel="predicted", ylabel="true", title=f"{name}: test rows as given")
    save_svg(figure, path)
