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


def plot_reliability(name: str, reliability: Mapping[str, Any], path: Path) -> None:
    """Draw how often claims are right by how sure they are, and how many claims there are.

    Args:
        name: Of the target.
        reliability: `calibrated` and `uncalibrated`, each of `measure_reliability`.
        path: The SVG file.
    """
    figure = Figure(figsize=(5.4, 6), layout="constrained")
    axes, counts = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":", label="as often right as sure")
    for when, color in (("uncalibrated", "#b6c0ca"), ("calibrated", "#4c78a8")):
        bins = reliability[when]["bins"]
        most = max(one["claims"] for one in bins)
        sure, right = ([one[key] for one in bins] for key in ("confidence", "accuracy"))
        axes.plot(sure, right, color=color, linewidth=1)
        axes.scatter(
            sure,
            right,
            s=[12 + 160 * one["claims"] / most for one in bins],  # few claims, a small dot
            color=color,
            label=f"{when}: ECE {100 * reliability[when]['ece']:.1f} %",
            zorder=2 + (when == "calibrated"),
        )
    bins = reliability["calibrated"]["bins"]
    middles = [(one["low"] + one["high"]) / 2 for one in bins]
    counts.bar(middles, [one["claims"] for one in bins], width=0.09, color="#4c78a8")
    for middle, one in zip(middles, bins, strict=True):
        counts.annotate(
            str(one["claims"]), (middle, one["claims"]), ha="center", va="bottom", fontsize=8
        )
    counts.margins(y=0.35)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.05), ylabel="share that is right")
    axes.set_title(f"{name}: how far its confidence can be believed")
    figure.legend(loc="outside lower center", markerscale=0.6)
    counts.set(xlabel="confidence on test rows", ylabel="number")
    save_svg(figure, path)


def plot_recalls(name: str, recalls: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw each class's recall with its interval.

    Args:
        name: Of the target.
        recalls: Of `score_recalls`.
        path: The SVG file.
    """
    places = np.arange(len(recalls))
    figure = Figure(figsize=(7, 1.3 + 0.32 * len(recalls)), layout="constrained")
    axes = figure.subplots()
    axes.barh(places, [one["recall"] for one in recalls], height=0.6, color="#4c78a8")
    lows, highs = ([one[f"recall_{end}"] for one in recalls] for end in ("low", "high"))
    axes.hlines(places, lows, highs, color="black")
    axes.set_yticks(places, [one["class"] for one in recalls], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="recall on test rows", title=f"{name}: recall of every class")
    save_svg(figure, path)


def plot_slices(name: str, evidence: Mapping[str, Any], metric: str, path: Path) -> None:
    """Draw the headline metric of every slice that was judged, beside that of all rows.

    Args:
        name: Of the target.
        evidence: Of the target, with `slices`, `worst_slice` and `as_given`.
        metric: The headline metric.
        path: The SVG file.
    """
    shown = [one for one in evidence["slices"] if one[metric] is not None]
    worst = evidence["worst_slice"]
    places = np.arange(len(shown))
    figure = Figure(figsize=(7, 1.6 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(evidence["as_given"][metric], color="0.5", linestyle=":", label="all test rows")
    varied = [place for place, one in enumerate(shown) if one[f"{metric}_low"] is not None]
    axes.hlines(
        varied,
        [shown[place][f"{metric}_low"] for place in varied],
        [shown[place][f"{metric}_high"] for place in varied],
        color="black",
        linewidth=1,
        label="interval",
    )
    colors = ["#e45756" if one == worst else "#4c78a8" for one in shown]
    axes.scatter([one[metric] for one in shown], places, color=colors, zorder=3)
    if worst is not None:
        axes.scatter([], [], color="#e45756", label="worst slice")
    axes.set_yticks(
        places,
        [f"{one['column']}: {one['value']} ({one['rows']})" for one in shown],
        parse_math=False,
    )
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set(
        xlabel=f"{metric.replace('_', ' ')} on test rows (their number)",
        title=f"{name}: where it is worse",
    )
    figure.legend(loc="outside lower center", ncols=3)
    save_svg(figure, path)
