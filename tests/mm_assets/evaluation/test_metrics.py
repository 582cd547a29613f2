import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from mm_assets.contracts.errors import DataContractError
from mm_assets.evaluation import metrics
from mm_assets.evaluation.metrics import compare_paired, score_with_intervals, sum_by_group
from mm_assets.targets.multiclass import Multiclass

COIN = Multiclass(("heads", "tails"))
DRAWS = {"resamples": 4000, "confidence": 0.95, "seed": 0}


def tally(true, predicted):
    return COIN.tally(np.asarray(true), np.eye(2, dtype=np.float32)[predicted])


def right_answers(right):
    """Tallies of rows that are all heads, answered rightly or not."""
    return tally(np.zeros(len(right), dtype=int), 1 - np.asarray(right))


def test_values_are_those_of_sklearn():
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    scores = score_with_intervals(COIN, tally(true, predicted), np.arange(50), **DRAWS)
    assert scores["rows"] == scores["groups"] == 50
    assert scores["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert scores["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted))


def test_the_interval_of_single_rows_is_the_binomial_one():
    right = np.repeat([1, 0], [140, 60])
    scores = score_with_intervals(COIN, right_answers(right), np.arange(200), **DRAWS)
    low, high = stats.binom(200, 0.7).ppf([0.025, 0.975]) / 200
    assert scores["accuracy_low"] == pytest.approx(low, abs=0.006)
    assert scores["accuracy_high"] == pytest.approx(high, abs=0.006)


def test_rows_that_come_in_groups_of_equals_count_as_their_groups():
    right, groups = np.repeat([1, 0], [14, 6]), np.arange(20)
    few = score_with_intervals(COIN, right_answers(right), groups, **DRAWS)
    many = score_with_intervals(COIN, right_answers(right.repeat(10)), groups.repeat(10), **DRAWS)
    assert (many["accuracy_low"], many["accuracy_high"]) == (
        few["accuracy_low"],
        few["accuracy_high"],
    )
    assert (many["rows"], many["groups"]) == (200, 20)


def test_the_bootstrap_agrees_with_scipys():
    right = np.random.default_rng(2).random(80) < 0.6
    scores = score_with_intervals(COIN, right_answers(right.astype(int)), np.arange(80), **DRAWS)
    reference = stats.bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", rng=3
    ).confidence_interval
    assert scores["accuracy_low"] == pytest.approx(reference.low, abs=0.013)
    assert scores["accuracy_high"] == pytest.approx(reference.high, abs=0.013)


def test_the_order_of_rows_and_the_size_of_chunks_do_not_matter(monkeypatch):
    right, groups = np.repeat([1, 0, 1], 10), np.repeat(["a", "b", "c"], 10)
    whole = score_with_intervals(COIN, right_answers(right), groups, **DRAWS)
    monkeypatch.setattr(metrics, "CHUNK", 30)
    assert score_with_intervals(COIN, right_answers(right), groups, **DRAWS) == whole


def test_for_single_rows_the_permutation_test_is_mcnemars():
    first = np.repeat([1, 0, 1, 0], [12, 4, 20, 9])  # 12 rows right by the first model alone
    second = np.repeat([0, 1, 1, 0], [12, 4, 20, 9])  # 4 by the second alone
    found = compare_paired(
        COIN, right_answers(first), right_answers(second), np.arange(45), **DRAWS
    )
    assert found["difference"] == pytest.approx(8 / 45)
    assert found["p_value"] == pytest.approx(stats.binomtest(4, 16).pvalue, abs=0.015)


def test_equal_answers_do_not_differ():
    right = right_answers(np.array([1, 0, 1, 1]))
    found = compare_paired(COIN, right, right, np.arange(4), **DRAWS)
    assert found["difference"] == found["difference_low"] == found["difference_high"] == 0
    assert found["p_value"] == 1


def test_swapping_the_models_changes_the_sign_alone():
    first, second = (
        right_answers(np.array([1, 1, 1, 0, 1])),
        right_answers(np.array([0, 1, 0, 0, 1])),
    )
    one = compare_paired(COIN, first, second, np.arange(5), **DRAWS)
    other = compare_paired(COIN, second, first, np.arange(5), **DRAWS)
    assert one["difference"] == pytest.approx(0.4)
    assert other["difference"] == pytest.approx(-0.4)
    assert one["p_value"] == other["p_value"]


def test_a_difference_within_one_group_is_no_evidence():
    first, second = right_answers(np.ones(30, dtype=int)), right_answers(np.zeros(30, dtype=int))
    same = compare_paired(COIN, first, second, np.zeros(30), **DRAWS)
    assert same["difference"] == 1
    assert same["p_value"] == 1  # one group can only be swapped as a whole
    each = compare_paired(COIN, first, second, np.arange(30), **DRAWS)
    assert each["p_value"] == pytest.approx(1 / 4001)


def test_totals_of_groups_are_sums_of_their_rows():
    rows = np.array([[1, 0], [0, 1], [1, 0]])
    totals = sum_by_group(rows, np.array(["b", "a", "b"]))
    assert totals.tolist() == [[2, 0], [0, 1]]
    assert sum_by_group(rows / 2, np.array(["b", "a", "b"])).tolist() == [[1.0, 0.0], [0.0, 0.5]]


def test_no_rows_are_refused():
    with pytest.raises(DataContractError, match=r"at least 1 row with a known label, got 0"):
        sum_by_group(np.zeros((0, 4), dtype=np.int64), np.zeros(0))
