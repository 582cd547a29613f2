"""Two exported models on the same rows, which neither has seen.

Both answer raw cells as they would in use. A candidate meets the champion or, where there is none
yet, the best constant answer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from mm_assets.contracts.config import Config
from mm_assets.contracts.errors import RegistryError, ServingError
from mm_assets.contracts.subsets import list_subsets
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.cells import name_broken_cell
from mm_assets.data.progress import show_progress
from mm_assets.data.table import COPY, GROUP, ID, read_augmented
from mm_assets.registry.folders import read_contents, read_rows
from mm_assets.serving.predictor import Predictor, collate_rows
from mm_assets.targets.base import Target

BATCH = 16  # rows decoded at a time
TIMED_ROWS, TIMED_ROUNDS = 20, 3
AS_GIVEN = ()  # in the place of a subset: each row with all that it has

Subset = tuple[str, ...]
Answers = dict[str, Float[np.ndarray, "row column"]]  # by target; NaN where a row was not asked


@dataclass(frozen=True)
class Trial:
    """What there is to compare.

    Attributes:
        rows: The test rows that were asked, with their labels.
        left_out: By reason, how many were not.
        candidate: The candidate, loaded.
        champion: The champion, loaded; null where there is none yet.
        answers: The candidate's, by subset; `AS_GIVEN` among them.
        others: The champion's, or the best constant.
        subsets: Of the modalities that both know.
        milliseconds: Median time of one row, candidate and champion; null without a champion.
    """

    rows: pd.DataFrame
    left_out: dict[str, int]
    candidate: Predictor
    champion: Predictor | None
    answers: dict[Subset, Answers]
    others: dict[Subset, Answers]
    subsets: list[Subset]
    milliseconds: tuple[float, float] | None

    @property
    def groups(self) -> Shaped[np.ndarray, " row"]:
        """The group of each row, by which rows are drawn."""
        found: np.ndarray = self.rows[GROUP].fillna(self.rows[ID]).to_numpy()
        return found

    def pair(self, name: str, subset: Subset) -> Pair:
        """Give both models' tallies of one target on the rows that have a subset and a label."""
        target = self.candidate.targets[name]
        opponent = self.champion.targets[name] if self.champion else target
        labels = target.encode(self.rows[name], where=name)
        ours, theirs = self.answers[subset][name], self.others[subset][name]
        asked = ~np.isnan(ours).any(axis=1) & ~np.isnan(theirs).any(axis=1)
        rows = np.flatnonzero(target.is_known(labels) & asked)
        return Pair(
            target,
            rows,
            labels[rows],
            ours[rows],
            theirs[rows],
            target.tally(labels[rows], ours[rows]),
            opponent.tally(opponent.encode(self.rows[name], where=name)[rows], theirs[rows]),
        )


@dataclass(frozen=True)
class Pair:
    """Two models' answers to the same rows, of one target.

    Attributes:
        target: The candidate's.
        rows: Their places among the trial's rows.
        labels: Encoded, all known.
        ours: The candidate's probabilities.
        theirs: The champion's.
        first: Tallies of `ours`.
        second: Tallies of `theirs`.
    """

    target: Target
    rows: Shaped[np.ndarray, " row"]
    labels: Shaped[np.ndarray, " row *label"]
    ours: Float[np.ndarray, "row column"]
    theirs: Float[np.ndarray, "row column"]
    first: Shaped[np.ndarray, "row tally"]
    second: Shaped[np.ndarray, "row tally"]

    def headlines(self) -> tuple[float, float]:
        """Give both values of the metric that is compared."""
        sums = (self.first.sum(axis=0)[None], self.second.sum(axis=0)[None])
        ours, theirs = (
            float(self.target.metrics(total)[self.target.headline][0]) for total in sums
        )
        return ours, theirs


def hold_trial(
    workspace: Workspace, config: Config, candidate: Path, champion: Path | None
) -> Trial:
    """Ask both models about every test row that neither was trained on.

    Args:
        workspace: Whose test rows.
        config: `promotion.rows`, `compute`.
        candidate: A registered model's folder.
        champion: The champion's; null where there is none.

    Raises:
        RegistryError: The two have different targets, the champion is of another release, or too
            few rows are left.
        StageError: A cell that was valid cannot be decoded now.
    """
    load: dict[str, Any] = {"threads": config.compute.threads, "device": config.compute.device}
    ours = Predictor(candidate, **load)
    try:
        theirs = Predictor(champion, **load) if champion else None
    except ServingError as error:
        raise RegistryError(
            f"the champion cannot be asked, so there is nothing to compare with: {error}; or put the "
            "candidate in its place yourself with `mm promote --force REASON`"
        ) from None
    if champion and theirs:
        require_equal_targets(ours, theirs, champion.name)
    test = read_augmented(workspace.augmented, splits=["test"])
    test = test[test[COPY] == 0].reset_index(drop=True)
    rows, left_out = choose_rows(
        test,
        read_contents(workspace).reindex(test[ID]).reset_index(drop=True),
        {folder: read_rows(folder) for folder in (candidate, champion) if folder},
        ours,
        theirs,
    )
    require_enough(rows, ours.targets, left_out, least=config.promotion.rows)
    known = [key for key in ours.modalities if theirs is None or key in theirs.modalities]
    subsets: list[Subset] = list_subsets(known)
    answers = answer_subsets(ours, rows, subsets, folder=workspace.data, title="promote: candidate")
    return Trial(
        rows=rows,
        left_out=left_out,
        candidate=ours,
        champion=theirs,
        answers=answers,
        others=(
            answer_subsets(theirs, rows, subsets, folder=workspace.data, title="promote: champion")
            if theirs
            else answer_constantly(workspace, ours.targets, answers)
        ),
        subsets=subsets,
        milliseconds=time_rows(ours, theirs, rows, folder=workspace.data) if theirs else None,
    )


