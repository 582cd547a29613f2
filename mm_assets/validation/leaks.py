"""Does something beside the content tell the label: a column, a file's name, the order of rows?

Looked at on training rows alone, after the split, so that nobody chooses columns by test labels.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mm_assets.data.table import GROUP, ID
from mm_assets.validation.runner import join_suites, run_suite
from mm_assets.validation.splits import NAME

if TYPE_CHECKING:
    from mm_assets.contracts.report import SuiteResult

# Share of the errors of the commonest class that one column alone takes away. What is honestly
# measured rarely reaches it; a copy of the label does.
MOST_EXPLAINED = 0.95
MOST_ROWS = 20_000  # looked at, evenly spaced
FEWEST_ROWS = 40  # labelled; fewer agree by chance
ANY_DIGITS = r"\d+"
INPUT_ADVICE = (
    "is it known before the label when the model is used? If not, take it out of `modalities` in "
    "params.yaml; if so, it is a strong feature and may stay"
)
NAME_ADVICE = (
    "the model does not read names or order, but look whether what gave them (another device, "
    "place or day per class) shows in the content too"
)


def check_leaks(
    training: pd.DataFrame, *, kinds: Mapping[str, str], outlines: Mapping[str, pd.Series]
) -> SuiteResult:
    """Warn of what alone predicts a label almost without error, for groups it was not seen on.

    Args:
        training: Training samples, in the table's order: ``id``, ``group`` and modality cells.
        kinds: By modality, its kind.
        outlines: By target, the class (or range of numbers) of each labelled sample; the index is
            that of `training`. Samples with several are left out.

    Returns:
        For each target and view, with severity warning.

    Source:
        Goodman & Kruskal 1954, https://doi.org/10.1080/01621459.1954.10501231, lambda: the
        proportional reduction of errors; here on the half of the groups that was not learnt from.
    """
    parts = []
    for key, outline in outlines.items():
        labels = outline[~outline.index.duplicated(keep=False)].dropna()
        if len(labels) < FEWEST_ROWS or labels.nunique() < 2:
            continue
        labels = labels.iloc[:: -(-len(labels) // MOST_ROWS)]
        rows = training.loc[labels.index]
        found = [
            (name, explain(values, labels, rows[GROUP]), advice)
            for name, values, advice in _list_views(rows, kinds)
        ]
        parts.append(_report(key, found))
    return join_suites(parts) if parts else run_suite(NAME, pd.DataFrame(), [])


def explain(values: pd.Series, labels: pd.Series, groups: pd.Series) -> float:
    """Measure what share of the errors of always answering the commonest class `values` avoid.

    What half of the groups shows is applied to the other half, both ways.

    Args:
        values: Numbers, or anything that is compared as a whole; null is a value.
        labels: Same index, at least two different ones.
        groups: Same index.

    Returns:
        1 where every label follows from the value, 0 (or below) where none does, or where there
        is but one group.
    """
    names = sorted(map(str, groups.unique()), key=lambda name: (zlib.crc32(name.encode()), name))
    if len(names) < 2:
        return 0.0
    half = groups.astype("str").map({name: at % 2 for at, name in enumerate(names)})
    right = usual = 0
    for learnt in (0, 1):
        seen, new = half == learnt, half != learnt
        common = str(labels[seen].mode()[0])
        guesses = (
            _learn_numbers(values[seen], labels[seen], values[new])
            if pd.api.types.is_numeric_dtype(values)
            else _learn_values(values[seen], labels[seen], values[new], common)
        )
        right += int((guesses == labels[new].to_numpy()).sum())
        usual += int((labels[new] == common).sum())
    wrong = len(labels) - usual
    return (right - usual) / wrong if wrong else 0.0


def _learn_values(seen: pd.Series, labels: pd.Series, new: pd.Series, common: str) -> np.ndarray:
    """Answer with the commonest label of each value; with the commonest of all for a new value."""
    pairs = pd.DataFrame({"value": seen.fillna("").astype("str"), "label": labels})
    counts = pairs.value_counts().rename("count").reset_index()
    counts = counts.sort_values(["count", "label"], ascending=[False, True], kind="stable")
    answers = counts.drop_duplicates("value").set_index("value")["label"]
    return new.fillna("").astype("str").map(answers).fillna(common).to_numpy()


def _learn_numbers(seen: pd.Series, labels: pd.Series, new: pd.Series) -> np.ndarray:
    """Answer with a small decision tree on one number."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(2, 2 * labels.nunique()), min_samples_leaf=3, random_state=0
    )
    tree.fit(_as_matrix(seen), labels)
    return np.asarray(tree.predict(_as_matrix(new)))


def _as_matrix(numbers: pd.Series) -> np.ndarray:
    """Give (row, 1) numbers that are finite in float32, as a tree needs them."""
    limit = float(np.finfo(np.float32).max)
    return numbers.astype(np.float64).fillna(-limit).clip(-limit, limit).to_numpy()[:, None]


def _list_views(
    rows: pd.DataFrame, kinds: Mapping[str, str]
) -> Iterator[tuple[str, pd.Series, str]]:
    """Name everything small that could tell the label, with its values and what to do about it."""
    for key, kind in kinds.items():
        cells = rows[key]
        if cells.isna().all():
            continue
        if kind == "tabular":
            columns = pd.DataFrame([_read_row(cell) for cell in cells], index=rows.index)
            for column in columns:
                yield f"{key}.{column}", columns[column], INPUT_ADVICE
        elif kind == "text":
            yield key, cells.str.strip().str.casefold(), INPUT_ADVICE
        elif pd.api.types.is_string_dtype(cells.dropna()) and not _are_lists(cells):
            folder, _, name = (cells.str.rpartition("/")[at] for at in range(3))
            yield f"folder of {key}", folder, NAME_ADVICE
            yield f"file name of {key}", _drop_numbers(name), NAME_ADVICE
    yield "id", _drop_numbers(rows[ID]), NAME_ADVICE
    if not rows[GROUP].equals(rows[ID]):
        yield "group", _drop_numbers(rows[GROUP]), NAME_ADVICE
    yield "order of rows", pd.Series(np.arange(len(rows)), index=rows.index), NAME_ADVICE


def _are_lists(cells: pd.Series) -> bool:
    """Tell whether cells hold lists as JSON, and no paths."""
    return bool(cells.dropna().str.lstrip().str.startswith("[").any())


def _read_row(cell: object) -> dict[str, Any]:
    """Read a tabular cell; a missing one has no column."""
    return dict(json.loads(cell)) if isinstance(cell, str) else {}


def _drop_numbers(names: pd.Series) -> pd.Series:
    """Leave what counting up does not change."""
    return names.astype("str").str.replace(ANY_DIGITS, "", regex=True).where(names.notna())


def _report(key: str, found: list[tuple[str, float, str]]) -> SuiteResult:
    import great_expectations.expectations as gxe

    expectations = [
        gxe.ExpectColumnMaxToBeBetween(
            column=name,
            max_value=MOST_EXPLAINED,
            severity="warning",
            description=f"{name} alone avoids at most {100 * MOST_EXPLAINED:.4g} % of the errors of "
            f"guessing {key}",
            meta={"share": True, "advice": advice},
        )
        for name, _, advice in found
    ]
    scores = pd.DataFrame({name: [round(explained, 4)] for name, explained, _ in found})
    return run_suite(NAME, scores, expectations)
