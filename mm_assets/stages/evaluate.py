"""The evaluate stage: the only one that opens test rows with their labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mm_assets.contracts.errors import ConfigError, SourceError, StageError
from mm_assets.contracts.report import Plot, StageReport
from mm_assets.data.atomic import atomic_folder, write_json
from mm_assets.data.card import read_card
from mm_assets.data.progress import show_progress
from mm_assets.data.table import read_augmented
from mm_assets.data.vectors import Embeddings
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.disturbed import encode_disturbed
from mm_assets.embedding.encoding import build_network
from mm_assets.embedding.timing import time_encoder, weigh_network
from mm_assets.evaluation import (
    absence,
    attribution,
    baselines,
    confusion,
    cost,
    label_errors,
    noise_curves,
    recalls,
    reliability,
    selective,
    shapley,
    slices,
    subsets,
)
from mm_assets.evaluation.base import ByTarget, Evidence, Material, Rows, make_table
from mm_assets.evaluation.errors import show_answers
from mm_assets.evaluation.evidence import write_by_target
from mm_assets.evaluation.plot_data import write_plot_data
from mm_assets.stages.trained import (
    encode_rows,
    find_network,
    gather_rows,
    read_model,
    read_vectors,
)
from mm_assets.training.baselines import read_baselines
from mm_assets.training.examples import gather_examples
from mm_assets.training.model import FusionModel
from mm_assets.validation.evaluate import check_evidence
from mm_assets.validation.rows import read_ids

if TYPE_CHECKING:
    from torch import nn

    from mm_assets.stages.project import Project
    from mm_assets.training.examples import Examples

# What is measured, in the order of the report's tables and pictures.
EVIDENCE: tuple[Evidence, ...] = (
    subsets.EVIDENCE,
    confusion.EVIDENCE,
    recalls.EVIDENCE,
    baselines.EVIDENCE,
    absence.EVIDENCE,
    shapley.EVIDENCE,
    cost.EVIDENCE,
    noise_curves.EVIDENCE,
    reliability.EVIDENCE,
    selective.EVIDENCE,
    slices.EVIDENCE,
    label_errors.EVIDENCE,
)
DECIMALS = 6  # of numbers in the files
TIMED_ROWS = 15  # of each modality


def evaluate(project: Project) -> StageReport:
    """Score the trained model on test rows: see `EVIDENCE`.

    Writes under `artifacts/evaluation/`:
        `metrics.json`: the numbers that are worth following from run to run (`dvc metrics diff`).
        `evidence.json`: everything that was measured, with intervals.
        `errors.json`: by target, the most confident errors and some right answers, with previews
            of their modalities and what each moved the answer by.
        `label_errors.json`: by target, labels that are likely wrong.
        `attribution.json`: by target, what parts of some rows' inputs their answers rest on.
        `predictions.parquet`: of every labelled row.
        `absence_masks.parquet`: what was left of each row when modalities went missing at random.
        `plots/`: pictures; `plot_data/`: the same for `dvc plots diff`.

    Raises:
        ConfigError: `evaluation.slices` names a column that the raw table does not have.
        StageError: The model reads other modalities than `params.yaml` has, or there are no test
            rows.
    """
    workspace = project.workspace
    material = gather_material(project)
    evidence = measure_evidence(material)
    channels = open_channels(project, material.model)
    looked_into = attribution.measure_attribution(
        material, channels, workspace.data, most=project.config.evaluation.attributed_rows
    )
    # Not in the out, which must not differ between equal runs.
    write_json(workspace.log("cost"), time_channels(project, channels, material.validation.table))
    looked_at = show_answers(material, project.modalities, workspace.data)
    doubted = label_errors.list_label_errors(material, project.modalities, workspace.data)
    metrics = _round({name: follow(found) for name, found in evidence.items()})
    predictions = list_predictions(material)
    with atomic_folder(workspace.evaluation) as folder:
        write_json(folder / "metrics.json", metrics)
        write_by_target(folder / "evidence.json", _round(evidence))
        write_by_target(folder / "errors.json", _round(looked_at))
        write_by_target(folder / "label_errors.json", _round(doubted))
        write_by_target(folder / "attribution.json", _round(looked_into))
        absence.list_masks(material).to_parquet(folder / "absence_masks.parquet")
        predictions.to_parquet(folder / "predictions.parquet")
        write_plot_data(folder / "plot_data", evidence, predictions)
        titles = draw_pictures(evidence, folder)
    place = workspace.evaluation.relative_to(workspace.root)
    rows = len(material.test.table)
    return StageReport(
        stage="evaluate",
        rows_in=rows,
        rows_out=rows,
        metrics={
            f"{name}_{key}": value
            for name, found in metrics.items()
            for key, value in found.items()
            if not isinstance(value, dict)  # those are in the tables
        },
        suites=(
            check_evidence(
                evidence, {name: target.headline for name, target in material.targets.items()}
            ),
        ),
        plots=tuple(
            Plot(title=title, path=(place / file).as_posix()) for file, title in titles.items()
        ),
        tables=(
            *(
                table
                for piece in EVIDENCE
                for name, found in evidence.items()
                if piece.key in found
                for table in piece.tabulate(name, found)
            ),
            make_table(
                "The most confident errors",
                ("target", "id", "group", "true", "predicted", "surprise"),
                [
                    {"target": name} | one
                    for name, found in looked_at.items()
                    for one in found["errors"]
                ],
            ),
        ),
    )


def gather_material(project: Project) -> Material:
    """Read the trained model and all that it is evaluated with.

    Raises:
        ConfigError: As `evaluate`.
        StageError: As `evaluate`.
    """
    config, workspace = project.config, project.workspace
    columns = read_slice_columns(project)
    # Fusing some hundred vectors is too little to share out: two threads take three times as long.
    torch.set_num_threads(config.compute.threads or 1)
    embeddings = read_vectors(project)
    model = read_model(project, embeddings)
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
    plain = gather_rows(project, test, embeddings, model.targets)
    find = functools.partial(find_network, project, model, embeddings)

    def build(key: str) -> nn.Module:
        return build_network(project.encoders[key], embeddings[key].state)

    def gather(other: FusionModel) -> Examples:
        return encode(project, test, other, embeddings).examples if other.tuned else plain

    def disturb(
        key: str, rows: pd.DataFrame, levels: Sequence[float]
    ) -> Mapping[float, Embeddings]:
        return encode_disturbed(
            key,
            rows,
            functools.partial(find, key),
            levels=levels,
            seed=config.seed,
            modality=project.modalities[key],
            encoder=project.encoders[key],
            folder=workspace.data,
            compute=config.compute,
        )

    return Material(
        model=model,
        test=Rows(test, gather(model)),
        validation=encode(
            project,
            read_augmented(workspace.augmented, splits=["validation"]),
            model,
            embeddings,
        ),
        training=read_augmented(workspace.augmented, splits=["train"]),
        plain=plain,
        gather=gather,
        baselines=read_baselines(workspace.baselines, model.modalities, build),
        disturb=disturb,
        weigh=lambda key: weigh_network(find(key)),
        columns=columns,
        bounds=read_upper_bounds(workspace.data / "card.json"),
        config=config.evaluation,
        seed=config.seed,
    )


def encode(
    project: Project, table: pd.DataFrame, model: FusionModel, embeddings: Mapping[str, Embeddings]
) -> Rows:
    """Give rows the vectors that the model takes, and their labels."""
    vectors = encode_rows(project, model, embeddings, table)
    in_groups = model.config.context is not None
    return Rows(table, gather_examples(table, vectors, model.targets, in_groups=in_groups))


def open_channels(project: Project, model: FusionModel) -> dict[str, attribution.Channel]:
    """Give what turns each modality's cells into the vectors that the model takes."""
    embeddings = read_vectors(project)
    return {
        key: attribution.Channel(
            modality, project.encoders[key], find_network(project, model, embeddings, key)
        )
        for key, modality in project.modalities.items()
    }


