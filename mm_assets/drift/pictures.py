"""What people look at of a batch: its vectors beside the reference's, and how shares have moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mm_assets.drift.kernel_test import KernelTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mm_assets.drift.report import DriftReport, Moved

REFERENCE, BATCH = "#b6c0ca", "#d1592f"
POINTS = 400  # of a side, at most
LEVELS = 12  # of one thing, those that moved most
MOST = 24  # pictures of shares


@dataclass(frozen=True)
class Drawn:
    """What a kernel test was made on.

    Attributes:
        test: What it said.
        reference: Vectors that were drawn.
        batch: Likewise.
    """

    test: KernelTest
    reference: Float[np.ndarray, "reference dim"]
    batch: Float[np.ndarray, "batch dim"]


def draw_pictures(report: DriftReport, drawn: Mapping[str, Drawn], folder: Path) -> DriftReport:
    """Draw each modality's vectors, and the shares that moved most.

    Args:
        report: What was found.
        drawn: By modality.
        folder: Where the SVG files go; byte for byte the same for equal content.

    Returns:
        The report with the pictures' names.
    """
    from matplotlib.figure import Figure

    from mm_assets.training.curves import save_svg

    ranked = sorted(report.compared, key=lambda one: -(one.statistic or 0))
    shown = {one.title for one in [one for one in ranked if len(one.levels) > 1][:MOST]}
    found = []
    for number, one in enumerate(report.compared):
        picture = f"{number:03d}-{one.kind}.svg"
        if one.kind == "vectors" and one.name in drawn:
            figure = Figure(figsize=(9, 3.6), layout="constrained")
            points, chance = figure.subplots(1, 2, width_ratios=(3, 2))
            _draw_points(points, drawn[one.name])
            _draw_chance(chance, drawn[one.name].test)
        elif one.title in shown:
            rows = min(len(one.levels), LEVELS)
            figure = Figure(figsize=(6, 1.3 + 0.32 * rows), layout="constrained")
            _draw_levels(figure.subplots(), one)
        else:
            found.append(one)
            continue
        state = "has drifted" if one.drifted else "no drift"
        p_value = "" if one.adjusted is None else f", p = {one.adjusted:.2g}"
        figure.suptitle(f"{one.title}: {state}{p_value}", fontsize=11)
        save_svg(figure, folder / picture)
        found.append(one.model_copy(update={"picture": picture}))
    return report.model_copy(update={"compared": tuple(found)})


def project(
    reference: Float[np.ndarray, "reference dim"], batch: Float[np.ndarray, "batch dim"]
) -> tuple[Float[np.ndarray, "reference 2"], Float[np.ndarray, "batch 2"]]:
    """Give the two principal components of both together; their signs are fixed."""
    pooled = np.concatenate([reference, batch]).astype(np.float64)
    pooled = np.pad(pooled, ((0, 0), (0, max(0, 2 - pooled.shape[1]))))  # of one dimension, say
    centred = pooled - pooled.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    places = centred @ axes.T
    return places[: len(reference)], places[len(reference) :]


def _draw_points(axes: Axes, drawn: Drawn) -> None:
    sides = project(drawn.reference, drawn.batch)
    names = ("what the model knows", "the batch")
    for side, name, color in zip(sides, names, (REFERENCE, BATCH), strict=True):
        step = max(1, -(-len(side) // POINTS))
        across, up = side[::step].T
        axes.scatter(across, up, s=9, color=color, label=f"{name} ({len(side)} rows)")
    axes.set(xticks=[], yticks=[], xlabel="principal components of both")
    axes.legend(fontsize=8)


def _draw_chance(axes: Axes, test: KernelTest) -> None:
    axes.hist(test.drawn, bins=40, color=REFERENCE, label="groups exchanged at random")
    axes.axvline(test.mmd2, color=BATCH, label="this batch")
    axes.set(yticks=[], xlabel="distance of the two, MMD²")
    axes.locator_params(axis="x", nbins=4)
    axes.legend(fontsize=8)


def _draw_levels(axes: Axes, one: Moved) -> None:
    far = sorted(one.levels, key=lambda level: -abs(level[2] - level[1]))[:LEVELS]
    shown = [level for level in one.levels if level in far]
    places = np.arange(len(shown))
    for place, name, color in ((1, "reference", REFERENCE), (2, "batch", BATCH)):
        shares = [100 * float(level[place]) for level in shown]
        axes.barh(places + 0.4 * (place - 1.5), shares, height=0.38, color=color, label=name)
    axes.set_yticks(places, [level[0][:40] for level in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=f"% of rows; stability index {one.statistic:.3g}")
    axes.legend(fontsize=8)
