"""What is left of a model when its inputs grow noisy: each modality alone, and all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.errors import DataContractError
from mm_assets.contracts.report import Table
from mm_assets.evaluation.answers import Answers, answer_rows
from mm_assets.evaluation.base import ByTarget, Disturb, Evidence, Material, make_table
from mm_assets.evaluation.metrics import resample_groups, sum_by_group, take_interval
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg
from mm_assets.training.examples import Examples, gather_vectors
from mm_assets.training.model import FusionModel
from mm_assets.training.scoring import encode_media

ALL = "all together"
COLORS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d", "#bab0ac")


def draw_groups(
    groups: Shaped[np.ndarray, " row"], most: int, *, seed: int
) -> Int[np.ndarray, " chosen"]:
    """Draw whole groups of rows, as many as fit.

    Args:
        groups: Of each row.
        most: Rows that may be drawn. Of a group that is larger than that, where no other was drawn,
            the first rows are taken.
        seed: Of the draw.

    Returns:
        Numbers of rows, rising.
    """
    numbers, names = pd.factorize(groups)
    sizes, chosen, left = np.bincount(numbers), np.zeros(len(names), bool), most
    order = np.random.default_rng(seed).permutation(len(names))
    for group in order:
        if sizes[group] <= left:
            chosen[group] = True
            left -= sizes[group]
    rows = np.flatnonzero(chosen[numbers])
    return rows if len(rows) else np.flatnonzero(numbers == order[0])[:most]


def answer_disturbed(
    model: FusionModel,
    rows: Examples,
    table: pd.DataFrame,
    levels: Sequence[float],
    disturb: Disturb,
) -> dict[str, list[dict[str, Answers]]]:
    """Answer for rows with one modality disturbed, and with all of them, at every level.

    Args:
        model: Calibrated.
        rows: Test rows.
        table: The same rows of the augmented table.
        levels: Of noise; at 0 the rows are taken as they are.
        disturb: Encodes disturbed cells; called once for each modality.

    Returns:
        By what is disturbed: a modality or, where there are several, `ALL`; then by level, and by
        target.
    """
    plain = encode_media(model, rows)
    above = [level for level in levels if level]
    noisy = {
        key: {
            level: gather_vectors(table, {key: found})[0][key]
            for level, found in disturb(key, table, above).items()
        }
        for key in model.modalities
    }
    curves = {key: [key] for key in model.modalities}
    if len(curves) > 1:
        curves[ALL] = list(model.modalities)
    return {
        name: [
            answer_rows(
                model,
                replace(
                    plain,
                    vectors=plain.vectors | {key: noisy[key][level] for key in keys if level},
                ),
            )
            for level in levels
        ]
        for name, keys in curves.items()
    }


def measure_noise(
    target: Target,
    levels: Sequence[float],
    tallies: Mapping[str, Sequence[Shaped[np.ndarray, "row tally"]]],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Follow a target's headline metric as its inputs grow noisy.

    Args:
        target: Whose metric.
        levels: Of noise, rising; at least two.
        tallies: Of `target.tally`, of the same rows at every level, by what is disturbed: a
            modality, or `ALL`.
        groups: Of each row; rows of one group are drawn together.
        resamples: Draws of groups for the intervals; the same ones for every curve and level.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        `levels`, `rows`, `groups` and `curves`, by what is disturbed: `values`, `low` and `high` of
        the metric, by level, and `area` with `area_low` and `area_high`: the mean of the curve over
        the levels, 1 where every answer is right at any noise.

    Raises:
        DataContractError: There is no row, or fewer than two levels, or they do not rise.
    """
    if len(levels) < 2 or any(np.diff(levels) <= 0):
        raise DataContractError(
            f"noise curves need at least 2 levels, rising, got {list(levels)}; change "
            "`evaluation.noise_levels` in params.yaml"
        )
    curves: dict[str, Any] = {}
    for name, disturbed in tallies.items():
        totals = sum_by_group(np.hstack(disturbed), groups)
        sums = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
        values = np.stack(
            [target.metrics(part)[target.headline] for part in np.split(sums, len(levels), axis=1)],
            axis=1,
        )  # (1 + resample, level)
        areas = np.trapezoid(values, levels, axis=1) / (levels[-1] - levels[0])
        ends = [take_interval(column, confidence) for column in values[1:].T.tolist()]
        low, high = take_interval(areas[1:].tolist(), confidence)
        curves[name] = {
            "values": values[0].tolist(),
            "low": [end[0] for end in ends],
            "high": [end[1] for end in ends],
            "area": float(areas[0]),
            "area_low": low,
            "area_high": high,
        }
    return {
        "levels": list(levels),
        "rows": len(groups),
        "groups": len(pd.unique(groups)),
        "curves": curves,
    }


