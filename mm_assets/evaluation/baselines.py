"""What is gained over the majority answer, each modality alone, and a linear model.

And what one model for all subsets of the modalities loses against a model for that subset alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.evaluation.answers import Answers, answer_majority, answer_rows
from mm_assets.evaluation.base import ByTarget, Evidence, Material, make_table
from mm_assets.evaluation.card import list_baselines
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals
from mm_assets.evaluation.multiple_tests import adjust_holm
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg
from mm_assets.training.examples import Examples
from mm_assets.training.linear import LinearModel, predict_linear
from mm_assets.training.model import FusionModel

AGAINST = ("difference", "difference_low", "difference_high", "p_adjusted")


def answer_specialists(
    specialists: Mapping[str, FusionModel], rows: Examples
) -> dict[str, dict[str, Answers]]:
    """Have each specialist answer the rows that have all of its modalities.

    Args:
        specialists: By subset.
        rows: Test rows with all modalities of the one model.

    Returns:
        By subset and target.
    """
    found = {}
    for name, model in specialists.items():
        numbers = np.flatnonzero(rows.having(*model.modalities).numpy())
        answers = answer_rows(model, rows.offer(*model.modalities).only(*model.modalities))
        found[name] = {
            target: replace(one, rows=numbers[one.rows]) for target, one in answers.items()
        }
    return found


def answer_linear(model: LinearModel, rows: Examples) -> dict[str, Answers]:
    """Have the linear model answer every test row with what it has, by target."""
    found = {}
    for name, logits in predict_linear(model, rows).items():
        target, labels = model.targets[name], rows.labels[name].numpy()
        known = np.flatnonzero(target.is_known(labels))
        probabilities = target.probabilities(logits).numpy()[known]
        found[name] = Answers(known, probabilities, target.tally(labels[known], probabilities))
    return found


def measure_baselines(
    target: Target,
    majority: Answers,
    linear: Answers,
    specialists: Mapping[str, Answers],
    subsets: Mapping[str, Answers],
    as_given: Answers,
    groups: Shaped[np.ndarray, " row"],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Compare one target's answers of the one model with those of simpler ones.

    Args:
        target: The target.
        majority: Of `answer_majority`.
        linear: Of `answer_linear`.
        specialists: Of `answer_specialists`, by subset.
        subsets: Of the one model, by the subset that it is offered; all modalities last.
        as_given: Of the one model, each row with what it has.
        groups: Of all test rows.
        resamples: Draws of the intervals and of the tests.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        `baselines`: `rows_are`, and on these rows (those that have every modality or, where there
        are none, all as they are) metrics with intervals of `fused`, `majority`, `linear` and
        `alone`, by modality the specialist's. With all but the first come `difference` (fused minus
        it, of the headline metric) and `p_value`, as of `compare_paired`, `p_adjusted` (Holm, over
        all comparisons of the target, gaps included) and `is_better`: the baseline beats the one
        model by more than chance does. `best_alone`, where there are any, names the modality whose
        specialist does best on these rows: chosen there, so that it is favoured.

        `gaps`, with specialists: by subset, on the rows that have it, `one_model` and `specialist`
        (the headline metric), their difference and p values as above; `worst_gap` is the subset of
        the lowest difference.

    Raises:
        DataContractError: No row has a known label.
    """
    draws: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    complete = list(subsets.values())[-1]
    fused = complete if len(complete.rows) else as_given
    rows = fused.rows

    def score(answers: Answers) -> dict[str, Any]:
        return score_with_intervals(target, answers.tallies, groups[answers.rows], **draws)

    def compare(ours: Answers, theirs: Answers) -> dict[str, Any]:
        both = groups[ours.rows]
        return dict(compare_paired(target, ours.tallies, theirs.tallies, both, **draws))

    def stand(answers: Answers) -> dict[str, Any]:
        there = _pick(answers, rows)
        return score(there) | compare(fused, there)

    alone = {
        name: stand(answers)
        for name, answers in specialists.items()
        if "+" not in name and np.isin(rows, answers.rows).all()
    }
    found: dict[str, Any] = {
        "rows_are": "rows with every modality" if fused is complete else "rows as given",
        "fused": score(fused),
        "majority": stand(majority),
        "linear": stand(linear),
        "alone": alone,
    }
    if alone:
        found["best_alone"] = max(alone, key=lambda name: alone[name][target.headline])
    gaps = {}
    for name, theirs in specialists.items():
        if len(theirs.rows):
            ours = subsets[name]
            gaps[name] = {
                "one_model": score(ours)[target.headline],
                "specialist": score(theirs)[target.headline],
                **compare(ours, theirs),
            }
    looks = [found["majority"], found["linear"], *alone.values(), *gaps.values()]
    for one, p in zip(looks, adjust_holm([one["p_value"] for one in looks]), strict=True):
        one["p_adjusted"] = p
        one["is_better"] = bool(one["difference"] < 0 and p is not None and p < 1 - confidence)
    if gaps:
        found["gaps"] = gaps
        found["worst_gap"] = min(gaps, key=lambda name: gaps[name]["difference"])
    return found


