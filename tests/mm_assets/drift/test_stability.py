"""Against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mm_assets.drift.stability import Counted, compare_levels, cut_deciles, measure_psi


def count(levels, groups=None):
    levels = pd.Series(levels, dtype="str")
    groups = pd.Series(range(len(levels)) if groups is None else groups)
    return Counted(levels, groups)


def compare(reference, batch, permutations=199, seed=0):
    rng = np.random.default_rng(seed)
    return compare_levels(reference, batch, permutations=permutations, most=1000, rng=rng)


def test_the_index_of_shares_worked_out_by_hand():
    # Shares 0.5, 0.3, 0.2 became 0.4, 0.4, 0.2:
    # -0.1 ln(0.8) + 0.1 ln(4/3) + 0 = 0.0223144 + 0.0287682.
    found = measure_psi(np.array([50, 30, 20]), np.array([40, 40, 20]))
    assert float(found) == pytest.approx(0.0510826, abs=1e-7)


def test_it_is_the_sum_of_both_divergences():
    one, other = np.array([5, 9, 2, 4]), np.array([1, 7, 7, 5])
    shares = one / one.sum(), other / other.sum()
    both = stats.entropy(*shares) + stats.entropy(*shares[::-1])
    assert float(measure_psi(one, other)) == pytest.approx(both)


def test_a_level_that_one_side_lacks_counts_as_half_a_row():
    # Shares 1 and 0.5/10 against 0.5 and 0.5: 0.5 ln 2 + 0.45 ln 10 = 0.3465736 + 1.0361633.
    found = measure_psi(np.array([10, 0]), np.array([5, 5]))
    assert float(found) == pytest.approx(-0.5 * np.log(0.5) + 0.45 * np.log(10))


def test_deciles_are_those_of_the_reference():
    reference = pd.Series(np.arange(1, 101, dtype=float))
    batch = pd.Series([0.0, 10.9, 11.0, 1000.0, None])
    one, other = cut_deciles(reference, batch)
    assert one.value_counts().tolist() == [10] * 10
    # The first decile of 1..100 is 10.9 by linear interpolation; what equals it lies below.
    assert other.tolist() == [
        "01: up to 10.9",
        "01: up to 10.9",
        "02: 10.9 to 20.8",
        "10: over 90.1",
        "missing",
    ]


def test_a_column_of_one_number_has_two_ranges_and_one_of_nulls_one_level():
    one, other = cut_deciles(pd.Series([3.0, 3.0, 3.0]), pd.Series([3.0, 4.0]))
    assert one.tolist() == ["01: up to 3"] * 3
    assert other.tolist() == ["01: up to 3", "02: over 3"]
    nulls, numbers = cut_deciles(pd.Series([np.nan, np.nan]), pd.Series([1.0]))
    assert nulls.tolist() == ["missing"] * 2
    assert numbers.tolist() == ["01: any number"]


def test_levels_never_seen_before_are_named():
    found = compare(count(list("aabb")), count(list("abcc")))
    assert found.levels == ("a", "b", "c")
    assert found.unseen == ("c",)
    assert found.reference.tolist() == [0.5, 0.5, 0]
    assert found.batch.tolist() == [0.25, 0.25, 0.5]


@pytest.mark.slow
def test_p_values_keep_their_level_for_grouped_rows():
    """All rows of a group share a level, as messages of a customer share a region."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(200):
        sides = []
        for groups, size in ((30, 6), (15, 2)):
            owners = np.repeat(np.arange(groups), size)
            levels = np.array(list("abc"))[rng.integers(0, 3, groups)][owners]
            sides.append(count(levels, owners))
        found.append(compare(*sides, permutations=99, seed=seed).p_value)
    found = np.array(found)
    assert np.mean(found <= 0.1) < 0.17  # 0.1 and 3.3 standard errors
    assert np.mean(found <= 0.5) < 0.62


def test_shares_that_moved_are_found():
    rng = np.random.default_rng(1)
    reference = count(rng.choice(list("abc"), 300, p=[0.6, 0.3, 0.1]))
    batch = count(rng.choice(list("abc"), 80, p=[0.1, 0.3, 0.6]))
    found = compare(reference, batch)
    assert found.p_value == 1 / 200
    assert found.psi > 1


def test_one_group_is_measured_and_not_tested():
    found = compare(count(list("aab")), count(list("bb"), [7, 7]))
    assert found.p_value is None
    assert found.psi > 0


def test_rows_with_several_levels_move_as_one():
    """Of a label set each label is a level of the same row."""
    labels = pd.Series(["x", "y", "x", "z"], index=[0, 0, 1, 2], dtype="str")
    several = Counted(labels, pd.Series(["g", "h", "i"]))
    found = compare(several, several)
    assert found.reference.tolist() == [0.5, 0.25, 0.25]
    assert found.psi == 0
    assert found.p_value == 1