def time_channels(
    project: Project, channels: Mapping[str, attribution.Channel], table: pd.DataFrame
) -> dict[str, dict[str, float]]:
    """Time decoding and encoding of some rows, one by one, by modality; see `time_encoder`."""
    timed = {}
    for key, channel in channels.items():
        present = table[table[key].notna()].head(TIMED_ROWS).reset_index(drop=True)
        if len(present):
            cells = Cells(
                key,
                present,
                modality=channel.modality,
                encoder=channel.encoder,
                folder=project.workspace.data,
                compute=project.config.compute,
            )
            timed[key] = time_encoder(cells, channel.network, np.arange(len(present)))
    return timed


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


def measure_evidence(material: Material) -> ByTarget:
    """Measure everything that `evidence.json` holds: by target, `headline` and every piece's keys."""
    evidence: ByTarget = {
        name: {"headline": target.headline} for name, target in material.targets.items()
    }
    for piece in show_progress(EVIDENCE, title="evaluate", total=len(EVIDENCE), unit="measure"):
        for name, found in piece.measure(material).items():
            evidence[name] |= found
    return evidence


def follow(found: Mapping[str, Any]) -> dict[str, Any]:
    """Choose a target's numbers that are worth following from run to run."""
    return {
        key: value
        for piece in EVIDENCE
        if piece.key in found
        for key, value in piece.follow(found).items()
    }


def draw_pictures(evidence: ByTarget, folder: Path) -> dict[str, str]:
    """Draw every target's pictures into `folder/plots`; returns their titles by file."""
    (folder / "plots").mkdir()
    titles = {}
    for name, found in evidence.items():
        for piece in EVIDENCE:
            if piece.key in found:
                file = f"plots/{name}_{piece.key}.svg"
                piece.draw(name, found, folder / file)
                titles[file] = f"{name}: {piece.title.format(metric=found['headline'])}"
    return titles


def list_predictions(material: Material) -> pd.DataFrame:
    """List every labelled test row's answer: id, target, true, predicted and probabilities.

    `probabilities` are in the order of the target's classes in `model/config.json`.
    """
    table = material.test.table
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "id": table["id"].iloc[found.rows].to_numpy(),
                    "target": name,
                    "true": table[name].iloc[found.rows].astype("str").to_numpy(),
                    "predicted": material.targets[name].answer(found.probabilities),
                    "probabilities": list(found.probabilities),
                }
            )
            for name, found in material.as_given.items()
        ],
        ignore_index=True,
    )


def _round(found: Mapping[str, Any]) -> dict[str, Any]:
    """Round every number of nested values, so that the last bits show in no file."""
    return {key: _round_one(value) for key, value in found.items()}


def _round_one(value: object) -> object:
    if isinstance(value, dict):
        return _round(value)
    if isinstance(value, list):
        return [_round_one(inner) for inner in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
