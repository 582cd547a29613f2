"""Comparing an incoming batch with the rows that the current model was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from mm_assets.contracts.errors import SourceError
from mm_assets.data.atomic import atomic_folder, write_json, write_text
from mm_assets.data.lock import hold_lock
from mm_assets.data.table import COPY, GROUP, ID, SPLIT, read_augmented
from mm_assets.data.vectors import Embeddings, align_sequences, align_vectors
from mm_assets.drift.batch import Batch, embed_batch, validate_batch
from mm_assets.drift.incoming import find_batch, sign_batch, write_compared
from mm_assets.drift.ingestion import plan_ingestion
from mm_assets.drift.kernel_test import compare_vectors
from mm_assets.drift.page import make_page
from mm_assets.drift.permutation import (
    LEAST_GROUPS,
    count_permutations,
    thin_groups,
)
from mm_assets.drift.pictures import Drawn, draw_pictures
from mm_assets.drift.reference import Reference, ReferenceChangedError, load_reference
from mm_assets.drift.report import PAGE_FILE, REPORT_FILE, DriftReport, Kind, Moved
from mm_assets.drift.stability import MISSING, Counted, Stability, compare_levels, cut_deciles
from mm_assets.evaluation.multiple_tests import adjust_holm
from mm_assets.stages.project import Project

if TYPE_CHECKING:
    from mm_assets.training.model import FusionModel

FOREIGN = 6  # rows that are shown of a modality
TOO_FEW = f"a test needs {LEAST_GROUPS} groups on each side"


def compare_batch(root: Path, name: str) -> DriftReport:
    """Validate a batch, embed it, and compare it with what the current model was trained on.

    The vectors' reference are training rows (`artifacts/embeddings`, copies left out); of an encoder
    that has learned from them validation rows, since what it makes of rows that it has seen differs
    from what it makes of any new ones. Answers are compared with those on validation rows for the
    same reason. All else is compared with training rows. Sequences are compared by their mean. All
    this is what the champion was made from, and as long as there is none the project's `artifacts/`.

    Writes under `.mm/drift/BATCH/`: `report.json`, `page.html`, a picture of each modality, and in
    which state the batch was. Equal batches give equal bytes.

    Args:
        root: The project's root.
        name: The batch's folder in the drop folder (`drift.folder`).

    Returns:
        The report, as written.

    Raises:
        SourceError: There is no such batch, its table cannot be read, or it changed meanwhile.
        StageError: The pipeline has not been run, or with other encoders; or the batch is being
            compared already.
        ReferenceChangedError: A stage ran meanwhile.
        ConfigError: `params.yaml` is wrong.
        DataContractError: A vector is not finite.
    """
    reference = load_reference(root)
    project, workspace = reference.project, reference.project.workspace
    folder = find_batch(workspace, project.config, name)
    with hold_lock(workspace.lock(f"drift-{name}"), what=f"mm drift {name}"):
        signature, made = sign_batch(folder), reference.sign()
        report, batch, drawn = _compare(reference, folder)
        with atomic_folder(workspace.drift / name) as out:
            report = draw_pictures(report, drawn, out)
            write_json(out / REPORT_FILE, report.model_dump(mode="json"))
            write_text(out / PAGE_FILE, make_page(report, batch, out))
            if sign_batch(folder) != signature:
                raise SourceError(
                    f"batch {name!r} changed while it was compared; wait until it is complete and "
                    "run again"
                )
            if reference.sign() != made:
                raise ReferenceChangedError(
                    f"what batch {name!r} is compared with changed meanwhile; run again once "
                    "pipeline or retraining have ended"
                )
            write_compared(out, signature)
        return report


def _compare(reference: Reference, folder: Path) -> tuple[DriftReport, Batch, dict[str, Drawn]]:
    """Give what is reported, the batch, and by modality what its test was made on."""
    from mm_assets.stages.trained import read_vectors

    project = reference.project
    config, workspace = project.config, project.workspace
    batch = validate_batch(project, folder)
    plan = plan_ingestion(folder, workspace, config)
    made = read_vectors(project)
    rows = read_augmented(
        workspace.augmented,
        splits=["train", "validation"],
        columns=[*project.modalities, *project.targets],
    )
    rows = rows[rows[COPY] == 0].reset_index(drop=True)
    comparing = _Comparing(project, batch, rows, made)
    compared = list(comparing.run()) if len(batch.samples) else []
    adjusted = adjust_holm([one.p_value for one in compared])
    reasons = batch.findings.groupby("reason").agg(rows=("row", "nunique"), example=("id", "first"))
    reasons = reasons.fillna({"example": ""}).sort_values("rows", ascending=False, kind="stable")
    report = DriftReport(
        batch=folder.name,
        reference=reference.tree,
        model=reference.model,
        rows_in=batch.rows_in,
        rows_kept=len(batch.samples),
        reasons=tuple(reasons.reset_index().itertuples(index=False, name=None)),
        clashing=plan.clashing,
        p_value=config.drift.p_value,
        psi=config.drift.psi,
        quarantined_share=config.drift.quarantined_share,
        compared=tuple(_judge(one, p, project) for one, p in zip(compared, adjusted, strict=True)),
    )
    return report, batch, comparing.drawn


def _judge(one: Moved, adjusted: float | None, project: Project) -> Moved:
    """Say whether it has drifted: beyond chance and, of shares, far enough to matter."""
    gates = project.config.drift
    if adjusted is None or one.statistic is None:
        return one
    far = one.kind == "vectors" or one.statistic >= gates.psi
    drifted = adjusted <= gates.p_value and far
    return one.model_copy(update={"adjusted": _round(adjusted), "drifted": drifted})


class _Comparing:
    """Everything that is compared, one after another."""

    def __init__(
        self,
        project: Project,
        batch: Batch,
        rows: pd.DataFrame,
        made: Mapping[str, Embeddings],
    ) -> None:
        self.project, self.batch, self.made = project, batch, made
        self.training = rows[rows[SPLIT] == "train"].reset_index(drop=True)
        self.validation = rows[rows[SPLIT] == "validation"].reset_index(drop=True)
        self.drawn: dict[str, Drawn] = {}
        columns = sum(len(m.columns or ()) for m in project.config.modalities.values())
        tests = 2 * len(project.modalities) + 2 * len(project.targets) + columns
        self.permutations = count_permutations(tests, project.config.drift.p_value)

    def run(self) -> Iterator[Moved]:
        """Compare; vectors first."""
        vectors = {key: embed_batch(self.batch, key, self.made[key]) for key in self.made}
        for key, found in vectors.items():
            yield self._compare_vectors(key, found)
        for key in self.project.modalities:
            yield self._compare_presence(key)
        for key in self.project.targets:
            yield self._compare_labels(key)
        yield from self._compare_columns()
        yield from self._compare_answers(vectors)

    def _rng(self, title: str) -> np.random.Generator:
        """Give what draws for one test, whichever others there are."""
        text = f"drift\n{self.project.config.seed}\n{title}".encode()
        return np.random.default_rng(np.frombuffer(hashlib.sha256(text).digest(), np.uint32))

    def _compare_vectors(self, key: str, found: Embeddings) -> Moved:
        from mm_assets.encoders.learned import LearnedEncoder

        learned = isinstance(self.project.encoders[key], LearnedEncoder)
        rows = self.validation if learned else self.training
        sides = [side[side[key].notna()] for side in (rows, self.batch.samples)]
        moved = Moved(
            name=key, kind="vectors", reference_rows=len(sides[0]), batch_rows=len(sides[1])
        )
        if min(side[GROUP].nunique() for side in sides) < LEAST_GROUPS:
            return moved.model_copy(update={"note": TOO_FEW})
        rng = self._rng(moved.title)
        kept = thin_groups(
            *(side[GROUP].to_numpy() for side in sides),
            most=self.project.config.drift.rows,
            rng=rng,
        )
        sides = [side.iloc[places] for side, places in zip(sides, kept, strict=True)]
        reference, batch = (
            _pool(embeddings, side)
            for embeddings, side in zip((self.made[key], found), sides, strict=True)
        )
        test = compare_vectors(
            reference,
            batch,
            groups=(sides[0][GROUP].to_numpy(), sides[1][GROUP].to_numpy()),
            permutations=self.permutations,
            rng=rng,
        )
        self.drawn[key] = Drawn(test, reference, batch)
        order = np.argsort(-test.foreign, kind="stable")[:FOREIGN]
        return moved.model_copy(
            update={
                "reference_rows": len(reference),
                "batch_rows": len(batch),
                "statistic": _round(test.mmd2),
                "p_value": _round(test.p_value),
                "foreign": tuple(sides[1][ID].iloc[order].astype(str)),
            }
        )

    def _compare_presence(self, key: str) -> Moved:
        def count(rows: pd.DataFrame) -> Counted:
            levels = pd.Series(np.where(rows[key].notna(), "there", MISSING), index=rows.index)
            return Counted(levels, rows[GROUP])

        return self._count(key, "presence", count(self.training), count(self.batch.samples))

    def _compare_labels(self, key: str) -> Moved:
        target = self.project.targets[key]
        sides = (self.training, self.batch.samples)
        if target.has_classes:
            levels = [target.outline(side[key]).astype("str") for side in sides]
        else:
            levels = cut_deciles(*(side[key].dropna().astype(float) for side in sides))
        counted = (Counted(one, side[GROUP]) for one, side in zip(levels, sides, strict=True))
        return self._count(key, "label", *counted)

    def _compare_columns(self) -> Iterator[Moved]:
        for key, modality in self.project.config.modalities.items():
            if modality.columns is None:
                continue
            sides = [side[side[key].notna()] for side in (self.training, self.batch.samples)]
            decode: Callable[..., Mapping[str, object]] = self.project.modalities[key].decode
            tables = [
                pd.DataFrame(
                    [decode(cell, self.project.workspace.data) for cell in side[key]],
                    index=side.index,
                    columns=list(modality.columns),
                )
                for side in sides
            ]
            for name, kind in modality.columns.items():
                cells = [table[name] for table in tables]
                if kind == "numeric":
                    levels = cut_deciles(*(one.astype(float) for one in cells))
                else:
                    levels = [one.where(one.notna(), MISSING).astype("str") for one in cells]
                counted = (
                    Counted(one, side[GROUP]) for one, side in zip(levels, sides, strict=True)
                )
                yield self._count(name, "column", *counted)

    def _compare_answers(self, vectors: Mapping[str, Embeddings]) -> Iterator[Moved]:
        """Compare what the current model answers, where there is one."""
        from mm_assets.stages.trained import read_model

        if not self.project.workspace.model.is_dir():
            return
        model = read_model(self.project, self.made)
        sides = (self.validation, self.batch.samples)
        answers = [
            _answer(project, model, found, side)
            for project, found, side in zip(
                (self.project, self.batch.project), (self.made, vectors), sides, strict=True
            )
        ]
        for key, target in self.project.targets.items():
            if target.has_classes:
                levels = [target.outline(one[key]).astype("str") for one in answers]
            else:
                levels = cut_deciles(*(one[key].astype(float) for one in answers))
            counted = (Counted(one, side[GROUP]) for one, side in zip(levels, sides, strict=True))
            yield self._count(key, "answers", *counted)

    def _count(self, name: str, kind: Kind, reference: Counted, batch: Counted) -> Moved:
        moved = Moved(
            name=name,
            kind=kind,
            reference_rows=reference.levels.index.nunique(),
            batch_rows=batch.levels.index.nunique(),
        )
        for side, who in ((reference, "the reference"), (batch, "the batch")):
            if side.levels.empty:
                return moved.model_copy(update={"note": f"{who} has none"})
        found = compare_levels(
            reference,
            batch,
            permutations=self.permutations,
            most=self.project.config.drift.rows,
            rng=self._rng(moved.title),
        )
        return moved.model_copy(update=_describe(found))


def _describe(found: Stability) -> dict[str, object]:
    return {
        "statistic": _round(found.psi),
        "p_value": None if found.p_value is None else _round(found.p_value),
        "levels": tuple(
            (name, _round(one), _round(other))
            for name, one, other in zip(found.levels, found.reference, found.batch, strict=True)
        ),
        "unseen": found.unseen,
        "note": TOO_FEW if found.p_value is None else "",
    }


def _pool(embeddings: Embeddings, rows: pd.DataFrame) -> Float[np.ndarray, "row dim"]:
    """Give one vector a row: its own, or the mean of its sequence."""
    if not embeddings.encoder.get("sequence"):
        return align_vectors(embeddings, rows)[0]
    steps, mask = align_sequences(embeddings, rows)
    return np.asarray(steps.sum(axis=1) / mask.sum(axis=1, keepdims=True))


def _answer(
    project: Project,
    model: FusionModel,
    embeddings: Mapping[str, Embeddings],
    rows: pd.DataFrame,
) -> pd.DataFrame:
    """Ask a model; gives what it answers, by target, as labels are kept."""
    from mm_assets.evaluation.answers import predict
    from mm_assets.stages.trained import encode_rows, gather_rows

    unlabelled = rows.assign(**dict.fromkeys(project.targets, None))
    own = encode_rows(project, model, embeddings, unlabelled)
    found = predict(model, gather_rows(project, unlabelled, own, model.targets))
    return pd.DataFrame(
        {key: model.targets[key].answer(values) for key, values in found.items()},
        index=rows.index,
    )


def _round(value: float) -> float:
    """Keep six digits: what follows depends on the machine."""
    return float(f"{value:.6g}")
