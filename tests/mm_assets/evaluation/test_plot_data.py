import json

import pandas as pd

from mm_assets.evaluation.plot_data import write_plot_data

BIN = {"low": 0.8, "high": 0.9, "claims": 4, "confidence": 0.85, "accuracy": 0.75}
CLASSES = {
    "headline": "accuracy",
    "subsets": {"text": {"accuracy": 0.5}},
    "as_given": {"accuracy": 0.25},
    "confusion": {"classes": ["glad", "sad"], "counts": [[0, 1], [0, 1]]},
    "absence": {"curve": [{"rate": 0.1, "accuracy": 0.5}]},
    "shapley": {"modalities": [{"modality": "text", "worth": 0.25}]},
    "recalls": [{"class": "glad", "recall": 0.125, "recall_low": 0, "recall_high": 1}],
    "reliability": {"calibrated": {"bins": [BIN]}, "uncalibrated": {"bins": []}},
}
NUMBER = {"headline": "r2", "subsets": {}, "as_given": {"r2": -0.5, "rmse": 3}}


def read(folder):
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())
        for path in folder.rglob("*.json")
    }


def test_every_kind_has_a_folder_with_a_file_for_each_target_that_has_it(tmp_path):
    answers = pd.DataFrame(
        {
            "target": ["mood", "mood", "age"],
            "true": ["glad", "sad", "7"],
            "predicted": ["sad", "sad", "8"],
        }
    )
    write_plot_data(tmp_path, {"mood": CLASSES, "age": NUMBER}, answers)
    assert read(tmp_path) == {
        "reliability/mood.json": [
            {"confidence": 0.85, "right": 0.75, "stated": 0.85, "claims": 4},
        ],
        "recall/mood.json": [{"class": "glad", "recall": 0.125}],
        "absence/mood.json": [{"rate": 0.1, "score": 0.5}],
        "worth/mood.json": [{"modality": "text", "worth": 0.25}],
        "subsets/mood.json": [
            {"answered_from": "text", "score": 0.5},
            {"answered_from": "rows as given", "score": 0.25},
        ],
        "subsets/age.json": [{"answered_from": "rows as given", "score": -0.5}],
        "confusion/mood.json": [
            {"true": "glad", "predicted": "sad"},
            {"true": "sad", "predicted": "sad"},
        ],
    }  # fmt: skip


def test_a_kind_that_no_target_has_is_empty_but_there(tmp_path):
    write_plot_data(tmp_path, {"age": NUMBER}, pd.DataFrame())
    found = read(tmp_path)
    assert {path: found[path] for path in found if "none" in path} == {
        "reliability/none.json": [],
        "recall/none.json": [],
        "absence/none.json": [],
        "worth/none.json": [],
        "confusion/none.json": [],
    }
