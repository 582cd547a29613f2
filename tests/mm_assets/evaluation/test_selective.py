import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.errors import DataContractError
from mm_assets.evaluation.selective import (
    measure_abstention,
    measure_selective,
    plot_selective,
    settle_abstention,
)

DRAWS = {"resamples": 300, "level": 0.95, "seed": 0}


def measure(confidence, correct, groups=None):
    groups = np.arange(len(confidence)) if groups is None else groups
    given = np.asarray(confidence, float), np.asarray(correct), np.asarray(groups)
    return measure_selective(*given, **DRAWS)


def average_risk(correct):
    """Average over k the share of wrong ones among the first k, as the paper defines AURC."""
    return np.mean([1 - np.mean(correct[: k + 1]) for k in range(len(correct))])


def test_by_hand():
    # Risks after 1, 2, 3 and 4 claims: 0, 1/2, 1/3, 1/2.
    found = measure([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # With both wrong ones last: 0, 0, 1/3, 1/2.
    assert found["aurc_best"] == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert found["aurc_blind"] == 0.5
    by_coverage = {one["coverage"]: one for one in found["curve"]}
    assert [by_coverage[c]["accuracy"] for c in (0.25, 0.5, 0.75, 1.0)] == pytest.approx(
        [1, 1 / 2, 2 / 3, 1 / 2]
    )
    assert [by_coverage[c]["confidence"] for c in (0.25, 0.3, 0.75, 1.0)] == [0.9, 0.8, 0.7, 0.6]


@pytest.mark.slow
def test_many_claims_reach_the_closed_form():
    # Right with chance p at confidence p, uniform on (0, 1): the mean risk above t is (1 - t) / 2.
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    found = measure_selective(
        confidence,
        rng.random(200_000) < confidence,
        np.arange(200_000) // 20_000,
        **DRAWS | {"resamples": 20},
    )
    assert found["aurc"] == pytest.approx(1 / 4, abs=0.005)
    # Geifman et al. 2019, equation for the best order: r + (1 - r) ln(1 - r).
    r = found["aurc_blind"]
    assert found["aurc_best"] == pytest.approx(r + (1 - r) * math.log(1 - r), abs=1e-4)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_equally_sure_claims_count_as_the_mean_over_their_orders(claims):
    orders = [
        [right for _, right in order]
        for order in itertools.permutations(claims)
        if all(first >= second for (first, _), (second, _) in itertools.pairwise(order))
    ]
    expected = np.mean([average_risk(order) for order in orders])
    assert measure(*zip(*claims, strict=True))["aurc"] == pytest.approx(expected)


def test_groups_are_drawn_whole():
    # Two groups, one all right and one all wrong: a resample has the first, the second or both.
    found = measure([0.9, 0.9, 0.4, 0.4], [True, True, False, False], ["a", "a", "b", "b"])
    assert (found["aurc_low"], found["aurc_high"]) == (0, 1)
    whole = found["curve"][-1]
    assert (whole["accuracy_low"], whole["accuracy_high"]) == (0, 1)
    alone = measure([0.9] * 4, [True, True, False, False], ["one"] * 4)
    assert alone["aurc_low"] == alone["aurc"] == alone["aurc_high"] == pytest.approx(0.5)


@pytest.mark.slow
def test_the_interval_holds_the_area_nearly_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for _ in range(100):
        confidence = rng.random(150)
        found = measure(confidence, rng.random(150) < confidence)
        held += found["aurc_low"] <= 1 / 4 <= found["aurc_high"]
    assert 0.85 <= held / 100 <= 0.99


def test_an_empty_list_of_claims_is_refused():
    with pytest.raises(DataContractError, match=r"at least 1 claim, got 0"):
        measure([], np.array([], bool), np.array([]))


def test_the_threshold_is_the_least_confidence_that_reaches_the_accuracy():
    confidence = np.linspace(1, 0.02, 50)
    correct = np.arange(50) < 38
    correct[5] = False  # early on 0.95 is missed and reached again
    found = settle_abstention(confidence, correct, accuracy=0.95)
    # 37 of 38 right are 97 %, 37 of 39 are 95 % less a little: 37 of 38 it is.
    kept = confidence >= found["threshold"]
    assert kept.sum() == 38
    assert found["validation"]["accuracy"] == pytest.approx(37 / 38)
    assert found["validation"]["coverage"] == pytest.approx(38 / 50)
    assert confidence[38] < found["threshold"] < confidence[37]


def test_equally_sure_claims_are_kept_together_and_an_easy_wish_keeps_all():
    confidence, correct = np.repeat([0.9, 0.6], 20), np.repeat([True, False], 20)
    assert settle_abstention(confidence, correct, accuracy=0.9)["threshold"] == pytest.approx(0.75)
    assert settle_abstention(confidence, correct, accuracy=0.5)["threshold"] == 0.0


def test_an_accuracy_out_of_reach_is_told_with_the_nearest():
    confidence, correct = np.linspace(0.9, 0.5, 40), np.arange(40) % 4 != 3
    found = settle_abstention(confidence, correct, accuracy=0.99)
    assert found["threshold"] is None
    nearest = found["validation"]["accuracy"]
    assert nearest == pytest.approx(9 / 11)  # of the first 11; of the first 3 it was 1
    few = settle_abstention(confidence[:9], correct[:9], accuracy=0.5)
    assert few["threshold"] is None
    assert few["validation"] == {"claims": 9, "coverage": None, "accuracy": None}


def test_abstention_on_other_rows():
    confidence, correct = np.array([0.9, 0.8, 0.4, 0.3]), np.array([True, False, True, True])
    found = measure_abstention(0.5, confidence, correct, np.array(list("abcd")), **DRAWS)
    assert (found["kept"], found["coverage"], found["accuracy"]) == (2, 0.5, 0.5)
    assert found["coverage_low"] < 0.5 < found["coverage_high"]
    none = measure_abstention(0.95, confidence, correct, np.array(list("abcd")), **DRAWS)
    assert (none["kept"], none["accuracy"], none["accuracy_low"]) == (0, None, None)


def test_the_picture_is_the_same_each_time(tmp_path):
    rng = np.random.default_rng(2)
    confidence, groups = rng.random(80), np.arange(80)
    correct = rng.random(80) < confidence
    found = measure(confidence, correct)
    kept = measure_abstention(0.5, confidence, correct, groups, **DRAWS)
    evidence = {"selective": found | {"abstention": {"test": kept}}}
    for file in ("one.svg", "two.svg"):
        plot_selective("mood", evidence, tmp_path / file)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "mood: answering only where it is sure" in text
    assert "abstention threshold" in text
