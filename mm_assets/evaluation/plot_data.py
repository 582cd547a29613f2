"""The evidence as tables that DVC draws, so that `dvc plots diff` shows two revisions in one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mm_assets.data.atomic import write_json


def write_plot_data(
    folder: Path,
    evidence: Mapping[str, Mapping[str, Any]],
    predictions: pd.DataFrame,
) -> None:
    """Write a folder for each entry of `plots` in dvc.yaml, with one list of records per target.

    A folder that no target has anything for gets an empty list: DVC complains of an absent one.

    Args:
        folder: Is made.
        evidence: By target, as `evidence.json` holds it.
        predictions: `target`, `true` and `predicted` of each labelled row.
    """
    tables: dict[str, dict[str, list[dict[Any, Any]]]] = {
        "reliability": {
            name: [
                {
                    "confidence": round(one["confidence"], 4),
                    "right": round(one["accuracy"], 4),
                    "stated": round(one["confidence"], 4),
                    "claims": one["claims"],
                }
                for one in found["reliability"]["calibrated"]["bins"]
            ]
            for name, found in evidence.items()
            if "reliability" in found
        },
        "recall": {
            name: [
                {"class": one["class"], "recall": round(one["recall"], 4)}
                for one in found["recalls"]
            ]
            for name, found in evidence.items()
            if "recalls" in found
        },
        "subsets": {
            name: [
                {"answered_from": label, "score": round(one[found["headline"]], 4)}
                for label, one in {**found["subsets"], "rows as given": found["as_given"]}.items()
            ]
            for name, found in evidence.items()
        },
        "absence": {
            name: [
                {"rate": one["rate"], "score": round(one[found["headline"]], 4)}
                for one in found["absence"]["curve"]
            ]
            for name, found in evidence.items()
            if "absence" in found
        },
        "worth": {
            name: [
                {"modality": one["modality"], "worth": round(one["worth"], 4)}
                for one in found["shapley"]["modalities"]
            ]
            for name, found in evidence.items()
            if "shapley" in found
        },
        "confusion": {
            name: predictions.loc[predictions["target"] == name, ["true", "predicted"]].to_dict(
                "records"
            )
            for name, found in evidence.items()
            if "confusion" in found
        },
    }
    for kind, files in tables.items():
        for name, records in (files or {"none": []}).items():
            write_json(folder / kind / f"{name}.json", records)
