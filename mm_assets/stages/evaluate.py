"""The evaluate stage: the only one that opens test rows with their labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mm_assets.contracts.errors import SourceError, StageError
from mm_assets.contracts.report import Plot, StageReport, Table
from mm_assets.contracts.subsets import list_subsets, name_subset
from mm_assets.data.atomic import atomic_folder, write_json
from mm_assets.data.progress import show_progress
from mm_assets.data.table import read_augmented
from mm_assets.data.vectors import read_embeddings
from mm_assets.evaluation.plots import plot_confusion, plot_subsets
from mm_assets.evaluation.subsets import (
    Answers,
    answer_majority,
    answer_rows,
    judge_answers,
)
from mm_assets.stages.project import Project
from mm_assets.training.examples import gather_examples
from mm_assets.training.model import FusionModel, load_model
from mm_assets.validation.evaluate import check_evidence

DECIMALS = 6  # of numbers in metrics.json


def evaluate(project: Project) -> StageReport:
    """Score the trained model on test rows, for every subset of its modalities.

    Raises:
        StageError: The model reads other modalities than `params.yaml` has, or there are no test
            rows.
    """
    config, workspace = project.config, project.workspace
    torch.set_num_threads(config.compute.count_threads())
    model = load_model(workspace.model)
    if list(model.modalities) != list(config.modalities):
        raise StageError(
            f"the trained model reads {', '.join(model.modalities)} but params.yaml has "
            f"{', '.join(config.modalities)}; train it again: `dvc repro train`"
        )
    test = read_augmented(workspace.augmented, splits=["test"])
    if test.empty:
        raise StageError(
            "evaluate needs at least 1 test row, got 0; raise `split.test` in params.yaml or add "
            "groups of rows"
        )
    training = read_augmented(workspace.augmented, splits=["train"])
    embeddings = {key: read_embeddings(workspace.embeddings(key)) for key in config.modalities}
    rows = gather_examples(test, embeddings, model.targets)
    groups = test["group"].fillna(test["id"]).to_numpy()
    bounds = read_upper_bounds(workspace.data / "card.json")

    as_given = answer_rows(model, rows)
    subsets = {
        name_subset(subset): answer_rows(model, rows, subset)
        for subset in list_subsets(model.modalities)
    }
    evidence = {
        name: judge_answers(
            target,
            answer_majority(
                target,
                target.encode(training[name], where=name),
                rows.labels[name].numpy(),
            ),
            {subset: answers[name] for subset, answers in subsets.items()},
            as_given[name],
            groups,
            bounds=bounds.get(name, {}),
            config=config.evaluation,
            seed=config.seed,
        )
        for name, target in show_progress(
            model.targets.items(), title="evaluate", total=len(model.targets), unit="target"
        )
    }
    with atomic_folder(workspace.evaluation) as folder:
        write_json(folder / "metrics.json", _round(evidence))
        list_predictions(test, as_given, model).to_parquet(folder / "predictions.parquet")
        titles = draw_plots(evidence, as_given, model, folder)
    place = workspace.evaluation.relative_to(workspace.root)
    return StageReport(
        stage="evaluate",
        rows_in=len(test),
        rows_out=len(test),
        metrics=_round(summarize(evidence, model)),
        suites=(check_evidence(evidence, {name: t.headline for name, t in model.targets.items()}),),
        plots=tuple(
            Plot(title=title, path=(place / file).as_posix()) for file, title in titles.items()
        ),
        tables=tuple(tabulate(name, found) for name, found in evidence.items()),
    )


def read_upper_bounds(path: Path) -> dict[str, dict[str, float]]:
    """Read the best accuracy that any model can reach, by target and subset, from the data's card.

    Returns:
        Empty where the data has no card or the card states no bounds, as is usual.

    Raises:
        SourceError: The card is damaged.
    """
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {str(k): dict(v) for k, v in card.get("upper_bounds", {}).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise SourceError(
            f"{path} must be JSON with `upper_bounds` by target and subset ({error}); mend it or "
            "delete it"
        ) from None


def list_predictions(
    test: pd.DataFrame, as_given: dict[str, Answers], model: FusionModel
) -> pd.DataFrame:
    """List every labelled test row's answer: id, target, true, predicted and probabilities.

    `probabilities` are in the order of the target's classes in `model/config.json`.
    """
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "id": test["id"].iloc[found.rows].to_numpy(),
                    "target": name,
                    "true": test[name].iloc[found.rows].to_numpy(),
                    "predicted": model.targets[name].answer(found.probabilities),
                    "probabilities": list(found.probabilities),
                }
            )
            for name, found in as_given.items()
        ],
        ignore_index=True,
    )


def draw_plots(
    evidence: dict[str, Any], as_given: dict[str, Answers], model: FusionModel, folder: Path
) -> dict[str, str]:
    """Draw every target's pictures into `folder/plots`; returns their titles by file."""
    (folder / "plots").mkdir()
    titles = {}
    for name, target in model.targets.items():
        file = f"plots/{name}_subsets.svg"
        titles[file] = f"{name}: {target.headline} of every subset of modalities"
        plot_subsets(name, evidence[name], target.headline, folder / file)
        confusion = target.confusion(as_given[name].tallies.sum(axis=0))
        if confusion is not None:
            file = f"plots/{name}_confusion.svg"
            titles[file] = f"{name}: confusion matrix"
            plot_confusion(name, target.classes, confusion, folder / file)
    return titles


def summarize(evidence: dict[str, Any], model: FusionModel) -> dict[str, float]:
    """Choose the few numbers that are worth following from run to run."""
    chosen = {}
    for name, target in model.targets.items():
        found, metric = evidence[name], target.headline
        for key in (metric, f"{metric}_low", f"{metric}_high"):
            chosen[f"{name}_{key}"] = found["as_given"][key]
        chosen[f"{name}_majority_{metric}"] = found["majority"][metric]
        if "fusion_vs_best_single" in found:
            best = found["fusion_vs_best_single"]
            chosen[f"{name}_best_single_{metric}"] = best[f"best_single_{metric}"]
            chosen[f"{name}_fusion_gain"] = best["difference"]
    return chosen


def tabulate(name: str, found: dict[str, Any]) -> Table:
    """Show a target's metrics with their intervals, a line for every subset."""
    metrics = [key for key in found["as_given"] if f"{key}_low" in found["as_given"]]
    lines = {
        f"always {found['majority']['answer']!r}": found["majority"],
        **found["subsets"],
        "as given": found["as_given"],
    }
    return Table(
        title=f"{name} on test rows",
        columns=(
            "answered from",
            "rows",
            *(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")),
            "upper_bound",
        ),
        rows=tuple(
            (
                label,
                line["rows"],
                *(round(line[f"{m}{end}"], 4) for m in metrics for end in ("", "_low", "_high")),
                line.get("upper_bound"),
            )
            for label, line in lines.items()
        ),
    )


def _round(value: Any) -> Any:  # noqa: ANN401 - nested JSON values
    """Round every number of a nested mapping, so that the last bits show in no file."""
    if isinstance(value, dict):
        return {key: _round(inner) for key, inner in value.items()}
    return round(value, DECIMALS) if isinstance(value, float) else value
