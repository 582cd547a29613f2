"""Rules that each row of the sample table keeps, all but those that need a medium to be opened.

A rule returns findings: a frame with columns ``row`` (counted from 1, without the header), ``id``,
``modality`` (null where none is to blame), ``reason`` (a stable code) and ``detail`` (a sentence).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from mm_assets.contracts.config import SPLITS, Config
from mm_assets.data.splits import place_on_unit_interval
from mm_assets.data.table import GROUP, ID, SPLIT, as_text, clear_blanks
from mm_assets.modalities.tabular import join_columns

FINDING_COLUMNS = ("row", "id", "modality", "reason", "detail")


def name_samples(
    frame: pd.DataFrame, config: Config, ids: pd.Series, labels: Mapping[str, pd.Series]
) -> pd.DataFrame:
    """Give the raw table's columns the names that `params.yaml` gives them.

    Args:
        frame: Rows of the raw table, under the index that they have among all.
        config: Names the columns.
        ids: Of `read_ids`, for all rows of the raw table.
        labels: Kept labels by target, as its kind read them.

    Returns:
        Same rows and index; columns ``id``, ``group`` (the id where none is configured), ``split``
        (where given), modality keys as they stand (several columns as one cell,
        see `join_columns`), the labels under target keys. Null stays null, and a blank cell is one
        too, except in a text: an empty text is a claim that nothing was written.
    """
    samples = pd.DataFrame({ID: ids.loc[frame.index]})
    samples[GROUP] = (
        as_text(clear_blanks(frame[config.data.group])) if config.data.group else samples[ID]
    )
    if config.data.split:
        samples[SPLIT] = as_text(clear_blanks(frame[config.data.split]))
    for key, modality in config.modalities.items():
        if modality.columns is not None:
            samples[key] = join_columns(frame, modality.columns)
        elif modality.kind == "text":
            samples[key] = frame[modality.column]
        else:
            samples[key] = clear_blanks(frame[modality.column])
    return samples.assign(**labels)


def read_ids(frame: pd.DataFrame, config: Config) -> pd.Series:
    """Read the id column or, where none is configured, name each row by its content.

    The content is that of the modalities' cells, a medium's path among them: a corrected label or a
    new order of the rows changes no name, and so no split. Rows with equal cells (of which only
    table columns alone are kept) are numbered in the table's order, ``3f2a...``, ``3f2a....2``.

    Args:
        frame: The whole raw table.
        config: Names the columns.

    Returns:
        Text, same index; null where the id column is.
    """
    if config.data.id is not None:
        return as_text(frame[config.data.id])
    columns = [name for m in config.modalities.values() for name in m.sources.values()]
    names = pd.Series(
        [
            hashlib.blake2b(json.dumps(cells, default=_as_json).encode(), digest_size=8).hexdigest()
            for cells in zip(*(frame[name] for name in columns), strict=True)
        ],
        index=frame.index,
        dtype="str",
    )
    repeats = names.groupby(names).cumcount() + 1
    return names.where(repeats == 1, names + "." + repeats.astype("str"))


def _as_json(cell: object) -> object:
    """Give a cell that JSON has no form for: lists as lists, anything else as its text."""
    return cell.tolist() if isinstance(cell, (np.ndarray, np.generic)) else str(cell)


def find_bad_rows(
    samples: pd.DataFrame, config: Config, illegal: Mapping[str, pd.Series]
) -> pd.DataFrame:
    """Find rows whose id, group, split or labels are unusable, or that have no modality.

    Args:
        samples: From `name_samples`.
        config: Modalities.
        illegal: By target, what is wrong with its label in the rows of the index, as its kind
            found.

    Returns:
        Findings; a row may have several.
    """
    findings = [_find_ids(samples), _find_groups(samples)]
    if SPLIT in samples:
        findings += [_find_splits(samples), _find_straddling_groups(samples)]
    findings += [_find_labels(samples, key, details) for key, details in illegal.items()]
    empty = samples[list(config.modalities)].isna().all(axis=1)
    findings.append(report(samples, empty, "no_modality", "every modality is missing"))
    return join_findings(findings)


def find_unordered(samples: pd.DataFrame, raw: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Find rows that do not say where in their group they belong, where `data.order` is given.

    Args:
        samples: From `name_samples`.
        raw: The same rows of the raw table.
        config: Names the column.

    Returns:
        Findings.
    """
    if config.data.order is None:
        return join_findings([])
    silent = clear_blanks(raw[config.data.order]).isna()
    return report(samples, silent, "order_missing", f"{config.data.order!r} is empty")


