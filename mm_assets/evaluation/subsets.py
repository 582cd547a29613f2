"""What the model is worth on every subset of its modalities, and whether all beat the best one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.evaluation.answers import Answers, answer_majority
from mm_assets.evaluation.base import ByTarget, Evidence, Material, make_table
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.evaluation.ranking import score_ranking
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg


def measure_subsets(
    target: Target,
    majority: Answers,
    subsets: Mapping[str, Answers],
    as_given: Answers,
    groups: Shaped[np.ndarray, " row"],
    *,
    bounds: Mapping[str, float],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Score one target's answers from every subset of the modalities.

    Args:
        target: The target.
        majority: Of `answer_majority`.
        subsets: Of `answer_rows` by name, small ones first and all modalities last.
        as_given: Of `answer_rows`, each row with what it has.
        groups: Of all test rows.
        bounds: The best accuracy that any model can reach, by subset, where that is known.
        resamples: Draws of the intervals and of the test.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        `majority`, `subsets` (with `upper_bound` where known; those that no row has are left
        out), `as_given` and, with several modalities, `worst_subset`, the one of lowest headline
        metric, and `fusion_vs_best_single`: on the rows that have all of them, all against the one
        that does best there.

    Raises:
        DataContractError: No row has a known label.
    """

    def score(answers: Answers) -> dict[str, Any]:
        return score_with_intervals(
            target,
            answers.tallies,
            groups[answers.rows],
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        )

    scored = {
        name: score(answers) | ({"upper_bound": bounds[name]} if name in bounds else {})
        for name, answers in subsets.items()
        if len(answers.rows)
    }
    evidence: dict[str, Any] = {
        "majority": score(majority) | {"answer": target.answer(majority.probabilities[:1])[0]},
        "subsets": scored,
        "as_given": score(as_given),
    }
    if len(subsets) > 1 and scored:
        worst = min(scored, key=lambda name: scored[name][target.headline])
        evidence["worst_subset"] = {"subset": worst} | scored[worst]
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
                target,
                subsets[complete].tallies,
                tallies[best],
                groups[rows],
                resamples=resamples,
                confidence=confidence,
                seed=seed,
            ),
        }
    return evidence


def plot_subsets(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw a target's headline metric for every subset, beside majority answer and upper bound.

    Args:
        name: Of the target.
        evidence: `headline` and what `measure_subsets` gave.
        path: The SVG file.
    """
    metric = evidence["headline"]
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


def _measure(material: Material) -> ByTarget:
    measured: ByTarget = {}
    for name, target in material.targets.items():
        given, labels = material.as_given[name], material.test.labels(name)
        found = measure_subsets(
            target,
            answer_majority(target, material.training_labels(name), labels),
            {subset: answers[name] for subset, answers in material.subsets.items()},
            given,
            material.test.groups,
            bounds=material.bounds.get(name, {}),
            **material.resampling,
        )
        ranking = score_ranking(
            target,
            labels[given.rows],
            given.probabilities,
            material.groups_of(given),
            **material.resampling,
        )
        if by_class := ranking.pop("by_class", None):
            found["ranking_by_class"] = by_class
        found["as_given"] |= ranking
        measured[name] = found
    return measured


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    metric, given = found["headline"], found["as_given"]
    numbers: dict[str, Any] = {key: given[key] for key in _list_metrics(found)}
    numbers |= {f"{metric}{end}": given[f"{metric}{end}"] for end in ("_low", "_high")}
    numbers[f"majority_{metric}"] = found["majority"][metric]
    if "fusion_vs_best_single" in found:
        best = found["fusion_vs_best_single"]
        numbers[f"best_single_{metric}"] = best[f"best_single_{metric}"]
        numbers["fusion_gain"] = best["difference"]
    if "worst_subset" in found:
        numbers[f"worst_subset_{metric}"] = found["worst_subset"][metric]
    numbers["subsets"] = {key: one[metric] for key, one in found["subsets"].items()}
    return numbers


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    lines = {
        f"always {found['majority']['answer']!r}": found["majority"],
        **found["subsets"],
        "as given": found["as_given"],
    }
    columns = [f"{key}{end}" for key in _list_metrics(found) for end in ("", "_low", "_high")]
    return [
        make_table(
            f"{name} on test rows",
            ["answered from", "rows", *columns, "upper_bound"],
            [{"answered from": label} | line for label, line in lines.items()],
        )
    ]


def _list_metrics(found: Mapping[str, Any]) -> list[str]:
    """Name the metrics that have an interval."""
    given = found["as_given"]
    return [key for key in given if f"{key}_low" in given]


EVIDENCE = Evidence(
    "subsets",
    _measure,
    "{metric} of every subset",
    plot_subsets,
    follow=_follow,
    tabulate=_tabulate,
)
