"""Where the model is worse: test rows cut by the values of a column, each part against the rest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped
from matplotlib.figure import Figure

from mm_assets.contracts.report import Table
from mm_assets.contracts.subsets import name_subset
from mm_assets.data.table import ID, as_text
from mm_assets.evaluation.base import ByTarget, Evidence, Material, Rows, make_table
from mm_assets.evaluation.metrics import (
    resample_groups,
    split_resamples,
    sum_by_group,
    take_interval,
)
from mm_assets.evaluation.multiple_tests import adjust_holm
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg

PRESENT = "modalities present"  # what every evaluation is sliced by
MIN_ROWS = 10  # a slice of fewer rows is counted but not judged
MOST_VALUES = 12  # a column's slices; rarer values are one slice together
NO_VALUE, RARE = "no value", "rarer values"


def cut_slices(
    cells: Shaped[pd.Series, " test"], training: Shaped[pd.Series, " training"]
) -> pd.Series:
    """Name the slice of each test row by its cell of one column of the raw table.

    A column of more than twelve different values that are all numbers is cut at the quartiles of
    the training rows. Otherwise each value is a slice; beyond the twelve most frequent ones, and
    where fewer than ten test rows have it, values fall together. Empty cells are a slice of
    their own.

    Args:
        cells: Of the test rows, as `read_table` gave them.
        training: Of the training rows.

    Returns:
        A categorical column with the index of `cells`; the slices in the order in which they are
        to be shown.
    """
    texts, known = _clean(cells), _clean(training)
    everything = pd.concat([texts, known]).dropna()
    numbers = pd.to_numeric(everything, errors="coerce")
    if np.isfinite(numbers).all() and numbers.nunique() > MOST_VALUES and known.notna().any():
        named, order = _cut_quartiles(pd.to_numeric(texts), pd.to_numeric(known.dropna()))
    else:
        named, order = _cut_values(texts)
    order = list(dict.fromkeys([*order, NO_VALUE]))  # a value may be called so itself
    return pd.Series(
        pd.Categorical(named.fillna(NO_VALUE), categories=order), index=cells.index
    ).cat.remove_unused_categories()


def measure_slices(
    target: Target,
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    columns: Mapping[str, pd.Series],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Score every slice by the target's headline metric, and compare it with all other rows.

    The p value is of a permutation test that exchanges who belongs to the slice without touching
    what makes rows of a group alike: among the rows of a group that lies on both sides, and among
    the groups that lie on one side as wholes. A slice of one group out of twelve therefore never
    has less than about 1/12. With so many draws p is at least 1 / (1 + draws).

    Args:
        target: Whose headline metric.
        tallies: Of the rows with a known label.
        groups: Of the same rows.
        columns: Slices of the same rows by what they are cut by, of `cut_slices`.
        resamples: Draws of the intervals and of the test.
        confidence: Of the intervals.
        seed: Of the draws.

    Returns:
        For each slice `column`, `value`, `rows`, `groups`; the headline metric under its name,
        with `_low` and `_high`; `difference` to the rest, with `_low` and `_high`; and `p_value`,
        one sided, of being no worse than the rest, which is of one look (see `adjust_holm`). Null
        where there are fewer than ten rows in the slice or in the rest; the ends of an interval
        also where either has a single group, which cannot vary.

    Source:
        Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585 (why p is never 0);
        Winkler et al. 2015, https://doi.org/10.1016/j.neuroimage.2015.05.092 (within groups and
        of whole groups).
    """
    found = []
    for column, slices in columns.items():
        for value in slices.cat.categories:
            inside = (slices == value).to_numpy()
            if inside.any():
                found.append(
                    {
                        "column": column,
                        "value": str(value),
                        "rows": int(inside.sum()),
                        "groups": len(pd.unique(groups[inside])),
                        **_judge(target, tallies, groups, inside, resamples, confidence, seed),
                    }
                )
    return found


def find_worst(slices: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any] | None:
    """Choose the slice of lowest `metric` among those that were compared with a rest."""
    compared = [one for one in slices if one["difference"] is not None]
    return min(compared, key=lambda one: one[metric], default=None)