def sort_groups(samples: pd.DataFrame, raw: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Bring the rows of each group into the order of `data.order`, if it is given.

    Args:
        samples: Without those that `find_unordered` found.
        raw: The raw table, same index.
        config: Names the column: numbers are sorted as such, all else (a date, say) as text.

    Returns:
        Groups in the order in which they first come; equal places as in the table.
    """
    if config.data.order is None:
        return samples
    cells = raw.loc[samples.index, config.data.order]
    numbers = pd.to_numeric(cells, errors="coerce")
    order = numbers if numbers.notna().all() else as_text(cells)
    groups = pd.Series(pd.factorize(samples[GROUP])[0], index=samples.index)
    return samples.loc[
        pd.DataFrame({"group": groups, "order": order})
        .sort_values(["group", "order"], kind="stable")
        .index
    ]


def find_duplicates(
    samples: pd.DataFrame, content: pd.Series, targets: Sequence[str], *, seed: int
) -> pd.DataFrame:
    """Find rows with equal content: of those that agree one stays, else none does.

    The one furthest from test stays, of those alike in this the first: so a content that was once
    trained on never becomes a test row because a copy of it arrives, wherever in the table. A null
    label contradicts nothing.

    Args:
        samples: The rows that passed every other rule.
        content: Per row of `samples`, from `number_contents`.
        targets: Target keys.
        seed: `seed` of `params.yaml`, which places groups.

    Returns:
        Findings.
    """
    # Only what occurs more than once is looked at: of a million rows, few.
    content = content[content.notna() & content.duplicated(keep=False)]
    samples = samples.loc[content.index]
    by_content = samples[list(targets)].groupby(content)
    contradicted = content.map(by_content.nunique().gt(1).any(axis=1)).astype(bool)
    ids = pd.Series(samples[ID], index=samples.index)
    first = ids.groupby(content).transform("first")
    stays = content.map(_distance_from_test(samples, seed).groupby(content).idxmax())
    contradiction = "has the same content as " + first + ", yet another label"
    # The first of its kind cannot name itself.
    contradiction = contradiction.mask(
        first == samples[ID], "later rows repeat it, labelled otherwise"
    )
    return join_findings(
        [
            report(samples, contradicted, "label_contradicted", contradiction),
            report(
                samples,
                (stays != samples.index) & ~contradicted,
                "content_duplicated",
                "has the same content as " + ids.reindex(stays).set_axis(samples.index),
            ),
        ]
    )


def _distance_from_test(samples: pd.DataFrame, seed: int) -> pd.Series:
    """Measure how far from test a row's split lies, by what `assign_splits` goes by."""
    if SPLIT in samples:
        return samples[SPLIT].map({"test": 0.0, "validation": 1.0, "train": 2.0})
    groups = samples[GROUP].astype("str")
    return groups.map({name: place_on_unit_interval(name, seed=seed) for name in groups.unique()})


def number_contents(contents: pd.DataFrame, *, identifying: Sequence[str]) -> pd.Series:
    """Number samples by their content.

    Args:
        contents: One row per sample, one column of content hashes per modality; null where it is
            missing.
        identifying: Those modalities whose equal cells mean that it is the same sample.

    Returns:
        float64 per row, equal for samples with equal content; null for a sample that has none of
        the identifying modalities, and may equal another by chance.
    """
    # Numbers take less than hashes.
    codes = pd.DataFrame(
        {key: pd.factorize(contents[key])[0] for key in contents}, index=contents.index
    )
    numbers = codes.groupby(list(codes.columns), sort=False).ngroup()
    return numbers.where(contents[list(identifying)].notna().any(axis=1))


def report(
    samples: pd.DataFrame,
    bad: pd.Series | np.ndarray,
    reason: str | pd.Series,
    detail: str | pd.Series,
    *,
    modality: str | None = None,
) -> pd.DataFrame:
    """Make one finding for each row that `bad` marks.

    Args:
        samples: With column ``id`` and the raw table's index.
        bad: bool per row.
        reason: A stable code, the same or one per row.
        detail: One sentence, likewise.
        modality: The modality to blame.

    Returns:
        Findings, in the order of the rows.
    """
    rows = samples.index[bad]
    return pd.DataFrame(
        {
            "row": rows + 1,
            "id": samples.loc[rows, ID],
            "modality": pd.Series(modality, index=rows, dtype="str"),
            "reason": reason[rows] if isinstance(reason, pd.Series) else reason,
            "detail": detail[rows] if isinstance(detail, pd.Series) else detail,
        },
        columns=FINDING_COLUMNS,
    )


def join_findings(findings: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put findings of several rules in the order of the rows; within a row, of the rules."""
    types = {"row": "int64", "id": "str", "modality": "str", "reason": "str", "detail": "str"}
    joined = pd.concat([pd.DataFrame(columns=FINDING_COLUMNS).astype(types), *findings])
    return joined.astype(types).sort_values("row", kind="stable", ignore_index=True)


def drop_found(samples: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rows that findings name."""
    return samples[~samples.index.isin(findings["row"] - 1)]


def _find_ids(samples: pd.DataFrame) -> pd.DataFrame:
    ids = samples[ID]
    missing = ids.isna() | (ids.str.strip() == "")
    first = pd.Series(samples.index + 1, index=samples.index).groupby(ids).transform("first")
    repeats = "repeats the id of row " + first.astype("Int64").astype("str")
    return join_findings(
        [
            report(samples, missing, "id_missing", "the id is empty"),
            report(samples, ids.duplicated() & ~missing, "id_duplicated", repeats),
        ]
    )


def _find_groups(samples: pd.DataFrame) -> pd.DataFrame:
    missing = samples[GROUP].isna() & samples[ID].notna()
    return report(
        samples, missing, "group_missing", "without a group it could fall on both sides of a split"
    )


def _find_splits(samples: pd.DataFrame) -> pd.DataFrame:
    splits = samples[SPLIT]
    detail = "must be " + ", ".join(SPLITS) + ", got " + splits.fillna("null")
    return report(samples, ~splits.isin(SPLITS), "split_unknown", detail)


def _find_straddling_groups(samples: pd.DataFrame) -> pd.DataFrame:
    known = samples[SPLIT].where(samples[SPLIT].isin(SPLITS))
    straddles = known.groupby(samples[GROUP]).transform("nunique").gt(1)
    detail = "group " + samples[GROUP] + " has rows in more than one split"
    return report(samples, straddles, "group_in_two_splits", detail)


def _find_labels(samples: pd.DataFrame, key: str, details: pd.Series) -> pd.DataFrame:
    bad = samples.index.isin(details.index)
    return report(samples, bad, "label_unknown", f"{key} " + details)
