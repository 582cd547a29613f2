import pytest

from mm_assets.evaluation.confusion import plot_confusion
from mm_assets.evaluation.recalls import plot_recalls
from mm_assets.evaluation.reliability import plot_reliability
from mm_assets.evaluation.slices import plot_slices

NASTY = "a $ <b> & $^2$"


def bin_of(low, claims, confidence, accuracy):
    return {
        "low": low, "high": low + 0.1, "claims": claims,
        "confidence": confidence, "accuracy": accuracy,
    }  # fmt: skip


RELIABILITY = {
    "calibrated": {"ece": 0.025, "bins": [bin_of(0.5, 1, 0.55, 1.0), bin_of(0.9, 41, 0.95, 0.9)]},
    "uncalibrated": {"ece": 0.125, "bins": [bin_of(0.9, 42, 0.98, 0.9)]},
}
RECALLS = [{"class": NASTY, "recall": 0.5, "recall_low": 0.25, "recall_high": 1.0}]
SLICES = [
    {"column": "town", "value": NASTY, "rows": 20, "r2": -0.5, "r2_low": -1.0, "r2_high": 0.0},
    {"column": "town", "value": "one group", "rows": 12, "r2": 0.5, "r2_low": None, "r2_high": None},
    {"column": "town", "value": "small", "rows": 3, "r2": None, "r2_low": None, "r2_high": None},
]  # fmt: skip


def plot_all(folder):
    plot_reliability("mood", {"reliability": RELIABILITY}, folder / "reliability.svg")
    plot_recalls("mood", {"recalls": RECALLS}, folder / "recalls.svg")
    confusion = {"classes": [NASTY, "sad"], "counts": [[17, 0], [3, 5]]}
    plot_confusion("mood", {"confusion": confusion}, folder / "confusion.svg")
    slices = {"headline": "r2", "slices": SLICES, "worst_slice": SLICES[0]}
    plot_slices("mood", slices | {"as_given": {"r2": 0.3}}, folder / "slices.svg")
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def pictures(tmp_path):
    return plot_all(tmp_path)


def test_the_reliability_diagram_says_both_errors_and_how_many_claims_there_are(pictures):
    text = pictures["reliability.svg"]
    assert "uncalibrated: ECE 12.5 %" in text
    assert "calibrated: ECE 2.5 %" in text
    assert ">41<" in text


def test_names_are_shown_as_they_are(pictures):
    assert "a $ &lt;b&gt; &amp; $^2$" in pictures["recalls.svg"]
    assert "a $ &lt;b&gt; &amp; $^2$" in pictures["confusion.svg"]
    assert "town: a $ &lt;b&gt; &amp; $^2$ (20)" in pictures["slices.svg"]


def test_slices_that_were_not_judged_are_left_out_and_the_worst_is_named_in_the_legend(pictures):
    assert "one group (12)" in pictures["slices.svg"]
    assert "small" not in pictures["slices.svg"]
    assert "worst slice" in pictures["slices.svg"]


def test_equal_evidence_gives_equal_bytes(pictures, tmp_path):
    assert plot_all(tmp_path) == pictures
