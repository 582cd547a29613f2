"""Labels that are likely wrong, listed for a person to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mm_assets.data.table import GROUP, ID, SPLIT
from mm_assets.evaluation.answers import answer_rows
from mm_assets.evaluation.base import ByTarget, Evidence, Material
from mm_assets.modalities.base import Modality
from mm_assets.targets.base import Target
from mm_assets.training.curves import save_svg
from mm_assets.validation.previews import preview

MOST_LISTED = 12  # of each target


def find_label_errors(
    labels: Int[np.ndarray, " row"], probabilities: Float[np.ndarray, "row class"]
) -> Int[np.ndarray, " found"]:
    """Number the rows whose label is likely wrong, the likeliest first: confident learning.

    A row counts as one of class j where the probability of j reaches the mean that j has in the
    rows labelled so; where several classes do, the most probable of all is taken. A row that counts
    as one of another class than its label, and is answered with another, is found; the smaller its
    probability of the label beside that of the best other class, the earlier. Classes that no row
    is labelled with are left out.

    Args:
        labels: Class numbers.
        probabilities: Of a model that was not trained on these rows.

    Source:
        Northcutt et al. 2021, https://arxiv.org/abs/1911.00068, equations 1 and 2, and section 3.2
        (off-diagonals of the confident joint, by normalised margin); computed by cleanlab.
    """
    from cleanlab.filter import find_label_issues

    known = np.unique(labels)
    if len(known) < 2:  # no class but one to mistake a row for
        return np.zeros(0, np.int64)
    # A class that no row is labelled with has no threshold to reach.
    shares = probabilities[:, known].astype(np.float64)
    found: np.ndarray = find_label_issues(
        np.searchsorted(known, labels),
        shares / shares.sum(axis=1, keepdims=True),
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    return found.astype(np.int64)


def measure_label_errors(
    target: Target,
    labels: Shaped[np.ndarray, " row *label"],
    probabilities: Float[np.ndarray, "row column"],
) -> list[dict[str, Any]] | None:
    """Find a target's likely label errors.

    Args:
        target: Whose labels; where each label is told by itself, each is looked at by itself.
        labels: Encoded, all known.
        probabilities: Of a model that was not trained on these rows.

    Returns:
        The likeliest first: `row`, its number; `given` and `suggested`, as text;
        `given_probability` and `suggested_probability`. Null for a kind without probabilities of
        classes.
    """
    if not len(labels) or target.confidences(labels, probabilities) is None:
        return None
    if labels.ndim == 1:
        columns = [(target.classes, labels, probabilities)]
    else:
        columns = [
            ((f"not {name}", name), labels[:, place], np.stack([1 - yes, yes], axis=1))
            for place, (name, yes) in enumerate(zip(target.classes, probabilities.T, strict=True))
        ]
    found = []
    for classes, given, shares in columns:
        for row in find_label_errors(given, shares).tolist():
            best = int(shares[row].argmax())
            found.append(
                {
                    "row": row,
                    "given": classes[given[row]],
                    "suggested": classes[best],
                    "given_probability": float(shares[row, given[row]]),
                    "suggested_probability": float(shares[row, best]),
                }
            )
    return sorted(found, key=lambda one: one["given_probability"] - one["suggested_probability"])


def list_label_errors(
    material: Material, modalities: Mapping[str, Modality[Any]], data: Path
) -> dict[str, list[dict[str, Any]]]:
    """List the likeliest label errors among validation and test rows, with previews.

    Args:
        material: What is evaluated.
        modalities: By key.
        data: The data folder, where media lie.

    Returns:
        By target that has probabilities of classes, the likeliest first: `id`, `group`, `split`,
        what `measure_label_errors` gives but `row`, and `previews`, HTML by modality.
    """
    listed = {}
    for name, (table, found) in _look_at(material).items():
        shown = found[:MOST_LISTED]
        records = table.iloc[[one["row"] for one in shown]].to_dict("records")
        listed[name] = [
            {
                ID: record[ID],
                GROUP: None if pd.isna(record[GROUP]) else record[GROUP],
                SPLIT: record[SPLIT],
                **{key: value for key, value in one.items() if key != "row"},
                "previews": {
                    key: str(preview(modality, record[key], data))
                    for key, modality in modalities.items()
                },
            }
            for one, record in zip(shown, records, strict=True)
        ]
    return listed


def plot_label_errors(name: str, evidence: Mapping[str, Any], path: Path) -> None:
    """Draw how many labels are likely wrong, by what was given and what is suggested.

    Args:
        name: Of the target.
        evidence: Of the target: `label_errors`, with `kinds`: `given`, `suggested` and `count`.
        path: The SVG file.
    """
    kinds = evidence["label_errors"]["kinds"][:MOST_LISTED]
    figure = Figure(figsize=(6, 1.3 + 0.3 * max(len(kinds), 1)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(kinds)), [one["count"] for one in kinds], color="#4c78a8")
    axes.bar_label(bars, padding=3)
    labels = [f"{one['given']} → {one['suggested']}" for one in kinds]
    axes.set_yticks(range(len(kinds)), labels, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="rows, given → suggested", title=f"{name}: labels that are likely wrong")
    save_svg(figure, path)


def _look_at(material: Material) -> dict[str, tuple[pd.DataFrame, list[dict[str, Any]]]]:
    """Find each target's likely label errors among validation and test rows.

    Not among training rows: a model is sure of what it was trained on, errors included, so they
    would not show. Validation rows stopped the training and set the temperature, which tells the
    model next to nothing of one label.

    Returns:
        By target that has probabilities of classes: the table of the rows that were looked at, and
        what `measure_label_errors` gives.
    """
    parts = [
        (material.validation, answer_rows(material.model, material.validation.examples)),
        (material.test, material.as_given),
    ]
    looked_at = {}
    for name, target in material.targets.items():
        found = measure_label_errors(
            target,
            np.concatenate([rows.labels(name)[answers[name].rows] for rows, answers in parts]),
            np.concatenate([answers[name].probabilities for _, answers in parts]),
        )
        if found is not None:
            tables = [rows.table.iloc[answers[name].rows] for rows, answers in parts]
            looked_at[name] = pd.concat(tables, ignore_index=True), found
    return looked_at


def _count_kinds(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Count what was given for what, the most frequent first."""
    counts = Counter((one["given"], one["suggested"]) for one in found)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"given": given, "suggested": suggested, "count": count}
        for (given, suggested), count in ranked
    ]


def _measure(material: Material) -> ByTarget:
    return {
        name: {
            "label_errors": {
                "rows": len(table),
                "found": len(found),
                "kinds": _count_kinds(found),
            }
        }
        for name, (table, found) in _look_at(material).items()
    }


def _follow(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"likely_label_errors": found["label_errors"]["found"]}


EVIDENCE = Evidence(
    "label_errors",
    _measure,
    "labels that are likely wrong",
    plot_label_errors,
    follow=_follow,
)