def measure_noise_of(
    material: Material, disturb: Disturb, *, levels: Sequence[float], most: int
) -> ByTarget:
    """Disturb some test rows, answer, and follow every target's headline metric.

    Args:
        material: What is evaluated.
        disturb: Encodes disturbed cells.
        levels: Of noise, rising; `evaluation.noise_levels`.
        most: Test rows that are drawn, in whole groups; `evaluation.noise_rows`.

    Returns:
        By target: `noise`, of `measure_noise`; nothing for a target of which no drawn row has a
        known label.

    Raises:
        DataContractError: There are fewer than two levels, or they do not rise.
    """
    groups = material.test.groups
    chosen = draw_groups(groups, most, seed=material.seed)
    table = material.test.table.iloc[chosen].reset_index(drop=True)
    examples = material.test.examples.take(torch.from_numpy(chosen))
    answers = answer_disturbed(material.model, examples, table, levels, disturb)
    evidence: ByTarget = {}
    for name, target in material.targets.items():
        tallies = {
            disturbed: [by_target[name].tallies for by_target in by_level]
            for disturbed, by_level in answers.items()
        }
        known = next(iter(answers.values()))[0][name].rows
        if len(known):
            their = groups[chosen][known]
            found = measure_noise(target, levels, tallies, their, **material.resampling)
            evidence[name] = {"noise": found}
    return evidence


def plot_noise(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw the metric against the level of noise, one line for each modality and one for all.

    Args:
        name: Of the target.
        evidence: Of the target: `headline`, and `noise` as `measure_noise` gives it.
        path: The SVG file.
    """
    noise, metric = evidence["noise"], evidence["headline"].replace("_", " ")
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for place, (disturbed, curve) in enumerate(noise["curves"].items()):
        color = "black" if disturbed == ALL else COLORS[place % len(COLORS)]
        label = f"{disturbed}: area {100 * curve['area']:.1f} %"
        axes.fill_between(
            noise["levels"], curve["low"], curve["high"], color=color, alpha=0.12, linewidth=0
        )
        axes.plot(noise["levels"], curve["values"], color=color, marker="o", ms=3, label=label)
    axes.set(
        xlabel="level of noise",
        ylabel=f"{metric} on {noise['rows']} test rows",
        title=f"{name}: with noise in its inputs",
    )
    figure.legend(loc="outside lower center", ncols=2)
    save_svg(figure, path)


def _measure(material: Material) -> ByTarget:
    config = material.config
    if not config.noise_rows:
        return {}
    return measure_noise_of(
        material, material.disturb, levels=config.noise_levels, most=config.noise_rows
    )


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    curves = found["noise"]["curves"]
    return {"noise_area": {name: curve["area"] for name, curve in curves.items()}}


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    noise = found["noise"]
    lines = [
        {"disturbed": disturbed, "area": curve["area"]}
        | {
            f"at {level:g}": value
            for level, value in zip(noise["levels"], curve["values"], strict=True)
        }
        for disturbed, curve in noise["curves"].items()
    ]
    title = f"{name}: {found['headline']} by level of noise"
    columns = ("disturbed", *(f"at {level:g}" for level in noise["levels"]), "area")
    return [make_table(title, columns, lines)]


EVIDENCE = Evidence(
    "noise",
    _measure,
    "{metric} with noise in the inputs",
    plot_noise,
    follow=_follow,
    tabulate=_tabulate,
)
