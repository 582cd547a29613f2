import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, auc

from mm_assets.evaluation.absence import (
    MOST_DRAWS,
    RATES,
    count_draws,
    draw_losses,
    lose_modalities,
    measure_absence,
    plot_absence,
)
from mm_assets.targets.multiclass import Multiclass

COIN = Multiclass(("heads", "tails"))
IDS = [f"s{n}" for n in range(400)]
NAMES = ("text", "image", "audio")
DRAWS = {"resamples": 500, "confidence": 0.95, "seed": 0}


def tally(true, predicted):
    return COIN.tally(np.asarray(true), np.eye(2, dtype=np.float32)[predicted])


def test_losses_are_uniform_and_independent():
    losses = draw_losses(IDS, NAMES, seed=7, draws=MOST_DRAWS)
    assert losses.shape == (400, 3, MOST_DRAWS)
    assert stats.kstest(losses.ravel(), "uniform").pvalue > 0.01
    columns = losses.reshape(400, -1)
    correlations = np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]
    assert np.abs(correlations).max() < 0.2  # 276 of them, each of spread 0.05


def test_losses_depend_on_seed_id_and_name_alone():
    losses = draw_losses(IDS, NAMES, seed=7, draws=8)
    backwards = draw_losses(IDS[::-1], NAMES[::-1], seed=7, draws=8)
    assert (backwards[::-1, ::-1] == losses).all()
    assert (
        draw_losses(IDS[5:9], ["audio", "more"], seed=7, draws=3)[:, 0] == losses[5:9, 2, :3]
    ).all()
    assert (draw_losses(IDS, NAMES, seed=8, draws=8) != losses).all()
    # The first 16 digits of `printf 7:text:s0 | b2sum`, as a share.
    assert losses[0, 0, 0] == pytest.approx(0x5834DAD027559622 / 2**64)


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.7])
def test_each_is_lost_with_its_chance_but_never_the_last(rate):
    losses = draw_losses(IDS, NAMES, seed=7, draws=8)
    left = lose_modalities(np.ones((400, 3), dtype=bool), losses, rate)
    assert left.any(axis=1).all()
    kept = left.sum(axis=1).ravel()
    # Of three, each stays with chance 1 - rate; where none would, one does.
    chances = stats.binom(3, 1 - rate).pmf([0, 1, 2, 3])
    expected = np.array([chances[0] + chances[1], chances[2], chances[3]])
    counts = np.bincount(kept, minlength=4)[1:]
    assert stats.chisquare(counts, expected * counts.sum()).pvalue > 0.01
    assert stats.chisquare(left.sum(axis=(0, 2))).pvalue > 0.01


def test_what_is_absent_stays_so_and_less_is_left_at_higher_rates():
    presence = np.random.default_rng(1).random((400, 3)) < 0.5
    presence[:, 0] |= ~presence.any(axis=1)
    losses = draw_losses(IDS, NAMES, seed=7, draws=8)
    left = [lose_modalities(presence, losses, rate) for rate in RATES]
    assert (left[0] == presence[:, :, None]).all()
    for more, less in itertools.pairwise(left):
        assert (less <= more).all()
        assert less.any(axis=1).all()


def test_the_curve_is_the_metric_at_each_rate_and_the_area_its_mean_height():
    rng = np.random.default_rng(2)
    true = rng.integers(0, 2, 90)
    answers = [np.where(rng.random(90) < rate, 1 - true, true) for rate in RATES]
    found = measure_absence(
        COIN, [tally(true, one) for one in answers], np.arange(90) // 2, **DRAWS
    )
    values = [one["accuracy"] for one in found["curve"]]
    assert values == pytest.approx([accuracy_score(true, one) for one in answers])
    assert found["area"] == pytest.approx(auc(RATES, values) / 0.7)
    assert found["area_low"] < found["area"] < found["area_high"]
    # A mean over rates varies less than a single one.
    widest = max(one["accuracy_high"] - one["accuracy_low"] for one in found["curve"])
    assert found["area_high"] - found["area_low"] < widest


def test_many_rows_are_drawn_less_often():
    assert [count_draws(rows) for rows in (0, 136, 7500, 20_000, 10**6)] == [8, 8, 8, 3, 1]


def test_the_picture_names_the_majority_answer_and_equal_ones_have_equal_bytes(tmp_path):
    curve = [
        {"rate": rate, "accuracy": 0.9 - rate / 2, "accuracy_low": 0.3, "accuracy_high": 1.0}
        for rate in RATES
    ]
    evidence = {"headline": "accuracy", "majority": {"accuracy": 0.4}, "absence": {"curve": curve}}
    for name in ("one", "two"):
        plot_absence("mood", evidence, tmp_path / f"{name}.svg")
    text = (tmp_path / "one.svg").read_text()
    assert "majority answer" in text
    assert text == (tmp_path / "two.svg").read_text()
