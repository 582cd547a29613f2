"""The evaluate stage: the only one that opens test rows with their labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mm_assets.contracts.errors import ConfigError, SourceError, StageError
from mm_assets.contracts.report import Plot, StageReport, Table
from mm_assets.contracts.subsets import list_subsets, name_subset
from mm_assets.data.atomic import atomic_folder, write_json
from mm_assets.data.card import read_card
from mm_assets.data.progress import show_progress
from mm_assets.data.table import ID, read_augmented
from mm_assets.data.vectors import read_embeddings
from mm_assets.evaluation.errors import find_confident_errors
from mm_assets.evaluation.evidence import write_by_target
from mm_assets.evaluation.plot_data import write_plot_data
from mm_assets.evaluation.plots import (
    plot_confusion,
    plot_recalls,
    plot_reliability,
    plot_slices,
    plot_subsets,
)
from mm_assets.evaluation.recall import score_recalls
from mm_assets.evaluation.reliability import measure_reliability
from mm_assets.evaluation.slices import adjust_holm, cut_slices, find_worst, judge_slices
from mm_assets.evaluation.subsets import (
    Answers,
    answer_majority,
    answer_rows,
    judge_answers,
)
from mm_assets.stages.project import Project
from mm_assets.training.examples import Examples, gather_examples
from mm_assets.training.model import FusionModel, load_model
from mm_assets.validation.evaluate import check_evidence
from mm_assets.validation.previews import preview
from mm_assets.validation.rows import read_ids

DECIMALS = 6  # of numbers in the files
MOST_CLASSES = 30  # whose recalls are followed from run to run
PRESENT = "modalities present"  # what every evaluation is sliced by


def evaluate(project: Project) -> StageReport:
    """Score the trained model on test rows: by subset of its modalities, by class, by slice.

    Writes under `artifacts/evaluation/`:
        `metrics.json`: the numbers that are worth following from run to run (`dvc metrics diff`).
        `evidence.json`: everything that was measured, with intervals.
        `errors.json`: by target, the most confident errors with previews of their modalities.
        `predictions.parquet`: of every labelled row.
        `plots/`: pictures; `plot_data/`: the same for `dvc plots diff`.

    Raises:
        ConfigError: `evaluation.slices` names a column that the raw table does not have.
        StageError: The model reads other modalities than `params.yaml` has, or there are no test
            rows.
    """
    config, workspace = project.config, project.workspace
    raw = read_slice_columns(project)
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
    slices = slice_rows(rows, test[ID], training[ID], raw)

    as_given = answer_rows(model, rows)
    evidence = judge_model(project, model, rows, as_given, test, training, slices)
    errors = list_errors(project, model, rows, as_given, test)
    confusions = {
        name: matrix
        for name, target in model.targets.items()
        if (matrix := target.confusion(as_given[name].tallies.sum(axis=0))) is not None
    }
    with atomic_folder(workspace.evaluation) as folder:
        write_json(folder / "metrics.json", _round(summarize(evidence)))
        write_by_target(folder / "evidence.json", _round(evidence))
        write_by_target(folder / "errors.json", _round(errors))
        predictions = list_predictions(test, as_given, model)
        predictions.to_parquet(folder / "predictions.parquet")
        confusable = {
            name: predictions.loc[predictions["target"] == name, ["true", "predicted"]]
            for name in confusions
        }
        write_plot_data(folder / "plot_data", evidence, confusable)
        titles = draw_plots(evidence, confusions, model, folder)
    place = workspace.evaluation.relative_to(workspace.root)
    return StageReport(
        stage="evaluate",
        rows_in=len(test),
        rows_out=len(test),
        metrics=_round(
            {
                f"{name}_{key}": value
                for name, found in summarize(evidence).items()
                for key, value in found.items()
                if not isinstance(value, dict)  # those are in the tables
            }
        ),
        suites=(check_evidence(evidence, {name: t.headline for name, t in model.targets.items()}),),
        plots=tuple(
            Plot(title=title, path=(place / file).as_posix()) for file, title in titles.items()
        ),
        tables=(
            *(tabulate(name, found) for name, found in evidence.items()),
            *(
                tabulate_recalls(name, found)
                for name, found in evidence.items()
                if found["recalls"]
            ),
            *(tabulate_slices(name, found) for name, found in evidence.items()),
            tabulate_errors(errors),
        ),
    )


def read_slice_columns(project: Project) -> pd.DataFrame:
    """Read the columns that `evaluation.slices` names.

    Returns:
        One row per id of the raw table, as text; of a repeated id the first row, which is the one
        that `validate` may have kept.

    Raises:
        ConfigError: The raw table has no such column.
    """
    config = project.config
    if not config.evaluation.slices:
        return pd.DataFrame()
    raw = project.read_raw()
    for column in config.evaluation.slices:
        if column not in raw:
            raise ConfigError(
                f"params.yaml: `evaluation.slices` must name columns of {config.data.table} "
                f"({', '.join(map(str, raw.columns))}), got {column!r}"
            )
    chosen = raw[config.evaluation.slices].set_index(read_ids(raw, config))
    return chosen[~chosen.index.duplicated()]


def slice_rows(
    rows: Examples, test: pd.Series, training: pd.Series, raw: pd.DataFrame
) -> dict[str, pd.Series]:
    """Cut the test rows by which modalities they have, and by each column of the raw table.

    Args:
        rows: The test rows.
        test: Their ids.
        training: Ids of the training rows, copies among them.
        raw: Of `read_slice_columns`.

    Returns:
        By what they are cut by, of `cut_slices`.
    """
    names = list(rows.vectors)
    present = pd.Series(
        [
            name_subset([name for name, there in zip(names, row, strict=True) if there])
            for row in rows.presence.tolist()
        ]
    )
    return {PRESENT: cut_slices(present, present)} | {
        str(column): cut_slices(
            raw[column].reindex(test).reset_index(drop=True), raw[column].reindex(training.unique())
        )
        for column in raw.columns
    }


def judge_model(
    project: Project,
    model: FusionModel,
    rows: Examples,
    as_given: Mapping[str, Answers],
    test: pd.DataFrame,
    training: pd.DataFrame,
    slices: Mapping[str, pd.Series],
) -> dict[str, dict[str, Any]]:
    """Measure everything that `evidence.json` holds.

    Args:
        project: For its configuration and the data's card.
        model: Calibrated.
        rows: The test rows.
        as_given: Answers to each row with what it has.
        test: The test rows' table.
        training: The training rows' table.
        slices: Of `slice_rows`.

    Returns:
        By target: `headline`, what `judge_answers` gives, `recalls` by class, `reliability` with
        `calibrated` and `uncalibrated` (where the kind has probabilities), `slices` with their
        `p_adjusted` and `is_worse`, and `worst_slice`, if any.
    """
    config = project.config
    groups = test["group"].fillna(test["id"]).to_numpy()
    bounds = read_upper_bounds(project.workspace.data / "card.json")
    subsets = {
        name_subset(subset): answer_rows(model, rows, subset)
        for subset in list_subsets(model.modalities)
    }
    untempered = copy.deepcopy(model)
    untempered.temperature.fill_(1)
    before = answer_rows(untempered, rows)
    resampling: dict[str, Any] = {"resamples": config.evaluation.bootstrap, "seed": config.seed}
    level = config.evaluation.confidence
    evidence: dict[str, dict[str, Any]] = {}
    for name, target in show_progress(
        model.targets.items(), title="evaluate", total=len(model.targets), unit="target"
    ):
        given, labels = as_given[name], rows.labels[name].numpy()
        majority = answer_majority(target, target.encode(training[name], where=name), labels)
        found = {"headline": target.headline} | judge_answers(
            target,
            majority,
            {subset: answers[name] for subset, answers in subsets.items()},
            given,
            groups,
            bounds=bounds.get(name, {}),
            config=config.evaluation,
            seed=config.seed,
        )
        scored: dict[str, Any] = {"confidence": level, **resampling}
        their = groups[given.rows]
        found["recalls"] = score_recalls(target, given.tallies, their, **scored)
        for when, answers in (("calibrated", given), ("uncalibrated", before[name])):
            claims = target.confidences(labels[given.rows], answers.probabilities)
            if claims is not None:
                sure, right = claims
                owners = their.repeat(len(sure) // len(their))  # several claims a row, or one
                found.setdefault("reliability", {})[when] = measure_reliability(
                    sure, right, owners, level=level, **resampling
                )
        cut = {column: series.iloc[given.rows] for column, series in slices.items()}
        found["slices"] = judge_slices(target, given.tallies, their, cut, **scored)
        evidence[name] = found
    looks = [one for found in evidence.values() for one in found["slices"]]
    for one, p in zip(looks, adjust_holm([one["p_value"] for one in looks]), strict=True):
        one["p_adjusted"], one["is_worse"] = p, p is not None and p < 1 - level
    for found in evidence.values():
        found["worst_slice"] = find_worst(found["slices"], found["headline"])
    return evidence


def list_errors(
    project: Project,
    model: FusionModel,
    rows: Examples,
    as_given: Mapping[str, Answers],
    test: pd.DataFrame,
) -> dict[str, list[dict[str, Any]]]:
    """List each target's most confident errors, with previews of what the model was shown.

    Returns:
        By target: `id`, `group`, `true`, `predicted`, `surprise` and `previews`, HTML by modality.
    """
    errors: dict[str, list[dict[str, Any]]] = {}
    for name, target in model.targets.items():
        given = as_given[name]
        surprise = target.surprise(rows.labels[name].numpy()[given.rows], given.probabilities)
        worst = find_confident_errors(surprise)
        predicted = target.answer(given.probabilities[worst])
        errors[name] = [
            {
                "id": row["id"],
                "group": row["group"],
                "true": str(row[name]),
                "predicted": answer,
                "surprise": float(surprise[place]),
                "previews": {
                    key: str(preview(modality, row[key], project.workspace.data))
                    for key, modality in project.modalities.items()
                },
            }
            for place, answer, row in zip(
                worst, predicted, test.iloc[given.rows[worst]].to_dict("records"), strict=True
            )
        ]
    return errors


def read_upper_bounds(path: Path) -> dict[str, dict[str, float]]:
    """Read the best accuracy that any model can reach, by target and subset, from the data's card.

    Returns:
        Empty where the data has no card or the card states no bounds, as is usual.

    Raises:
        SourceError: The card is damaged.
    """
    card = read_card(path)
    try:
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
                    "true": test[name].iloc[found.rows].astype("str").to_numpy(),
                    "predicted": model.targets[name].answer(found.probabilities),
                    "probabilities": list(found.probabilities),
                }
            )
            for name, found in as_given.items()
        ],
        ignore_index=True,
    )


def draw_plots(
    evidence: Mapping[str, Any],
    confusions: Mapping[str, np.ndarray],
    model: FusionModel,
    folder: Path,
) -> dict[str, str]:
    """Draw every target's pictures into `folder/plots`; returns their titles by file."""
    (folder / "plots").mkdir()
    titles = {}
    for name, target in model.targets.items():
        found = evidence[name]

        def place(kind: str, title: str, name: str = name) -> Path:
            file = f"plots/{name}_{kind}.svg"
            titles[file] = f"{name}: {title}"
            return folder / file

        metric = target.headline
        plot_subsets(name, found, metric, place("subsets", f"{metric} of every subset"))
        if name in confusions:
            path = place("confusion", "confusion matrix")
            plot_confusion(name, target.classes, confusions[name], path)
        if found["recalls"]:
            plot_recalls(name, found["recalls"], place("recalls", "recall of every class"))
        if "reliability" in found:
            path = place("reliability", "how far its confidence can be believed")
            plot_reliability(name, found["reliability"], path)
        plot_slices(name, found, metric, place("slices", f"{metric} of every slice"))
    return titles


