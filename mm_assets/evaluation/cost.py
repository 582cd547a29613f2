"""What each modality costs, and what leaving it out would lose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.contracts.subsets import name_subset
from mm_assets.evaluation.answers import Answers
from mm_assets.evaluation.base import ByTarget, Evidence, Material, make_table
from mm_assets.evaluation.metrics import compare_paired
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg


def measure_losses(
    target: Target,
    complete: Answers,
    without: Mapping[str, Answers],
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, dict[str, float | int]]:
    """Compare a target's answers from all modalities with those from all but one.

    Args:
        target: Whose headline metric.
        complete: Answers to the rows that have every modality.
        without: By modality that is left out: answers to these rows, and maybe to others, from the
            remaining ones.
        groups: Of all test rows.
        resamples: Draws of the intervals and of the test.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        By modality, on the rows that have all of them: what `compare_paired` gives, all modalities
        first: `difference` is what leaving the modality out loses.

    Raises:
        DataContractError: No row has every modality and a known label.
    """
    return {
        name: compare_paired(
            target,
            complete.tallies,
            answers.tallies[np.isin(answers.rows, complete.rows)],
            groups[complete.rows],
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        )
        for name, answers in without.items()
    }


def measure_cost(material: Material, megabytes: Mapping[str, float]) -> ByTarget:
    """Set what each modality adds beside what it weighs.

    Milliseconds differ from run to run and are no part of it; `evaluate` puts them
    in a log.

    Args:
        material: What is evaluated.
        megabytes: Of each modality's encoder, of `weigh_network`.

    Returns:
        By target: `cost`, by modality: what `measure_losses` gives, and `megabytes`. No target that
        no row with every modality has a known label of; none at all with one modality.
    """
    names = list(material.model.modalities)
    complete = material.subsets[name_subset(names)]
    evidence: ByTarget = {}
    for target_name, target in material.targets.items():
        if len(names) == 1 or not len(complete[target_name].rows):
            continue
        without = {
            name: material.subsets[name_subset([key for key in names if key != name])][target_name]
            for name in names
        }
        losses = measure_losses(
            target,
            complete[target_name],
            without,
            material.test.groups,
            **material.resampling,
        )
        evidence[target_name] = {
            "cost": {
                name: {**found, "megabytes": megabytes[name]} for name, found in losses.items()
            }
        }
    return evidence


def plot_cost(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw what leaving each modality out loses, with its interval and the weights it saves.

    Args:
        name: Of the target.
        evidence: Of the target: `headline`, and `cost` of `measure_cost`.
        path: The SVG file.
    """
    cost = evidence["cost"]
    places = np.arange(len(cost))
    figure = Figure(figsize=(7, 1.4 + 0.36 * len(cost)), layout="constrained")
    axes = figure.subplots()
    axes.barh(places, [100 * one["difference"] for one in cost.values()], 0.6, color="#4c78a8")
    lows, highs = (
        [100 * one[f"difference_{end}"] for one in cost.values()] for end in ("low", "high")
    )
    axes.hlines(places, lows, highs, color="black")
    axes.axvline(0, color="0.5", linewidth=0.8)
    labels = [f"{key} ({one['megabytes']:.1f} MB)" for key, one in cost.items()]
    axes.set_yticks(places, labels, parse_math=False)
    axes.invert_yaxis()
    rows = next(iter(cost.values()))["rows"]
    axes.set(
        xlabel=f"points of {evidence['headline'].replace('_', ' ')} that are lost without it, on "
        f"{rows} test rows",
        title=f"{name}: what each modality adds to the others",
    )
    save_svg(figure, path)


def _measure(material: Material) -> ByTarget:
    return measure_cost(
        material, {name: material.weigh(name) for name in material.model.modalities}
    )


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    columns = (
        "without",
        "rows",
        "difference",
        "difference_low",
        "difference_high",
        "p_value",
        "megabytes",
    )
    return [
        make_table(
            f"{name}: {found['headline']} that is lost without a modality, and megabytes saved",
            columns,
            [{"without": modality} | one for modality, one in found["cost"].items()],
        )
    ]


EVIDENCE = Evidence(
    "cost",
    _measure,
    "what each modality adds to the others",
    plot_cost,
    tabulate=_tabulate,
)
