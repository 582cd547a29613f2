import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.evaluation.shapley import (
    list_coalitions,
    measure_shapley,
    plot_shapley,
    shapley_values,
)
from mm_assets.targets.multiclass import Multiclass

COIN = Multiclass(("heads", "tails"))
DRAWS = {"resamples": 300, "confidence": 0.95, "seed": 0}
NAMES = ("text", "image", "audio")


def average_over_orders(worth, players):
    """Add the players in every order; give the mean of what each adds."""
    shares = np.zeros(players)
    orders = list(itertools.permutations(range(players)))
    for order in orders:
        subset = 0
        for player in order:
            shares[player] += worth[subset | 1 << player] - worth[subset]
            subset |= 1 << player
    return shares / len(orders)


@given(players=st.integers(1, 6), seed=st.integers(0, 99))
def test_values_are_the_mean_gain_over_all_orders_and_add_up(players, seed):
    worth = np.random.default_rng(seed).normal(size=2**players)
    shares = shapley_values(worth)
    assert shares == pytest.approx(average_over_orders(worth, players))
    assert shares.sum() == pytest.approx(worth[-1] - worth[0])


def test_in_an_additive_game_each_gets_what_it_brings():
    brings = np.array([0.5, -0.25, 2.0, 0.0])
    assert shapley_values(3 + list_coalitions(4) @ brings) == pytest.approx(brings)


def test_the_glove_game_is_that_of_the_textbooks():
    # One left glove, two right ones; a pair is worth 1: 2/3 for the left, 1/6 for each right one.
    members = list_coalitions(3)
    worth = (members[:, 0] & members[:, 1:].any(axis=1)).astype(float)
    assert shapley_values(worth) == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_exchanging_two_players_exchanges_their_values():
    worth = np.random.default_rng(0).normal(size=8)
    swapped = worth[[0, 2, 1, 3, 4, 6, 5, 7]]  # bits 0 and 1
    assert shapley_values(swapped) == pytest.approx(shapley_values(worth)[[1, 0, 2]])


def test_every_draw_is_shared_out_by_itself():
    worth = np.random.default_rng(1).normal(size=(5, 8))
    assert shapley_values(worth) == pytest.approx(np.stack([shapley_values(one) for one in worth]))


def answer(right):
    """Tallies of rows that are all heads, answered rightly or not."""
    right = np.asarray(right, bool)
    return COIN.tally(np.zeros(len(right), int), np.eye(2, dtype=np.float32)[(~right).astype(int)])


def test_of_a_data_set_the_gain_in_the_metric_is_shared_out():
    rng = np.random.default_rng(2)
    # Text is right in 60 rows of 80, all else in the 30 that the majority answer has right.
    base, text = np.arange(80) < 30, np.arange(80) < 60
    answers = [answer(text if members[0] else base) for members in list_coalitions(3)]
    groups = rng.permutation(np.arange(80) // 2)
    found = measure_shapley(COIN, answers, groups, NAMES, **DRAWS)
    assert (found["rows"], found["groups"]) == (80, 40)
    assert (found["none"], found["all"]) == (30 / 80, 60 / 80)
    worth = {one["modality"]: one["worth"] for one in found["modalities"]}
    assert worth == pytest.approx({"text": 30 / 80, "image": 0, "audio": 0})
    text_found, image, _ = found["modalities"]
    assert text_found["worth_low"] < 30 / 80 < text_found["worth_high"]
    assert image["worth_low"] == image["worth_high"] == 0


def test_the_picture_says_each_worth_in_points(tmp_path):
    modalities = [
        {"modality": name, "worth": worth, "worth_low": worth - 0.05, "worth_high": worth + 0.05}
        for name, worth in {"a $^2$": 0.31, "image": -0.02}.items()
    ]
    shapley = {"none": 0.4, "all": 0.69, "modalities": modalities}
    for name in ("one", "two"):
        evidence = {"headline": "macro_f1", "shapley": shapley}
        plot_shapley("mood", evidence, tmp_path / f"{name}.svg")
    text = (tmp_path / "one.svg").read_text()
    assert "+31.0" in text
    assert "a $^2$" in text
    assert text == (tmp_path / "two.svg").read_text()
