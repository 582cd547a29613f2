from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.naive_bayes import CategoricalNB

from mm_assets.contracts.config import read_config
from mm_assets.sources.sample.answer import MODALITIES, TARGETS, KnownTarget, tabulate_bounds

ROOT = Path(__file__).parents[4]


weights = st.lists(st.floats(0.05, 1), min_size=2, max_size=5)
reliabilities = st.dictionaries(st.sampled_from(MODALITIES), st.floats(0.2, 1))


def know(weights, reliability):
    prior = np.array(weights) / np.sum(weights)
    return KnownTarget(tuple("abcde"[: len(prior)]), tuple(prior.tolist()), reliability)


def test_bound_of_one_reliable_modality_is_its_reliability():
    # Whatever is shown, it is likelier true than any other class.
    for target in TARGETS.values():
        for modality, reliability in target.reliability.items():
            assert target.bound([modality]) == pytest.approx(reliability, abs=1e-12)


def test_bound_of_one_modality_weaker_than_the_prior_matches_closed_form():
    # Two classes at 0.9 and 0.1, shown truly with 0.6: "b" is never the better answer.
    assert KnownTarget(("a", "b"), (0.9, 0.1), {"text": 0.6}).bound(["text"]) == pytest.approx(0.9)


def test_bound_of_three_equal_votes_matches_the_binomial():
    # Two classes alike and three channels alike: the majority of three votes.
    target = KnownTarget(("a", "b"), (0.5, 0.5), dict.fromkeys(MODALITIES, 0.7))
    assert target.bound(MODALITIES) == pytest.approx(0.7**3 + 3 * 0.7**2 * 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TARGETS))
def test_bound_is_what_a_naive_bayes_classifier_reaches_on_drawn_samples(name):
    target, rng = TARGETS[name], np.random.default_rng(1)
    drawn = [target.draw(rng) for _ in range(20_000)]
    labels = [true for true, _ in drawn]
    shown = [[target.classes.index(s[m]) for m in target.reliability] for _, s in drawn]

    # Given the class the channels are independent, so naive Bayes is Bayes.
    accuracy = CategoricalNB().fit(shown, labels).score(shown, labels)

    assert accuracy == pytest.approx(target.bound(MODALITIES), abs=0.01)


@pytest.mark.slow
def test_draws_keep_prior_and_reliabilities():
    target, rng = TARGETS["intent"], np.random.default_rng(2)
    drawn = [target.draw(rng) for _ in range(20_000)]

    shares = [np.mean([true == name for true, _ in drawn]) for name in target.classes]
    kept = np.mean([shown["image"] == true for true, shown in drawn])

    np.testing.assert_allclose(shares, target.prior, atol=0.015)
    assert kept == pytest.approx(target.reliability["image"], abs=0.01)
    assert all(set(shown) == {"text", "image"} for _, shown in drawn)  # the voice is silent on it


@given(weights, reliabilities)
def test_another_modality_never_lowers_the_bound(weights, reliability):
    target = know(weights, reliability)
    bounds = [target.bound(MODALITIES[:count]) for count in range(4)]

    assert bounds[0] == pytest.approx(max(target.prior))
    assert all(low <= high + 1e-12 for low, high in pairwise(bounds))
    assert bounds[-1] <= 1 + 1e-12
    assert target.bound(MODALITIES[::-1]) == pytest.approx(bounds[-1])


@given(weights, reliabilities)
def test_every_row_of_a_channel_is_a_distribution(weights, reliability):
    target = know(weights, reliability)
    for modality in MODALITIES:
        table = target.channel(modality)
        np.testing.assert_allclose(table.sum(axis=1), 1)
        assert (table >= -1e-15).all()


def test_fusion_is_worth_it_and_a_silent_modality_is_worth_nothing():
    bounds = tabulate_bounds()

    best_alone = max(bounds["sentiment"][m] for m in MODALITIES)
    assert bounds["sentiment"]["text+image+audio"] > best_alone + 0.05
    assert bounds["intent"]["audio"] == max(TARGETS["intent"].prior)
    assert bounds["intent"]["text+audio"] == bounds["intent"]["text"]
    assert list(bounds["intent"]) == [
        "text", "image", "audio", "text+image", "text+audio", "image+audio", "text+image+audio",
    ]  # fmt: skip


def test_the_recipe_names_the_same_modalities_and_classes():
    config = read_config(ROOT / "recipes/sample.yaml")

    assert tuple(config.modalities) == MODALITIES
    assert {k: tuple(t.classes or ()) for k, t in config.targets.items()} == {
        name: target.classes for name, target in TARGETS.items()
    }
