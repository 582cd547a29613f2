"""How many rows of each class are found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.evaluation.base import ByTarget, Evidence, Material, make_table
from mm_assets.evaluation.metrics import resample_groups, sum_by_group, take_interval
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg

MOST_CLASSES = 30  # whose recalls are followed from run to run


def measure_recalls(
    target: Target,
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Compute each class's recall with percentile bootstrap intervals over groups.

    Args:
        target: Whose classes.
        tallies: Of `target.tally`, at least one row.
        groups: The group of each row; rows of one group are drawn together.
        resamples: How many.
        confidence: Such as 0.95.
        seed: Of the draws.

    Returns:
        `class`, `recall`, `recall_low` and `recall_high` in the order of the classes; classes
        without a row are left out, and a kind without classes has none.

    Raises:
        DataContractError: There is no row.
    """
    totals = sum_by_group(tallies, groups)
    sums = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
    found = []
    for name, (value, *drawn) in (target.class_recalls(sums) or {}).items():
        if not np.isnan(value):
            known = np.asarray(drawn)[~np.isnan(drawn)]  # some draws have no row of a rare class
            low, high = take_interval(known.tolist(), confidence)
            found.append(
                {"class": name, "recall": float(value), "recall_low": low, "recall_high": high}
            )
    return found


def plot_recalls(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw each class's recall with its interval.

    Args:
        name: Of the target.
        evidence: With `recalls`, of `measure_recalls`.
        path: The SVG file.
    """
    recalls = evidence["recalls"]
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


def _measure(material: Material) -> ByTarget:
    measured: ByTarget = {}
    for name, target in material.targets.items():
        given = material.as_given[name]
        groups = material.groups_of(given)
        if recalls := measure_recalls(target, given.tallies, groups, **material.resampling):
            measured[name] = {"recalls": recalls}
    return measured


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    recalls = found["recalls"]
    if len(recalls) > MOST_CLASSES:
        return {}
    return {"recall": {one["class"]: one["recall"] for one in recalls}}


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    columns = ("class", "recall", "recall_low", "recall_high")
    return [make_table(f"{name}: recall of every class", columns, found["recalls"])]


EVIDENCE = Evidence(
    "recalls",
    _measure,
    "recall of every class",
    plot_recalls,
    follow=_follow,
    tabulate=_tabulate,
)
