import numpy as np
import pytest
import scipy.stats

from mm_assets.contracts.errors import TrainingError
from mm_assets.search.comparison import compare_losses

GROUPS = 80


def draw(rng, *means):
    """Give models of these mean losses, one view and target, one row a group."""
    return [
        np.stack([rng.normal(mean, 1.0, GROUPS), np.ones(GROUPS)], axis=1)[:, None, None]
        for mean in means
    ]


def compare(current, tried, **options):
    given = {"resamples": 400, "confidence": 0.95, "seed": 0} | options
    return compare_losses(current, tried, np.ones(1), **given)


def test_the_gain_and_its_interval_are_those_of_scipys_paired_bootstrap():
    current, *tried = draw(np.random.default_rng(0), 1.0, 0.6, 2.0)
    found = compare(current, tried, resamples=20_000)
    gaps = (current - tried[0])[:, 0, 0, 0]
    expected = scipy.stats.bootstrap(
        (gaps,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert found.nats == pytest.approx(gaps.mean())
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01)


def test_the_luckiest_of_many_equals_has_a_gain_but_expects_none():
    """All models are equally good, so the truth is 0; averaged over 40 searches of 30 trials."""
    found = [
        compare(current, tried, resamples=100)
        for current, *tried in (
            draw(np.random.default_rng(seed), *np.zeros(31)) for seed in range(40)
        )
    ]
    assert np.mean([one.nats for one in found]) > 0.2  # about 2 standard errors of a mean
    assert abs(np.mean([one.expected for one in found])) < 0.05


def test_a_gain_that_is_there_is_expected():
    current, *tried = draw(np.random.default_rng(3), 1.0, *np.ones(20), 0.0)
    found = compare(current, tried)
    assert found.expected == pytest.approx(1.0, abs=0.35)
    assert found.low > 0.5


def test_trials_that_are_all_worse_have_no_gain():
    current, *tried = draw(np.random.default_rng(4), 0.0, 1.0, 1.5)
    found = compare(current, tried)
    assert found.nats < 0
    # What is in use is itself a choice, and then nothing is gained.
    assert found.expected == pytest.approx(0.0, abs=1e-6)


def test_rows_count_by_their_weight_and_not_their_groups():
    """A group of nine rows outweighs one of a row ninefold."""
    current = np.array([[[[9.0, 9]]], [[[1.0, 1]]]])
    tried = np.array([[[[0.0, 9]]], [[[5.0, 1]]]])
    assert compare(current, [tried]).nats == pytest.approx(1.0 - 0.5)


def test_one_group_leaves_nothing_to_check_a_choice_on():
    one = np.ones((1, 1, 1, 2))
    with pytest.raises(TrainingError, match=r"at least 2 groups of validation rows, got 1"):
        compare(one, [one])
