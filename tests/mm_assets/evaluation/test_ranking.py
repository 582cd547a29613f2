import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mm_assets.evaluation import metrics
from mm_assets.evaluation.metrics import draw_groups, resample_groups
from mm_assets.evaluation.ranking import score_ranking
from mm_assets.targets.binary import Binary
from mm_assets.targets.multiclass import Multiclass
from mm_assets.targets.multilabel import Multilabel
from mm_assets.targets.regression import Regression

DRAWS = {"resamples": 50, "confidence": 0.9, "seed": 3}
ENDS = ("", "_low", "_high")
SICK = Binary(("well", "sick"))
COLOURS = Multiclass(("red", "green", "blue"))
TAGS = Multilabel(("loud", "tender"))


def answer(rows=60, decimals=1, seed=0):
    """Three classes, with many equal probabilities, in groups of unequal size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    shares = rng.dirichlet(np.ones(3), rows) + 0.3 * np.eye(3)[labels]
    return labels, shares.round(decimals), rng.integers(0, 12, rows)


def draw_weights(groups, resamples, seed):
    """How often each row counts in each resample, itself first."""
    codes, names = pd.factorize(groups)
    draws = resample_groups(np.eye(len(names), dtype=np.int64), resamples, seed)
    return np.vstack([np.ones(len(groups)), np.vstack(list(draws))[:, codes]])


def score_by_sklearn(truth, scores, weights):
    """Both metrics of every resample that has a positive and a negative row, else NaN."""
    found = np.full((2, len(weights)), np.nan)
    for at, weight in enumerate(weights):
        if 0 < weight @ truth < weight.sum():
            found[0, at] = roc_auc_score(truth, scores, sample_weight=weight)
            found[1, at] = average_precision_score(truth, scores, sample_weight=weight)
    return found


def summarize(values):
    """A value and the ends of its interval, for both metrics."""
    for name, (value, *drawn) in zip(("auroc", "average_precision"), values, strict=True):
        low, high = np.nanquantile(drawn, [0.05, 0.95])
        yield from zip([f"{name}{end}" for end in ENDS], (value, low, high), strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("decimals", [1, 9])  # with ties and without
def test_each_class_and_their_mean_are_sklearns_on_the_same_draws(decimals):
    labels, shares, groups = answer(decimals=decimals)
    found = score_ranking(COLOURS, labels, shares, groups, **DRAWS)
    weights = draw_weights(groups, 50, 3)
    classes = [score_by_sklearn(labels == at, shares[:, at], weights) for at in range(3)]
    for name, values, one in zip(COLOURS.classes, classes, found["by_class"], strict=True):
        assert one == pytest.approx({"class": name} | dict(summarize(values)), abs=1e-12)
    mean = dict(summarize(np.nanmean(classes, axis=0)))
    assert {key: found[key] for key in mean} == pytest.approx(mean, abs=1e-12)


@pytest.mark.slow
def test_a_rare_class_is_scored_on_the_draws_that_have_it():
    labels, shares, groups = answer()
    labels = np.where(groups == 5, 2, labels % 2)  # blue is in one group alone
    found = score_ranking(COLOURS, labels, shares, groups, **DRAWS)["by_class"][2]
    values = score_by_sklearn(labels == 2, shares[:, 2], draw_weights(groups, 50, 3))
    assert np.isnan(values).any()
    assert found == pytest.approx({"class": "blue"} | dict(summarize(values)), abs=1e-12)


def test_of_two_classes_the_positive_one_is_ranked():
    labels, shares, groups = answer(decimals=2)
    labels, share = labels % 2, shares[:, 0].clip(0, 1)
    found = score_ranking(SICK, labels, np.stack([1 - share, share], axis=1), groups, **DRAWS)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, share), abs=1e-12)
    assert found["average_precision"] == pytest.approx(
        average_precision_score(labels, share), abs=1e-12
    )
    assert [one["class"] for one in found["by_class"]] == ["sick"]


def test_each_label_is_ranked_by_itself():
    rng = np.random.default_rng(0)
    labels, shares = rng.integers(0, 2, (40, 2)), rng.random((40, 2))
    found = score_ranking(TAGS, labels, shares, np.arange(40), **DRAWS)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, shares), abs=1e-12)
    assert found["average_precision"] == pytest.approx(
        average_precision_score(labels, shares), abs=1e-12
    )


def test_a_class_that_no_row_has_is_left_out():
    labels, shares, groups = answer()
    found = score_ranking(COLOURS, labels % 2, shares, groups, **DRAWS)
    assert [one["class"] for one in found["by_class"]] == ["red", "green"]
    mean = np.mean([one["auroc"] for one in found["by_class"]])
    assert found["auroc"] == pytest.approx(mean)


def test_where_nothing_is_to_be_ranked_there_is_nothing():
    _, shares, groups = answer()
    assert score_ranking(COLOURS, np.zeros(60, dtype=int), shares, groups, **DRAWS) == {}
    numbers = np.arange(60.0)
    assert score_ranking(Regression(0.0, 1.0), numbers, shares[:, :1], groups, **DRAWS) == {}


@pytest.mark.parametrize(
    ("shares", "auroc", "precision"),
    [([0.9, 0.8, 0.2, 0.1], 1, 1), ([0.1, 0.2, 0.8, 0.9], 0, 5 / 12), ([0.5] * 4, 0.5, 0.5)],
)
def test_the_best_the_worst_and_the_blind_ranking(shares, auroc, precision):
    both = np.stack([1 - np.array(shares), shares], axis=1)
    found = score_ranking(SICK, np.array([1, 1, 0, 0]), both, np.arange(4), **DRAWS)
    assert (found["auroc"], found["average_precision"]) == pytest.approx((auroc, precision))
    assert found["auroc_low"] <= found["auroc"] <= found["auroc_high"]


def test_the_size_of_chunks_does_not_matter(monkeypatch):
    whole = score_ranking(COLOURS, *answer(), **DRAWS)
    monkeypatch.setattr(metrics, "CHUNK", 100)
    chunked = score_ranking(COLOURS, *answer(), **DRAWS)
    for one, other in zip(
        [whole, *whole.pop("by_class")], [chunked, *chunked.pop("by_class")], strict=True
    ):
        assert one == pytest.approx(other, abs=1e-12)


def test_draws_are_of_as_many_groups_as_there_are():
    chunks = list(draw_groups(7, 20, 0, width=1_000_000))
    assert [len(chunk) for chunk in chunks] == [4] * 5
    assert (np.vstack(chunks).sum(axis=1) == 7).all()
    np.testing.assert_array_equal(np.vstack(chunks), next(draw_groups(7, 20, 0, width=1)))
