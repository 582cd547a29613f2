"""Against closed forms, scikit-learn's kernel, and what a p-value must be."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel

from mm_assets.contracts.errors import DataContractError
from mm_assets.drift.kernel_test import choose_bandwidth, compare_vectors, measure_squares
from mm_assets.drift.permutation import thin_groups


def compare(reference, batch, groups=None, permutations=199, seed=0):
    groups = groups or (np.arange(len(reference)), np.arange(len(batch)))
    rng = np.random.default_rng(seed)
    return compare_vectors(reference, batch, groups=groups, permutations=permutations, rng=rng)


def mmd2_of_gaussians(mean, dim, bandwidth):
    """Squared MMD between N(0, I) and N(mean, I) under exp(-|x - y|^2 / 2h^2).

    E k(x, y) is a Gaussian integral: x - y is normal with covariance 2I, so that it equals
    (h^2 / (h^2 + 2))^(d/2) exp(-|mean|^2 / (2 (h^2 + 2))).
    """
    scale = (bandwidth**2 / (bandwidth**2 + 2)) ** (dim / 2)
    return 2 * scale * (1 - np.exp(-(mean**2) / (2 * (bandwidth**2 + 2))))


@pytest.mark.parametrize(("dim", "mean"), [(2, 0.0), (2, 1.0), (5, 2.0)])
def test_the_statistic_estimates_the_closed_form_of_two_gaussians(dim, mean):
    rng = np.random.default_rng(dim)
    found = []
    for seed in range(30):
        one, other = rng.normal(size=(2, 150, dim))
        other[:, 0] += mean
        test = compare(one, other, permutations=1, seed=seed)
        found.append(test.mmd2 - mmd2_of_gaussians(mean, dim, test.bandwidth))
    # Unbiased: the mean error is within four of its standard errors of 0.
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(30)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_statistic_is_that_of_scikit_learns_kernel(grouped):
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(40, 3)), rng.normal(size=(25, 3)) + 0.3
    groups = (rng.integers(0, 9, 40), rng.integers(0, 6, 25)) if grouped else None
    test = compare(one, other, groups)
    gamma = 1 / (2 * test.bandwidth**2)
    within = [rbf_kernel(side, gamma=gamma) for side in (one, other)]
    expected = sum(
        (kernel.sum() - len(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in within
    ) - 2 * np.mean(rbf_kernel(one, other, gamma=gamma))
    assert test.mmd2 == pytest.approx(expected, abs=1e-12)
    foreign = [
        rbf_kernel([row], np.delete(other, place, axis=0), gamma=gamma).mean()
        - rbf_kernel([row], one, gamma=gamma).mean()
        for place, row in enumerate(other)
    ]
    assert test.foreign == pytest.approx(foreign, abs=1e-12)


def test_every_relabelling_is_the_statistic_of_the_relabelled_rows():
    """Two groups a side: the relabelling that exchanges them all gives the observed value again."""
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(6, 2)), rng.normal(size=(5, 2))
    groups = (np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1]))
    test = compare(one, other, groups, permutations=300)
    blocks = [one[:3], one[3:], other[:2], other[2:]]
    expected = set()
    for first in range(4):
        for second in range(first + 1, 4):
            batch = np.concatenate([blocks[first], blocks[second]])
            rest = np.concatenate(
                [block for n, block in enumerate(blocks) if n not in (first, second)]
            )
            gamma = 1 / (2 * test.bandwidth**2)
            value = sum(
                (kernel.sum() - len(kernel)) / (len(kernel) * (len(kernel) - 1))
                for kernel in (rbf_kernel(side, gamma=gamma) for side in (rest, batch))
            ) - 2 * np.mean(rbf_kernel(rest, batch, gamma=gamma))
            expected.add(round(float(value), 10))
    assert {round(float(value), 10) for value in test.drawn} == expected


def test_the_bandwidth_is_the_median_distance():
    # 0, 3, 7 on a line lie 3, 4 and 7 apart.
    assert choose_bandwidth(measure_squares(np.array([[0.0], [3.0], [7.0]]))) == pytest.approx(4)
    # Rows that are equal do not count, else many of them would make it 0.
    same = np.array([[0.0], [0.0], [0.0], [0.0], [2.0]])
    assert choose_bandwidth(measure_squares(same)) == pytest.approx(2)


def test_equal_vectors_everywhere_are_no_drift():
    test = compare(np.ones((8, 2)), np.ones((5, 2)))
    assert (test.mmd2, test.p_value) == (pytest.approx(0), 1)


def draw_groups(rng, groups, size, shift=0.0):
    """Rows of a group share most of what they are."""
    own = np.repeat(rng.normal(size=(groups, 2)), size, axis=0)
    return own + 0.3 * rng.normal(size=own.shape) + shift, np.repeat(np.arange(groups), size)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes"), [(1, 1), (3, 3), (8, 2)])
def test_p_values_are_uniform_where_nothing_has_drifted(sizes):
    """Also of grouped rows, and where a batch has fewer rows a group than the reference."""
    rng = np.random.default_rng(3)
    found = []
    for seed in range(300):
        (one, first), (other, second) = (
            draw_groups(rng, count, size) for count, size in zip((20, 12), sizes, strict=True)
        )
        kept = thin_groups(first, second, most=500, rng=rng)
        groups = (first[kept[0]], second[kept[1]])
        test = compare(one[kept[0]], other[kept[1]], groups, permutations=99, seed=seed)
        found.append(test.p_value - rng.uniform(0, 0.01))  # which 100 steps are, spread evenly
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_rows_exchanged_one_by_one_would_find_drift_that_is_none():
    rng = np.random.default_rng(4)
    found = []
    for seed in range(60):
        (one, _), (other, _) = (draw_groups(rng, count, 5) for count in (20, 8))
        found.append(compare(one, other, permutations=99, seed=seed).p_value)
    assert np.mean(np.array(found) <= 0.05) > 0.5


@pytest.mark.slow
def test_unlike_groups_that_are_not_thinned_would_find_drift_that_is_none():
    rng = np.random.default_rng(5)
    found = []
    for seed in range(150):
        one, first = draw_groups(rng, 30, 12)
        other, second = rng.normal(size=(8, 2)) * 1.044, np.arange(8)
        test = compare(one, other, (first, second), permutations=99, seed=seed)
        found.append(test.p_value)
    assert stats.kstest(found, "uniform").pvalue < 0.05


def test_a_shift_is_found():
    rng = np.random.default_rng(6)
    (one, first), (other, second) = draw_groups(rng, 40, 3), draw_groups(rng, 20, 3, shift=1.5)
    assert compare(one, other, (first, second)).p_value == 1 / 200


def test_the_same_seed_draws_the_same():
    rng = np.random.default_rng(7)
    one, other = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    first, second = (compare(one, other, seed=5) for _ in range(2))
    assert first.drawn.tolist() == second.drawn.tolist()
    assert first.drawn.tolist() != compare(one, other, seed=6).drawn.tolist()


def test_one_group_is_too_few():
    with pytest.raises(DataContractError, match="at least 2 groups on each side, got 3 and 1"):
        compare(np.eye(3), np.eye(3)[:2], (np.arange(3), np.array([0, 0])))


def test_vectors_must_be_finite():
    with pytest.raises(DataContractError, match="needs finite vectors"):
        compare(np.eye(3), np.full((2, 3), np.nan))