def follow_baselines(found: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the numbers that are worth following from run to run.

    Args:
        found: Of a target, with `headline` and `baselines`.
    """
    metric, judged = found["headline"], found["baselines"]
    numbers = {
        f"linear_{metric}": judged["linear"][metric],
        "gain_over_linear": judged["linear"]["difference"],
    }
    if "best_alone" in judged:
        best = judged["alone"][judged["best_alone"]]
        numbers[f"best_alone_{metric}"] = best[metric]
        numbers["gain_over_best_alone"] = best["difference"]
    if "worst_gap" in judged:
        numbers["worst_gap"] = judged["gaps"][judged["worst_gap"]]["difference"]
    return numbers


def tabulate_baselines(name: str, found: Mapping[str, Any]) -> list[Table]:
    """Show the baselines beside the model, and the gap of every subset that has a specialist.

    Args:
        name: Of the target.
        found: Its evidence, with `headline` and `baselines`.
    """
    metric, judged = found["headline"], found["baselines"]
    tables = [
        make_table(
            f"{name}: baselines on the {judged['fused']['rows']} {judged['rows_are']}, and how far "
            "the fused model is above them",
            ("answered by", metric, f"{metric}_low", f"{metric}_high", *AGAINST),
            [{"answered by": label, **line} for label, line in list_baselines(judged)],
        )
    ]
    if "gaps" in judged:
        tables.append(
            make_table(
                f"{name}: the one model less a model for that subset alone",
                ("subset", "rows", "one_model", "specialist", *AGAINST),
                [{"subset": subset} | gap for subset, gap in judged["gaps"].items()],
            )
        )
    return tables


def plot_baselines(name: str, found: Mapping[str, Any], path: Path) -> None:
    """Draw the headline metric of the baselines and of the fused model, on the same rows.

    Args:
        name: Of the target.
        found: Its evidence, with `headline` and `baselines`.
        path: The SVG file.
    """
    metric, judged = found["headline"], found["baselines"]
    lines = list_baselines(judged)
    places = np.arange(len(lines))
    figure = Figure(figsize=(7, 1.3 + 0.32 * len(lines)), layout="constrained")
    axes = figure.subplots()
    colors = ["#b6c0ca"] * (len(lines) - 1) + ["#4c78a8"]
    axes.barh(places, [one[metric] for _, one in lines], height=0.6, color=colors)
    lows, highs = ([one[f"{metric}_{end}"] for _, one in lines] for end in ("low", "high"))
    axes.hlines(places, lows, highs, color="black")
    axes.set_yticks(places, [label for label, _ in lines], parse_math=False)
    axes.invert_yaxis()
    axes.set(
        # A number's R squared may be below 0.
        xlim=(min(0.0, *(one[metric] for _, one in lines)), 1),
        xlabel=f"{metric.replace('_', ' ')} on the {judged['fused']['rows']} {judged['rows_are']}",
        title=f"{name}: the model beside its baselines",
    )
    save_svg(figure, path)


def _pick(answers: Answers, rows: Shaped[np.ndarray, " chosen"]) -> Answers:
    """Keep the answers to some of the rows."""
    kept = np.isin(answers.rows, rows)
    return Answers(answers.rows[kept], answers.probabilities[kept], answers.tallies[kept])


def _measure(material: Material) -> ByTarget:
    linear = answer_linear(material.baselines.linear, material.plain)
    specialists = {
        subset: answer_specialists({subset: model}, material.gather(model))[subset]
        for subset, model in material.baselines.specialists.items()
    }
    return {
        name: {
            "baselines": measure_baselines(
                target,
                answer_majority(target, material.training_labels(name), material.test.labels(name)),
                linear[name],
                {subset: answers[name] for subset, answers in specialists.items()},
                {subset: answers[name] for subset, answers in material.subsets.items()},
                material.as_given[name],
                material.test.groups,
                **material.resampling,
            )
        }
        for name, target in material.targets.items()
    }


EVIDENCE = Evidence(
    "baselines",
    _measure,
    "{metric} beside the baselines",
    plot_baselines,
    follow=follow_baselines,
    tabulate=tabulate_baselines,
)
