"""Stage `augment`: the split table; each training row also as copies that are rendered later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mm_assets.contracts.errors import StageError, TrainingError
from mm_assets.contracts.report import Plot, StageReport
from mm_assets.data.atomic import atomic_folder
from mm_assets.data.cells import name_broken_cell
from mm_assets.data.progress import show_progress
from mm_assets.data.splits import assign_splits
from mm_assets.data.table import COPY, GROUP, ID, RENDER, SPLIT
from mm_assets.validation.contact_sheet import draw_contact_sheet
from mm_assets.validation.leaks import check_leaks
from mm_assets.validation.previews import is_missing
from mm_assets.validation.rows import number_contents
from mm_assets.validation.runner import join_suites
from mm_assets.validation.splits import check_splits

if TYPE_CHECKING:
    from mm_assets.contracts.config import Config
    from mm_assets.modalities.base import Sketch
    from mm_assets.stages.project import Project

SHEET_ROWS = 6  # samples on the contact sheet


def augment(project: Project) -> StageReport:
    """Give every valid sample its split, and every training sample its copies.

    Writes under `artifacts/augmented/`:
        `samples.parquet`: ``id``, ``copy`` (0 for the sample itself), ``split``, ``group``,
        ``render`` (JSON text, modality to plan; null for copy 0), modality keys, target keys; in
        the order of the samples, a sample's copies right after it. A class that no training row
        has is null, so that nothing is asked of the model that it cannot know.
        `contact_sheet.png`: some training samples beside their first copy.

    Raises:
        StageError: No row is valid, a modality is absent or always the same in training rows, or a
            cell that was valid cannot be decoded now; names sample and file.
        TrainingError: The training rows' labels leave nothing to learn, or no validation row has one.
        ConfigError: A class that has a weight is none of the training rows' labels.
    """
    config, workspace = project.config, project.workspace
    valid = pd.read_parquet(workspace.validated / "samples.parquet")
    if valid.empty:
        page = workspace.page("validate").relative_to(workspace.root)
        raise StageError(
            f"augment needs valid rows, and stage validate left none; {page.as_posix()} says why; mend "
            "the data and run `dvc repro`"
        )
    probes = pd.read_parquet(workspace.validated / "probes.parquet")
    rows = add_copies(split_samples(valid, config), copies=config.augment.copies)
    rows[RENDER] = _plan_renderings(rows, project)
    rows = rows[[ID, COPY, SPLIT, GROUP, RENDER, *config.modalities, *config.targets]]
    training = (rows[SPLIT] == "train").to_numpy()
    learnable = rows.assign(
        **{
            key: target.forget_unseen(rows[key], training)
            for key, target in project.targets.items()
        }
    )
    contents = probes.pivot(index=ID, columns="modality", values="content").reindex(
        columns=list(config.modalities)
    )
    _require_modalities(rows[training], contents)
    _require_labels(learnable, project)

    with atomic_folder(workspace.augmented) as folder:
        learnable.to_parquet(folder / "samples.parquet", index=False)
        _draw_sheet(folder / "contact_sheet.png", rows, project)
    files = [key for key, modality in project.modalities.items() if modality.is_file]
    samples = rows[rows[COPY] == 0]
    outlines = {key: target.outline(samples[key]) for key, target in project.targets.items()}
    sound = check_splits(
        rows,
        number_contents(contents, identifying=project.identifying),
        media=probes.loc[probes["modality"].isin(files), [ID, "modality", "content"]],
        outlines=outlines,
    )
    train = samples[samples[SPLIT] == "train"]
    leaks = check_leaks(
        train,
        kinds={key: modality.kind for key, modality in project.modalities.items()},
        outlines={key: found[found.index.isin(train.index)] for key, found in outlines.items()},
    )
    suite = join_suites([sound, leaks], description=sound.description)
    sheet = workspace.augmented / "contact_sheet.png"
    return StageReport(
        stage="augment",
        rows_in=len(valid),
        rows_out=len(rows),
        metrics={
            **{f"{split}_rows": n for split, n in _count_splits(rows).items()},
            "groups": int(rows[GROUP].nunique()),
            "copies": int((rows[COPY] > 0).sum()),
        },
        suites=(suite,),
        plots=(
            Plot(
                title="Training samples beside their first copy",
                path=sheet.relative_to(workspace.root).as_posix(),
            ),
        ),
    )


def split_samples(samples: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Add column ``split``: the given one, or a hash of the seed and the group."""
    if SPLIT in samples:
        return samples
    return samples.assign(
        **{SPLIT: assign_splits(samples[GROUP], shares=config.split, seed=config.seed)}
    )


