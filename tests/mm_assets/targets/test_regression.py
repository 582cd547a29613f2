import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn import metrics as reference

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.targets.base import load_target
from mm_assets.targets.regression import Regression, RegressionLoss

CONFIG = TargetConfig(kind="regression", column="x")
GRAMS = Regression(70_000.0, 20_000.0)


def read(raw):
    labels, illegal = Regression.read_labels(pd.Series(raw), CONFIG)
    assert labels.dtype == np.float64
    return [None if np.isnan(label) else label for label in labels], illegal.to_dict()


def score(target, true, answers):
    tally = target.tally(np.asarray(true), np.asarray(answers)[:, None]).sum(axis=0)
    return {name: value[0] for name, value in target.metrics(tally[None]).items()}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["1.5", " -2 ", "1e3", None], [1.5, -2, 1000, None]),
        (["nan", "NaN", "7"], [None, None, 7]),
        ([1, 2], [1, 2]),
        ([0.1, np.nan], [0.1, None]),
    ],
)
def test_numbers_are_read_and_nan_is_null(raw, expected):
    assert read(raw) == (expected, {})


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999", "1,5", "tall", "", "2024-01-02"])
def test_what_is_no_finite_number_is_illegal(cell):
    labels, illegal = read(["1", cell])
    assert labels == [1, None]
    assert illegal == {1: f"must be a finite number, or null; got '{cell}'"}


def test_infinity_among_numbers_is_illegal():
    assert read([1.0, np.inf])[1] == {1: "must be a finite number, or null; got 'inf'"}


def test_dates_are_no_numbers():
    raw = pd.Series(pd.to_datetime(["2024-01-02", None]))
    assert read(raw) == ([None, None], {0: "must be a finite number, or null; got '2024-01-02'"})


def test_the_outline_sorts_by_quartiles():
    labels = pd.Series([1.0, 2, 3, 4, 5, 6, 7, 8, None], index=range(10, 19))
    found = Regression.outline(labels)
    assert found.value_counts().to_dict() == {
        "up to 2.75": 2, "2.75 to 4.5": 2, "4.5 to 6.25": 2, "over 6.25": 2,
    }  # fmt: skip
    assert found.index.tolist() == list(range(10, 18))


def test_equal_numbers_share_a_range():
    found = Regression.outline(pd.Series([0.0] * 9 + [5.0]))
    assert found.tolist() == ["up to 0"] * 9 + ["over 0"]


def test_mean_and_spread_are_those_of_the_known_training_labels():
    target = Regression.fit(pd.Series([1.0, 3.0, None]), CONFIG, where="t")
    assert (target.mean, target.scale, target.unit) == (2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.1] * 7, r"at least 2 different numbers in the training rows, got 0\.1 in every one"),
        ([np.nan], r"at least 2 different numbers in the training rows, got no label at all"),
        ([1e308, -1e308], r"from -1e\+308 to 1e\+308, whose standard deviation is inf"),
    ],
)
def test_labels_without_a_spread_leave_nothing_to_learn(labels, message):
    with pytest.raises(TrainingError, match="target 't' .*" + message):
        Regression.fit(pd.Series(labels), CONFIG, where="t")


def test_classes_are_refused():
    config = TargetConfig(kind="regression", column="x", classes=["1", "2"])
    with pytest.raises(ConfigError, match=r"`targets\.t\.classes` belongs to kinds with classes"):
        load_target(config, where="targets.t")


def test_loss_is_the_negative_log_likelihood_less_its_constant():
    logits = torch.tensor([[0.5], [-1.0], [9.0]])
    labels = torch.tensor([90_000.0, 55_000.0, np.nan]).double()
    means = GRAMS.probabilities(logits).double()[:2, 0]
    nats = -stats.norm.logpdf(labels[:2], loc=means, scale=GRAMS.scale)
    constant = -stats.norm.logpdf(0.0, loc=0.0, scale=GRAMS.scale)
    assert GRAMS.loss(logits, labels).item() == pytest.approx(np.mean(nats) - constant)


@pytest.mark.parametrize("delta", [0.3, 1.0, 50.0])
def test_hubers_loss_is_torchs_in_standard_deviations(delta):
    target = Regression(70_000.0, 20_000.0, RegressionLoss(huber=delta))
    logits = torch.tensor([[0.5], [-1.0], [9.0], [2.0]]).double()
    labels = torch.tensor([90_000.0, 55_000.0, np.nan, 300_000.0]).double()
    truth = torch.tensor([1.0, -0.75, 11.5]).double()
    expected = torch.nn.functional.huber_loss(logits[[0, 1, 3], 0], truth, delta=delta)
    assert target.training_loss(logits, labels).item() == pytest.approx(expected.item())
    if delta == 50:  # beyond every error
        assert expected == target.loss(logits, labels)


def test_the_training_mean_has_a_loss_of_half_a_nat():
    labels = np.random.default_rng(0).gamma(2.0, 3.0, 500)
    target = Regression.fit(pd.Series(labels), CONFIG, where="t")
    blind = torch.from_numpy(target.constant_logits(labels)).expand(500, -1)
    assert target.loss(blind, torch.from_numpy(labels)).item() == pytest.approx(0.5)


def test_the_answer_is_in_the_labels_unit():
    found = GRAMS.probabilities(torch.tensor([[0.0], [1.5]]))
    assert found.tolist() == [[70_000.0], [100_000.0]]
    assert GRAMS.answer(found.numpy()) == ["70000", "100000"]
    assert GRAMS.as_json(found[1].numpy()) == 100_000.0
    assert GRAMS.as_lines(np.array([98_765.4321])) == ["98765.4"]


NUMBERS = st.floats(-100, 100, allow_subnormal=False).map(lambda number: round(number, 3))


@given(arrays(np.float64, 9, elements=NUMBERS), arrays(np.float64, 9, elements=NUMBERS))
def test_metrics_of_summed_tallies_are_those_of_sklearn(true, answers):
    found = score(Regression(3.0, 10.0), true, answers)
    assert found["r2"] == pytest.approx(reference.r2_score(true, answers), rel=1e-6, abs=1e-9)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(true, answers))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(true, answers))


def test_a_large_mean_costs_no_digits():
    rng = np.random.default_rng(0)
    true = 1e9 + rng.normal(size=200)
    answers = true + 0.5 * rng.normal(size=200)
    target = Regression.fit(pd.Series(true), CONFIG, where="t")
    assert score(target, true, answers)["r2"] == pytest.approx(
        reference.r2_score(true, answers), rel=1e-6
    )


@pytest.mark.parametrize(("answer", "expected"), [(5.0, 1.0), (6.0, 0.0)])
def test_labels_that_are_all_equal_have_sklearns_r_squared(answer, expected):
    true, answers = np.full(4, 5.0), np.full(4, answer)
    assert reference.r2_score(true, answers) == expected
    assert score(GRAMS, true, answers)["r2"] == expected


def test_the_training_mean_explains_nothing_of_its_own_rows():
    labels = np.array([1.0, 2.0, 6.0])
    target = Regression.fit(pd.Series(labels), CONFIG, where="t")
    assert target.constant(labels) == [3.0]
    assert score(target, labels, np.full(3, 3.0))["r2"] == pytest.approx(0)


def test_surprise_is_the_error_in_spreads():
    found = GRAMS.surprise(np.array([70_000.0, 90_000.0]), np.array([[60_000.0], [90_000.0]]))
    assert found.tolist() == [0.5, 0.0]
