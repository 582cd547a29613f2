import itertools
import math

import numpy as np
import pytest

from mm_assets.contracts.errors import DataContractError
from mm_assets.evaluation.reliability import measure_reliability

DRAWS = {"resamples": 400, "level": 0.95, "seed": 0}


def measure(confidence, correct, groups=None):
    groups = np.arange(len(confidence)) if groups is None else groups
    return measure_reliability(np.asarray(confidence, float), np.asarray(correct), groups, **DRAWS)


def count_ece(confidence, correct, edges):
    """Average the gaps as the paper writes it, bin by bin; a bin holds (low, high]."""
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [n for n, c in enumerate(confidence) if low < c <= high or c == low == edges[0]]
        if inside:
            right = sum(bool(correct[n]) for n in inside) / len(inside)
            sure = sum(confidence[n] for n in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(right - sure)
    return total


def draw(rng, claims, *, too_sure=0.0):
    """Draw claims that are right as often as they say, less `too_sure`."""
    confidence = 0.5 + 0.5 * rng.beta(2, 2, claims)
    return confidence, rng.random(claims) < confidence - too_sure


def test_by_hand():
    # Ten claims of 0.95 of which 7 are right, ten of 0.55 of which 6 are.
    confidence = [0.95] * 10 + [0.55] * 10
    found = measure(confidence, [True] * 7 + [False] * 3 + [True] * 6 + [False] * 4)
    assert found["ece"] == pytest.approx((0.25 + 0.05) / 2)
    sure, unsure = found["bins"][1], found["bins"][0]
    assert (sure["low"], sure["high"], sure["claims"]) == (pytest.approx(0.9), 1.0, 10)
    assert sure["confidence"] == pytest.approx(0.95)
    assert (sure["accuracy"], unsure["accuracy"]) == (0.7, 0.6)
    # A mean of ten draws of chance p lies sqrt(2/pi p(1-p)/10) from p on average.
    expected = sum(math.sqrt(2 / math.pi * p * (1 - p) / 10) / 2 for p in (0.95, 0.55))
    assert found["ece_if_calibrated"] == pytest.approx(expected)


def test_ece_is_that_of_the_paper_computed_bin_by_bin():
    rng = np.random.default_rng(1)
    confidence, correct = rng.random(300), rng.random(300) < 0.6
    found = measure(confidence, correct)
    assert found["ece"] == pytest.approx(count_ece(confidence, correct, np.linspace(0, 1, 11)))
    tenths = np.quantile(confidence, np.linspace(0, 1, 11))
    assert found["ece_equal_mass"] == pytest.approx(count_ece(confidence, correct, tenths))
    assert sum(one["claims"] for one in found["bins"]) == 300


def test_a_claim_on_an_edge_belongs_to_the_bin_below():
    found = measure([0.5, 0.5000001, 1.0, 0.0], [True, True, True, False])
    assert [(round(one["low"], 1), one["claims"]) for one in found["bins"]] == [
        (0.0, 1), (0.4, 1), (0.5, 1), (0.9, 1),
    ]  # fmt: skip


@pytest.mark.slow
def test_calibrated_claims_show_the_error_that_chance_makes():
    rng = np.random.default_rng(2)
    runs = [measure(*draw(rng, 500)) for _ in range(60)]
    mean = np.mean([one["ece"] for one in runs])
    assert np.mean([one["ece_if_calibrated"] for one in runs]) == pytest.approx(mean, rel=0.1)
    many = measure(*draw(rng, 200_000), np.arange(200_000) // 1000)
    assert many["ece"] < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("too_sure", [0.05, 0.15])
@pytest.mark.parametrize("size", [1, 4])
def test_the_interval_holds_the_error_nearly_as_often_as_it_says(too_sure, size):
    # Claims of a group are right or wrong together, so only draws of whole groups can hold it.
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(150):
        confidence, correct = draw(rng, 150, too_sure=too_sure)
        found = measure(confidence.repeat(size), correct.repeat(size), np.arange(150).repeat(size))
        held += found["ece_low"] <= too_sure <= found["ece_high"]
    assert held >= 0.9 * 150


def test_groups_of_equal_claims_count_once():
    confidence, correct = draw(np.random.default_rng(4), 80)
    once = measure(confidence, correct)
    groups = np.arange(80).repeat(5)
    repeated = measure(confidence.repeat(5), correct.repeat(5), groups)
    assert repeated["ece_high"] == pytest.approx(once["ece_high"])
    assert (repeated["claims"], repeated["groups"]) == (400, 80)


def test_no_claim_is_refused():
    with pytest.raises(DataContractError, match="at least 1 row with a known label, got 0"):
        measure([], np.zeros(0, bool))
