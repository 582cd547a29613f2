import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mm_assets.evaluation.slices import cut_slices, find_worst, measure_slices
from mm_assets.targets.multiclass import Multiclass

COIN = Multiclass(("heads", "tails"))
DRAWS = {"resamples": 2000, "confidence": 0.95, "seed": 0}


def judge(right, inside, groups=None, **draws):
    """Judge the slice of rows that are `inside`; all are heads, answered rightly or not."""
    right, inside = np.asarray(right, bool), np.asarray(inside, bool)
    tallies = COIN.tally(
        np.zeros(len(right), int), np.eye(2, dtype=np.float32)[(~right).astype(int)]
    )
    groups = np.arange(len(right)) if groups is None else groups
    names = pd.Series(pd.Categorical(np.where(inside, "in", "out"), categories=["in", "out"]))
    return measure_slices(COIN, tallies, groups, {"side": names}, **{**DRAWS, **draws})


def cut(test, training=None):
    test = pd.Series(test, dtype=object)
    return cut_slices(test, test if training is None else pd.Series(training, dtype=object))


def test_values_are_slices_the_most_frequent_first_and_rare_ones_together():
    cells = ["oak"] * 11 + ["yew"] * 10 + ["ash"] * 11 + ["elm"] * 3 + ["fir"] + [None, " "]
    found = cut(cells)
    assert found.value_counts(sort=False).to_dict() == {
        "ash": 11, "oak": 11, "yew": 10, "rarer values": 4, "no value": 2,
    }  # fmt: skip


def test_at_most_twelve_values_are_slices_of_their_own():
    found = cut([f"v{n:02}" for n in range(15) for _ in range(10 + n)])
    assert list(found.cat.categories) == [f"v{n:02}" for n in range(14, 2, -1)] + ["rarer values"]


def test_numbers_are_cut_at_the_quartiles_of_the_training_rows():
    training = [str(n) for n in range(101)]
    found = cut(["25", "25.5", "-7", "50", "75", "75.01", "1e9", None], training)
    assert found.tolist() == [
        "up to 25", "25 to 50", "up to 25", "25 to 50", "50 to 75", "above 75", "above 75", "no value",
    ]  # fmt: skip


def test_few_different_numbers_are_values():
    assert set(cut([1.0, 2.0, np.nan] * 10)) == {"1", "2", "no value"}


def test_one_cell_that_is_no_number_makes_a_column_of_values():
    numbers = [str(n) for n in range(40)]
    assert set(cut(numbers)) == {"up to 9.75", "9.75 to 19.5", "19.5 to 29.25", "above 29.25"}
    assert set(cut([*numbers, "many"])) == {"rarer values"}


def test_near_quartiles_have_names_of_their_own():
    found = cut([1_000_000 + n for n in range(41)])
    assert found.cat.categories.tolist()[0] == "up to 1000010"
    assert found.nunique() == 4


def test_a_value_may_be_called_like_a_slice_of_ours():
    found = cut(["no value"] * 12 + ["rarer values"] * 12 + [None] * 2 + ["x"])
    assert found.value_counts().to_dict() == {"no value": 14, "rarer values": 13}


def test_a_slice_is_scored_and_compared_with_the_rest():
    inside, outside = judge([1] * 12 + [0] * 8 + [1] * 27 + [0] * 3, [1] * 20 + [0] * 30)
    assert (inside["column"], inside["value"], inside["rows"], inside["groups"]) == (
        "side", "in", 20, 20,
    )  # fmt: skip
    assert inside["accuracy"] == pytest.approx(0.6)
    assert inside["difference"] == pytest.approx(-0.3)
    assert outside["difference"] == pytest.approx(0.3)
    assert inside["accuracy_low"] < 0.6 < inside["accuracy_high"]
    assert inside["difference_low"] < -0.3 < inside["difference_high"]


def test_for_single_rows_the_test_is_fishers():
    right, inside = [1] * 12 + [0] * 8 + [1] * 27 + [0] * 3, [1] * 20 + [0] * 30
    exact = stats.fisher_exact([[12, 8], [27, 3]], alternative="less").pvalue
    found = judge(right, inside, resamples=20_000)
    assert found[0]["p_value"] == pytest.approx(exact, abs=0.004)
    assert found[1]["p_value"] > 0.95


def test_a_perfect_rest_is_no_proof_by_itself():
    # 19 right out of 19 beside 103 out of 117: the rest has no spread, yet chance does this often.
    right = [1] * 103 + [0] * 14 + [1] * 19
    found = judge(right, [1] * 117 + [0] * 19)
    exact = stats.fisher_exact([[103, 14], [19, 0]], alternative="less").pvalue
    assert found[0]["p_value"] == pytest.approx(exact, abs=0.03)
    assert exact > 0.05


def test_slices_of_whole_groups_are_compared_group_by_group():
    # Six groups of ten equal rows, two of them inside and all wrong: 1 of 15 choices of two groups.
    right, groups = np.repeat([0, 0, 1, 1, 1, 1], 10), np.repeat(np.arange(6), 10)
    found = judge(right, groups < 2, groups)
    assert found[0]["p_value"] == pytest.approx(1 / 15, abs=0.015)
    rows = judge(right, groups < 2)
    assert rows[0]["p_value"] == pytest.approx(1 / 2001)


def test_slices_across_groups_are_compared_within_them():
    # Group 0 is always wrong and mostly inside, group 1 always right and mostly outside: the
    # difference is the groups', and within a group inside and outside are alike.
    groups, right = np.repeat([0, 1], 40), np.repeat([0, 1], 40)
    inside = np.r_[np.ones(35), np.zeros(5), np.ones(5), np.zeros(35)]
    found = judge(right, inside, groups)
    assert found[0]["difference"] == pytest.approx(5 / 40 - 35 / 40)
    assert found[0]["p_value"] == 1


@pytest.mark.slow
def test_without_a_difference_one_look_in_twenty_is_a_false_alarm():
    rng, alarms = np.random.default_rng(5), 0
    for _ in range(200):
        easy = rng.random(20).repeat(4)  # rows of a group are alike
        inside = np.r_[np.repeat(rng.random(10) < 0.5, 4), rng.random(40) < 0.4]
        found = judge(rng.random(80) < easy, inside, np.arange(20).repeat(4), resamples=199)
        alarms += found[0]["p_value"] is not None and found[0]["p_value"] <= 0.05
    assert alarms <= stats.binom(200, 0.05).ppf(0.999)


def test_too_few_rows_are_counted_and_not_judged():
    inside, outside = judge([0] * 9 + [1] * 30, [1] * 9 + [0] * 30)
    assert (inside["rows"], inside["accuracy"], inside["p_value"]) == (9, None, None)
    assert outside["accuracy"] == 1
    assert outside["difference"] is outside["p_value"] is None


def test_a_single_group_has_no_interval():
    groups = np.r_[np.zeros(20), np.arange(1, 31)]
    inside, outside = judge([1] * 35 + [0] * 15, groups == 0, groups)
    assert inside["accuracy"] == 1
    assert inside["accuracy_low"] is inside["difference_high"] is None
    assert outside["accuracy_low"] is not None


def test_the_worst_is_the_lowest_that_has_a_rest_to_compare_with():
    slices = [
        {"value": "a", "f": 0.2, "difference": None},
        {"value": "b", "f": 0.6, "difference": 0.1},
        {"value": "c", "f": 0.5, "difference": -0.1},
    ]
    assert find_worst(slices, "f") is slices[2]
    assert find_worst(slices[:1], "f") is None