def slice_rows(rows: Rows, training: pd.Series, columns: pd.DataFrame) -> dict[str, pd.Series]:
    """Cut rows by which modalities they have, and by each column of the raw table.

    Args:
        rows: What is cut.
        training: Ids of the training rows, copies among them.
        columns: Columns of the raw table, by id.

    Returns:
        By what they are cut by, of `cut_slices`.
    """
    names = list(rows.examples.vectors)
    present = pd.Series(
        [
            name_subset([name for name, there in zip(names, row, strict=True) if there])
            for row in rows.examples.presence.tolist()
        ]
    )
    return {PRESENT: cut_slices(present, present)} | {
        str(column): cut_slices(
            columns[column].reindex(rows.table[ID]).reset_index(drop=True),
            columns[column].reindex(training.unique()),
        )
        for column in columns
    }


def plot_slices(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw the headline metric of every slice that was judged, beside that of all rows.

    Args:
        name: Of the target.
        evidence: With `headline`, `slices`, `worst_slice` and `as_given`.
        path: The SVG file.
    """
    metric = evidence["headline"]
    shown = [one for one in evidence["slices"] if one[metric] is not None]
    worst = evidence["worst_slice"]
    places = np.arange(len(shown))
    figure = Figure(figsize=(7, 1.6 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(evidence["as_given"][metric], color="0.5", linestyle=":", label="all test rows")
    varied = [place for place, one in enumerate(shown) if one[f"{metric}_low"] is not None]
    axes.hlines(
        varied,
        [shown[place][f"{metric}_low"] for place in varied],
        [shown[place][f"{metric}_high"] for place in varied],
        color="black",
        linewidth=1,
        label="interval",
    )
    colors = ["#e45756" if one == worst else "#4c78a8" for one in shown]
    axes.scatter([one[metric] for one in shown], places, color=colors, zorder=3)
    if worst is not None:
        axes.scatter([], [], color="#e45756", label="worst slice")
    axes.set_yticks(
        places,
        [f"{one['column']}: {one['value']} ({one['rows']})" for one in shown],
        parse_math=False,
    )
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set(
        xlabel=f"{metric.replace('_', ' ')} on test rows (their number)",
        title=f"{name}: where it is worse",
    )
    figure.legend(loc="outside lower center", ncols=3)
    save_svg(figure, path)


def _judge(
    target: Target,
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    inside: Shaped[np.ndarray, " row"],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, float | None]:
    """Score one slice and its difference to the rest."""
    metric, ends = target.headline, ("", "_low", "_high")
    found: dict[str, float | None] = {
        f"{key}{end}": None for key in (metric, "difference") for end in ends
    }
    found["p_value"] = None
    if inside.sum() < MIN_ROWS:
        return found
    # Side by side for each row: of the slice, of the rest; each with the number of rows.
    counted = np.hstack([tallies, np.ones((len(tallies), 1), dtype=np.int64)])
    sides = np.hstack([counted * inside[:, None], counted * ~inside[:, None]])
    totals = sum_by_group(sides, groups)
    drawn = np.vstack([totals.sum(axis=0), *resample_groups(totals, resamples, seed)])
    part, rest = np.hsplit(drawn, 2)

    def score(sums: np.ndarray) -> np.ndarray:
        values = np.full(len(sums), np.nan)
        there = sums[:, -1] > 0  # some draws miss one side
        values[there] = target.metrics(sums[there, :-1])[metric]
        return values

    def state(key: str, values: np.ndarray, side_groups: int) -> None:
        found[key] = float(values[0])
        if side_groups > 1:
            low, high = take_interval(values[~np.isnan(values)].tolist(), confidence)
            found.update({f"{key}_low": low, f"{key}_high": high})

    own, other = (len(pd.unique(groups[side])) for side in (inside, ~inside))
    values = score(part)
    state(metric, values, own)
    if (~inside).sum() < MIN_ROWS:
        return found
    gaps = values - score(rest)
    state("difference", gaps, min(own, other))
    exchanged = np.vstack(list(_exchange(counted, groups, inside, resamples, seed)))
    chance = score(exchanged) - score(part[0] + rest[0] - exchanged)
    # A draw of the same rows may miss the same difference in the last bit.
    found["p_value"] = (1 + int((chance <= gaps[0] + 1e-9).sum())) / (1 + resamples)
    return found


def _exchange(
    tallies: Shaped[np.ndarray, "row tally"],
    groups: Shaped[np.ndarray, " row"],
    inside: Shaped[np.ndarray, " row"],
    resamples: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Put other rows into the slice by chance; yields sums of its tallies, in chunks."""
    rng = np.random.default_rng(seed)
    codes, names = pd.factorize(groups)
    share = np.bincount(codes, weights=inside, minlength=len(names)) / np.bincount(codes)
    whole = (share == 0) | (share == 1)
    totals, labels = sum_by_group(tallies, groups)[whole].astype(np.float64), share[whole]
    rows = np.flatnonzero(~whole[codes])
    rows = rows[np.argsort(codes[rows], kind="stable")]
    theirs = tallies[rows].astype(np.float64)
    for size in split_resamples(resamples, len(codes)):
        moved = rng.permuted(np.tile(labels, (size, 1)), axis=1) @ totals
        # Sorted by group, and within a group by chance.
        order = np.argsort(codes[rows] + rng.random((size, len(rows))), axis=1)
        yield moved + inside[rows][order] @ theirs


def _clean(cells: pd.Series) -> pd.Series:
    """Write cells as text; blank ones are null."""
    texts = as_text(cells)
    return texts.where(texts.str.strip() != "", None)


def _cut_quartiles(numbers: pd.Series, training: pd.Series) -> tuple[pd.Series, list[str]]:
    """Name each number's quartile of the training rows; equal quartiles fall together."""
    edges = np.unique(np.quantile(training, [0.25, 0.5, 0.75]))
    shown = next(
        names
        for digits in range(4, 18)
        if len(set(names := [_write(edge, digits) for edge in edges])) == len(edges)
    )
    names = [
        f"up to {shown[0]}",
        *(f"{low} to {high}" for low, high in itertools.pairwise(shown)),
        f"above {shown[-1]}",
    ]
    places = np.searchsorted(edges, numbers, side="left")
    named = pd.Series([names[place] for place in places], index=numbers.index, dtype="str")
    return named.where(numbers.notna(), None), names


def _write(number: float, digits: int) -> str:
    """Write a number without an exponent."""
    return np.format_float_positional(number, precision=digits, fractional=False, trim="-")


def _cut_values(texts: pd.Series) -> tuple[pd.Series, list[str]]:
    """Keep frequent values, most frequent first and equally frequent ones by name."""
    counts = texts.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    frequent = counts[counts >= MIN_ROWS].index[:MOST_VALUES].tolist()
    named = texts.where(texts.isin(frequent) | texts.isna(), RARE)
    return named, [*(value for value in frequent if value != RARE), RARE]


def _measure(material: Material) -> ByTarget:
    cut = slice_rows(material.test, material.training[ID], material.columns)
    measured: ByTarget = {}
    for name, target in material.targets.items():
        answers = material.as_given[name]
        columns = {column: slices.iloc[answers.rows] for column, slices in cut.items()}
        groups = material.groups_of(answers)
        slices = measure_slices(target, answers.tallies, groups, columns, **material.resampling)
        measured[name] = {"slices": slices}
    looks = [one for found in measured.values() for one in found["slices"]]
    alarm = 1 - material.config.confidence
    for one, p in zip(looks, adjust_holm([one["p_value"] for one in looks]), strict=True):
        one["p_adjusted"], one["is_worse"] = p, p is not None and p < alarm
    for name, found in measured.items():
        found["worst_slice"] = find_worst(found["slices"], material.targets[name].headline)
    return measured


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    metric, worst = found["headline"], found["worst_slice"]
    return {} if worst is None else {f"worst_slice_{metric}": worst[metric]}


def _tabulate(name: str, found: Mapping[str, Any]) -> list[Table]:
    metric = found["headline"]
    columns = (
        "column", "value", "rows", "groups", metric, f"{metric}_low", f"{metric}_high",
        "difference", "difference_low", "difference_high", "p_adjusted",
    )  # fmt: skip
    title = f"{name}: {metric} of every slice, and its difference to the other rows"
    return [make_table(title, columns, found["slices"])]


EVIDENCE = Evidence(
    "slices",
    _measure,
    "{metric} of every slice",
    plot_slices,
    follow=_follow,
    tabulate=_tabulate,
)