def require_equal_targets(ours: Predictor, theirs: Predictor, champion: str) -> None:
    """Require that both models answer the same questions.

    Raises:
        RegistryError: They do not.
    """

    def list_targets(predictor: Predictor) -> dict[str, str]:
        return {
            name: f"{target.kind} ({', '.join(target.classes)})" if target.classes else target.kind
            for name, target in predictor.targets.items()
        }

    mine, other = list_targets(ours), list_targets(theirs)
    if mine != other:
        told = [
            ", ".join(f"{name}: {what}" for name, what in found.items()) for found in (mine, other)
        ]
        raise RegistryError(
            f"the candidate answers {told[0]} but the champion {champion} answers {told[1]}, so "
            "there is nothing to compare; make `targets` in params.yaml equal, or put the candidate "
            "in its place yourself with `mm promote --force REASON`"
        )


def choose_rows(
    test: pd.DataFrame,
    contents: pd.DataFrame,
    trained: Mapping[Path, pd.DataFrame],
    ours: Predictor,
    theirs: Predictor | None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Leave out test rows that one of the two was trained on, or cannot be asked.

    Args:
        test: The test rows.
        contents: Their digests by modality, same order.
        trained: By model, the rows it was trained on, as `read_rows` gives them.
        ours: The candidate.
        theirs: The champion.

    Returns:
        The rows that are left, and how many were left out for each reason.
    """
    identifying = [key for key, modality in ours.modalities.items() if modality.identifies]
    out: dict[str, Bool[np.ndarray, " row"]] = {
        f"trained on by {folder.name}": find_seen(test[ID], contents, rows, identifying)
        for folder, rows in trained.items()
    }
    for predictor in filter(None, (ours, theirs)):
        present = [key for key in predictor.modalities if key in test]
        out["without a modality that both read"] = (
            out.get("without a modality that both read", np.zeros(len(test), bool))
            | test[present].isna().all(axis=1).to_numpy()
        )
    kept = ~np.logical_or.reduce(list(out.values()))
    counts = {reason: int(found.sum()) for reason, found in out.items() if found.any()}
    return test[kept].reset_index(drop=True), counts


def find_seen(
    ids: pd.Series, contents: pd.DataFrame, trained: pd.DataFrame, identifying: Sequence[str]
) -> Bool[np.ndarray, " row"]:
    """Tell which rows a model was trained on, by id or, under another id, by content.

    Content is equal where all modalities that both know and that identify a sample are; a row that
    has none of them may equal another by chance.

    Args:
        ids: Of the rows.
        contents: Digests by modality, same order; null where missing.
        trained: Ids and digests of the rows that it was trained on.
        identifying: Modalities whose equal cells mean that it is the same sample.
    """
    seen: np.ndarray = ids.isin(trained[ID]).to_numpy()
    shared = [key for key in identifying if key in contents and key in trained]
    if shared:
        theirs = pd.MultiIndex.from_frame(trained[shared].astype("object").fillna(""))
        mine = pd.MultiIndex.from_frame(contents[shared].astype("object").fillna(""))
        seen = seen | (mine.isin(theirs) & contents[shared].notna().any(axis=1).to_numpy())
    return seen


def require_enough(
    rows: pd.DataFrame, targets: Mapping[str, Target], left_out: Mapping[str, int], *, least: int
) -> None:
    """Require enough labelled rows of every target.

    Raises:
        RegistryError: There are too few.
    """
    for name, target in targets.items():
        known = int(target.is_known(target.encode(rows[name], where=name)).sum())
        if known < least:
            why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            raise RegistryError(
                f"comparing models needs at least {least} test rows with a label of {name} that "
                f"neither was trained on, got {known}"
                + (f" ({why}, left out)" if why else "")
                + "; add data, or lower `promotion.rows` in params.yaml"
            )


def answer_subsets(
    predictor: Predictor,
    rows: pd.DataFrame,
    subsets: Sequence[Subset],
    *,
    folder: Path,
    title: str = "promote",
) -> dict[Subset, Answers]:
    """Answer the rows from all that they have, and from each subset alone where they have it.

    Every cell is decoded once. A row that has no more than the subset is asked once, unless the
    model reads it in the light of others, which may have more.

    Args:
        predictor: The model.
        rows: With its modalities' cells; a column that is not there is missing in every row.
        subsets: Of its modalities.
        folder: The data folder.
        title: Of the progress bar.

    Returns:
        By subset, `AS_GIVEN` among them, by target: (row, column), NaN where a row was not asked.
    """
    keys, context = list(predictor.modalities), bool(predictor.signature.get("context"))
    groups = pd.factorize(rows[GROUP].fillna(rows[ID]))[0]
    cells = rows.reindex(columns=keys)
    has = cells.notna().to_numpy()
    asked: dict[Subset, np.ndarray] = {AS_GIVEN: np.ones(len(rows), bool)}
    shown: dict[Subset, np.ndarray] = {}
    for subset in subsets:
        shown[subset] = np.isin(keys, subset)
        asked[subset] = np.all(has[:, shown[subset]], axis=1)
    found: dict[Subset, Answers] = {subset: {} for subset in asked}

    def store(subset: Subset, places: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        for name, output in outputs.items():
            empty = np.full((len(rows), output.shape[1]), np.nan, output.dtype)
            found[subset].setdefault(name, empty)[places] = output

    def ask(places: np.ndarray, values: dict[str, list[object]]) -> Mapping[str, np.ndarray]:
        arrays, presence = collate_rows(predictor.modalities, predictor.inputs, values)
        if context:
            arrays["groups"] = groups[places].astype(np.int64)
        return predictor.run(arrays, presence)

    batches = _cut_groups(groups) if context else _cut(len(rows))
    for places in show_progress(batches, title=title, total=len(rows), size=len):
        values = {
            key: _decode(predictor, key, rows[ID].iloc[places], cells[key].iloc[places], folder)
            for key in keys
        }
        given = ask(places, values)
        store(AS_GIVEN, places, given)
        for subset, mask in shown.items():
            same = (has[places] == mask).all(axis=1) & (not context)
            store(subset, places[same], {name: answer[same] for name, answer in given.items()})
            more = np.flatnonzero(asked[subset][places] & ~same)
            if len(more):
                part = {
                    key: [values[key][at] if key in subset else None for at in more] for key in keys
                }
                store(subset, places[more], ask(places[more], part))
    return found


def answer_constantly(
    workspace: Workspace, targets: Mapping[str, Target], asked: Mapping[Subset, Answers]
) -> dict[Subset, Answers]:
    """Give each target's best constant answer to the same rows, from the training rows' labels."""
    training = read_augmented(workspace.augmented, splits=["train"], columns=list(targets))
    constants = {
        name: target.constant(target.encode(training[name], where=name))
        for name, target in targets.items()
    }
    return {
        subset: {
            name: np.where(np.isnan(answer), np.nan, constants[name])
            for name, answer in answers.items()
        }
        for subset, answers in asked.items()
    }


def time_rows(
    ours: Predictor, theirs: Predictor, rows: pd.DataFrame, *, folder: Path
) -> tuple[float, float]:
    """Time both models on single rows, in turns, so that the machine's other work burdens both.

    Returns:
        Median milliseconds a row, from raw cells to answers.
    """
    both = (ours, theirs)
    cells = [
        [
            {key: row[key] for key in predictor.modalities if row.get(key) is not None}
            for row in _drop_nulls(rows.head(TIMED_ROWS))
        ]
        for predictor in both
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(TIMED_ROUNDS + 1):
        for at in range(len(cells[0])):
            for which in (0, 1) if (turn + at) % 2 else (1, 0):
                started = time.perf_counter()
                both[which].predict([cells[which][at]], folder=folder)
                if turn:  # the first is a warm-up
                    times[which].append(time.perf_counter() - started)
    return 1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])


def _cut(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, BATCH):
        yield np.arange(start, min(start + BATCH, count))


def _cut_groups(groups: Int[np.ndarray, " row"]) -> Iterator[np.ndarray]:
    """Cut rows into batches of whole groups, each group's rows in their order."""
    order = np.argsort(groups, kind="stable")
    ends = np.flatnonzero(np.diff(groups[order], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        if end - start >= BATCH or end == len(groups):
            yield order[start:end]
            start = end


def _drop_nulls(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Give rows as mappings, missing cells as null."""
    records = rows.astype("object").where(rows.notna(), None).to_dict("records")
    return [{str(key): cell for key, cell in row.items()} for row in records]


def _decode(
    predictor: Predictor, key: str, ids: pd.Series, cells: pd.Series, folder: Path
) -> list[object]:
    """Decode one modality of some rows; null where it is missing.

    Raises:
        StageError: A cell that was valid cannot be decoded now; names sample and file.
    """
    values: list[object] = []
    for sample, cell, there in zip(ids, cells, cells.notna(), strict=True):
        if not there:
            values.append(None)
            continue
        with name_broken_cell(f"promote: {key} of", sample, cell):
            values.append(predictor.modalities[key].decode(cell, folder))
    return values