def summarize(evidence: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Choose the numbers that are worth following from run to run, by target."""
    chosen = {}
    for name, found in evidence.items():
        metric, given = found["headline"], found["as_given"]
        numbers: dict[str, Any] = {key: given[key] for key in given if f"{key}_low" in given}
        numbers |= {f"{metric}{end}": given[f"{metric}{end}"] for end in ("_low", "_high")}
        numbers[f"majority_{metric}"] = found["majority"][metric]
        if "fusion_vs_best_single" in found:
            best = found["fusion_vs_best_single"]
            numbers[f"best_single_{metric}"] = best[f"best_single_{metric}"]
            numbers["fusion_gain"] = best["difference"]
        if "reliability" in found:
            numbers["ece"] = found["reliability"]["calibrated"]["ece"]
            numbers["ece_uncalibrated"] = found["reliability"]["uncalibrated"]["ece"]
        if found["worst_slice"] is not None:
            numbers[f"worst_slice_{metric}"] = found["worst_slice"][metric]
        if 0 < len(found["recalls"]) <= MOST_CLASSES:
            numbers["recall"] = {one["class"]: one["recall"] for one in found["recalls"]}
        numbers["subsets"] = {key: one[metric] for key, one in found["subsets"].items()}
        chosen[name] = numbers
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


def tabulate_recalls(name: str, found: Mapping[str, Any]) -> Table:
    """Show the recall of each class with its interval."""
    columns = ("class", "recall", "recall_low", "recall_high")
    return Table(
        title=f"{name}: recall of every class",
        columns=columns,
        rows=tuple(_pick(one, columns) for one in found["recalls"]),
    )


def tabulate_slices(name: str, found: Mapping[str, Any]) -> Table:
    """Show each slice's headline metric and its difference to the rest."""
    metric = found["headline"]
    columns = (
        "column", "value", "rows", "groups", metric, f"{metric}_low", f"{metric}_high",
        "difference", "difference_low", "difference_high", "p_adjusted",
    )  # fmt: skip
    return Table(
        title=f"{name}: {metric} of every slice, and its difference to the other rows",
        columns=columns,
        rows=tuple(_pick(one, columns) for one in found["slices"]),
    )


def tabulate_errors(errors: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Show the most confident errors of all targets."""
    columns = ("id", "group", "true", "predicted", "surprise")
    return Table(
        title="The most confident errors",
        columns=("target", *columns),
        rows=tuple((name, *_pick(one, columns)) for name, found in errors.items() for one in found),
    )


def _pick(one: Mapping[str, Any], columns: Sequence[str]) -> tuple[Any, ...]:
    """Take the cells of one line, with four decimals."""
    cells = (one[column] for column in columns)
    return tuple(round(cell, 4) if isinstance(cell, float) else cell for cell in cells)


def _round(value: Any) -> Any:  # noqa: ANN401 - nested JSON values
    """Round every number of nested values, so that the last bits show in no file."""
    if isinstance(value, dict):
        return {key: _round(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_round(inner) for inner in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