def _require_modalities(rows: pd.DataFrame, contents: pd.DataFrame) -> None:
    """Refuse a modality from which nothing can be learned, before its vectors are computed.

    Args:
        rows: Training rows; where there are none, the suite says so.
        contents: Of each sample (the index), what is equal for equal cells, by modality.

    Raises:
        StageError: Names the modality.
    """
    ids = rows[ID].drop_duplicates()
    for key, found in contents.reindex(ids).items():
        if len(ids) and found.isna().all():
            raise StageError(
                f"modality {key!r} needs at least 1 training row that has it, got 0; add such rows "
                "or take the modality out of params.yaml"
            )
        if found.count() > 1 and found.nunique() == 1:
            raise StageError(
                f"modality {key!r} needs cells that differ in the training rows, but all "
                f"{found.count()} that have it hold the same, so nothing can be learned from it; "
                f"mend its column, or take {key!r} out of params.yaml"
            )


def _require_labels(rows: pd.DataFrame, project: Project) -> None:
    """Refuse labels that no model can be trained on, before vectors are computed.

    Args:
        rows: Of all splits; where one is empty, the suite says so.
        project: Names the targets.

    Raises:
        TrainingError: Training rows leave nothing to learn, or no validation row has a label.
        ConfigError: A class that has a weight is none of the labels'.
    """
    parts = dict(list(rows.groupby(SPLIT)))
    if "train" in parts:
        for key, target in project.targets.items():
            target.fit(parts["train"][key], project.config.targets[key], where=key)
    names = list(project.targets)
    if "validation" in parts and parts["validation"][names].isna().all(axis=None):
        raise TrainingError(
            f"training is stopped, and answers are calibrated, by validation rows, but none of "
            f"{len(parts['validation'])} has a label of {', '.join(names)} that a training row has too; "
            "label some of them, or choose other rows by `data.split`, `split` or `seed` in params.yaml"
        )


def add_copies(samples: pd.DataFrame, *, copies: int) -> pd.DataFrame:
    """Repeat each training row, with ``copy`` from 0 (itself) to `copies`, in the samples' order."""
    train = samples[samples[SPLIT] == "train"]
    parts = [samples.assign(copy=0), *(train.assign(copy=n) for n in range(1, copies + 1))]
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)


def _plan_renderings(rows: pd.DataFrame, project: Project) -> pd.Series:
    """Draw a plan for every present modality of every copy.

    Each plan has a random generator of its own, so that it does not depend on the other rows.
    """
    seed, copies = project.config.seed, rows[rows[COPY] > 0]
    columns = [copies[ID], copies[COPY], *(copies[key].notna() for key in project.modalities)]
    plans: list[str] = []
    for sample, copy, *present in show_progress(
        zip(*columns, strict=True), title="plan copies", total=len(copies)
    ):
        plan = {
            key: modality.plan(_start_generator(f"{seed}:{sample}:{copy}:{key}"))
            for (key, modality), there in zip(project.modalities.items(), present, strict=True)
            if there
        }
        plans.append(json.dumps(plan, sort_keys=True))
    return pd.Series(plans, index=copies.index, dtype="str").reindex(rows.index)


def _start_generator(name: str) -> np.random.Generator:
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _draw_sheet(path: Path, rows: pd.DataFrame, project: Project) -> None:
    """Show the training samples that have most modalities, the first in the table before others."""
    train = rows[rows[SPLIT] == "train"]
    present = train[list(project.modalities)].notna().sum(axis=1)
    shown = train[train[COPY] == 0].loc[lambda some: present[some.index].nlargest(SHEET_ROWS).index]
    copies = train[train[COPY] == 1].set_index(ID)[RENDER]
    titles = [title for key in project.modalities for title in (key, f"{key}, copy 1")]
    lines = [
        (
            sample[ID],
            [
                value
                for key in project.modalities
                for value in _render_pair(sample, key, copies.get(sample[ID]), project)
            ],
        )
        for sample in shown.to_dict("records")
    ]
    draw_contact_sheet(path, titles, lines)


def _render_pair(
    sample: Mapping[Any, Any], key: str, render: str | None, project: Project
) -> tuple[Sketch | None, Sketch | None]:
    """Show one decoded cell and its rendered copy; nulls where the modality or the copy is missing.

    Raises:
        StageError: A cell that was valid cannot be decoded now; names sample and file.
    """
    cell, modality = sample[key], project.modalities[key]
    if is_missing(cell):
        return None, None
    with name_broken_cell(f"augment: {key} of", sample[ID], cell):
        value = modality.decode(cell, project.workspace.data)
    copy = modality.render(value, json.loads(render)[key]) if render else None
    return modality.describe(value), None if copy is None else modality.describe(copy)


def _count_splits(rows: pd.DataFrame) -> dict[str, int]:
    """Count samples, not copies, by split."""
    counts = rows.loc[rows[COPY] == 0, SPLIT].value_counts().sort_index()
    return {str(split): int(count) for split, count in counts.items()}
