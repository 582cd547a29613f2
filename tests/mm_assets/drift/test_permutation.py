import numpy as np
import pytest
from scipy import stats

from mm_assets.contracts.errors import DataContractError
from mm_assets.drift.permutation import (
    count_permutations,
    relabel_groups,
    take_p_value,
    thin_groups,
)


def test_a_p_value_counts_the_observed_labelling_and_ties():
    assert take_p_value(np.array([3.0, 1, 2, 3, 4])) == (1 + 2) / (1 + 4)
    assert take_p_value(np.array([9.0, 1, 2, 3, 4])) == 1 / 5


def test_the_strictest_level_can_be_reached():
    permutations = count_permutations(tests=10, p_value=0.01)
    assert 1 / (1 + permutations) < 0.01 / 10


def test_each_relabelling_calls_as_many_groups_the_batch():
    labels = relabel_groups(5, 3, permutations=200, rng=np.random.default_rng(0))
    assert labels.shape == (8, 201)
    assert (labels.sum(axis=0) == 3).all()
    assert labels[:, 0].tolist() == [False] * 5 + [True] * 3
    # Every group is called the batch about equally often: 3 of 8 times.
    assert stats.chisquare(labels[:, 1:].sum(axis=1)).pvalue > 0.001


def test_thinned_groups_are_alike_in_size_on_both_sides():
    rng = np.random.default_rng(0)
    reference = np.repeat(np.arange(400), 10)
    batch = np.repeat(np.arange(300), rng.integers(1, 4, 300))
    kept = thin_groups(reference, batch, most=10_000, rng=rng)
    sizes = [
        np.unique(side[places], return_counts=True)[1]
        for side, places in zip((reference, batch), kept, strict=True)
    ]
    assert [len(one) for one in sizes] == [400, 300]
    counts = np.array([np.bincount(one, minlength=4)[1:] for one in sizes])
    assert stats.chi2_contingency(counts).pvalue > 0.001


def test_groups_of_one_size_stay_whole_and_rows_are_bounded():
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(100), 3)
    whole, few = thin_groups(owners, owners, most=300, rng=rng)
    assert whole.tolist() == few.tolist() == list(range(300))
    kept, _ = thin_groups(owners, owners, most=31, rng=rng)
    assert len(kept) == 30
    assert (np.unique(owners[kept], return_counts=True)[1] == 3).all()
    kept, _ = thin_groups(owners, owners, most=1, rng=rng)
    assert len(np.unique(owners[kept])) == 2


def test_thinning_needs_rows():
    with pytest.raises(DataContractError, match="needs rows on both sides, got 0 and 1"):
        thin_groups(np.array([]), np.array([1]), most=9, rng=np.random.default_rng(0))
