import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import recall_score

from mm_assets.evaluation.recalls import measure_recalls
from mm_assets.targets.multiclass import Multiclass

CLASSES = ("ash", "oak", "yew")
DRAWS = {"resamples": 4000, "confidence": 0.95, "seed": 0}


def score(true, predicted, groups=None):
    target = Multiclass(CLASSES)
    tallies = target.tally(np.asarray(true), np.eye(3, dtype=np.float32)[predicted])
    return measure_recalls(
        target, tallies, np.arange(len(true)) if groups is None else groups, **DRAWS
    )


def test_values_are_those_of_sklearn_in_the_order_of_the_classes():
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    found = score(true, predicted)
    assert [one["class"] for one in found] == list(CLASSES)
    expected = recall_score(true, predicted, average=None)
    assert [one["recall"] for one in found] == pytest.approx(expected.tolist())


def test_the_interval_of_single_rows_is_nearly_the_binomial_one():
    true, predicted = np.repeat([0, 1], [200, 200]), np.repeat([0, 1, 1], [140, 60, 200])
    (ash, _) = score(true, predicted)
    low, high = stats.binom(200, 0.7).ppf([0.025, 0.975]) / 200
    assert ash["recall_low"] == pytest.approx(low, abs=0.01)
    assert ash["recall_high"] == pytest.approx(high, abs=0.01)


def test_rows_of_a_group_are_drawn_together():
    true, predicted, groups = np.zeros(40, int), np.repeat([0, 1], 20), np.repeat([0, 1], 20)
    (ash,) = score(true, predicted, groups)
    assert (ash["recall"], ash["recall_low"], ash["recall_high"]) == (0.5, 0, 1)


def test_a_class_without_rows_is_left_out_and_a_rare_one_is_not():
    found = score([0, 0, 0, 0, 1], [0, 0, 0, 1, 1])
    assert [(one["class"], one["recall"]) for one in found] == [("ash", 0.75), ("oak", 1.0)]
    assert found[1]["recall_low"] == 1  # draws without a row of it say nothing
