import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.targets.base import load_target
from mm_assets.targets.binary import Binary
from mm_assets.targets.multiclass import ClassLoss

SICK = Binary(("well", "sick"))


LOGITS = torch.randn(9, 1, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([1, 0, 1, -1, 0, 0, 0, 1, 0])
KNOWN = LABELS >= 0
YES = LABELS[KNOWN].double()[:, None]


def configure(classes=None, loss=None, **options):
    return TargetConfig(
        kind="binary", column="x", classes=classes, options=options, loss=loss or {}
    )


def train_by(**loss):
    return Binary(SICK.classes, ClassLoss(**loss)).training_loss(LOGITS, LABELS).item()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("focal", [0.0, 1e-12])
def test_weight_and_smoothing_are_those_of_torch(smoothing, focal):
    expected = F.binary_cross_entropy_with_logits(
        LOGITS[KNOWN],
        YES * (1 - smoothing) + smoothing / 2,
        pos_weight=torch.tensor([2.5]).double(),
    )
    found = train_by(weights={"sick": 2.5}, label_smoothing=smoothing, focal=focal)
    assert found == pytest.approx(expected.item())


@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_focal_loss_is_torchvisions(focal):
    plain = sigmoid_focal_loss(LOGITS[KNOWN], YES, alpha=-1, gamma=focal, reduction="mean")
    assert train_by(focal=focal) == pytest.approx(plain.item())
    # alpha for a yes and 1 - alpha for a no is, but for a factor, a weight of the former.
    weighted = sigmoid_focal_loss(LOGITS[KNOWN], YES, alpha=0.8, gamma=focal, reduction="mean")
    assert train_by(focal=focal, weights={"sick": 4.0}) == pytest.approx(weighted.item() / 0.2)


@pytest.mark.parametrize(("positive", "other"), [("no", "yes"), ("yes", "no")])
def test_the_balanced_weight_is_the_ratio_of_sklearns(positive, other):
    labels = pd.Series(["no", "yes", "no", None, "no"])
    config = configure(positive=positive, loss={"positive_weight": "balanced"})
    weights = compute_class_weight(
        "balanced", classes=np.array([positive, other]), y=labels.dropna()
    )
    found = Binary.fit(labels, config, where="t").objective.weights
    assert found == pytest.approx({positive: weights[0] / weights[1]})


def test_scores_of_probabilities_are_sklearns():
    rng = np.random.default_rng(0)
    true, shares = rng.integers(0, 2, 50), rng.random(50)
    both = np.stack([1 - shares, shares], axis=1)
    found = SICK.metrics(SICK.tally(true, both).sum(axis=0)[None])
    assert found["brier"] == pytest.approx(reference.brier_score_loss(true, shares))
    assert found["log_loss"] == pytest.approx(reference.log_loss(true, shares))
    accuracy = reference.balanced_accuracy_score(true, shares > 0.5)
    assert found["balanced_accuracy"] == pytest.approx(accuracy)


def test_loss_is_the_closed_form_of_binary_cross_entropy():
    logits = torch.tensor([[2.0], [-1.0], [0.5], [9.0]])
    loss = SICK.loss(logits, torch.tensor([1, 0, 1, -1]))
    # log(1 + e^-z) for a yes, log(1 + e^z) for a no.
    expected = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0)) + np.log1p(np.exp(-0.5))) / 3
    assert loss.item() == pytest.approx(expected)


def test_loss_is_sklearns_log_loss_of_the_probabilities():
    logits = torch.tensor([[2.0], [-1.0], [0.5]]).double()
    expected = reference.log_loss([1, 0, 0], SICK.probabilities(logits)[:, 1])
    assert SICK.loss(logits, torch.tensor([1, 0, 0])).item() == pytest.approx(expected)


def test_probabilities_are_of_the_negative_and_the_positive_class():
    found = SICK.probabilities(torch.tensor([[0.0], [np.log(3.0)], [-200.0]]))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], atol=1e-7)
    assert SICK.answer(found.numpy()) == ["well", "sick", "well"]


def test_the_constants_logit_is_the_log_odds():
    logit = SICK.constant_logits(np.array([1, 1, 1, 0, -1]))
    assert logit == pytest.approx([np.log(3)])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_metrics_of_summed_tallies_are_those_of_sklearn(pairs):
    true, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    tallies = SICK.tally(true, np.eye(2)[predicted]).sum(axis=0)[None]
    found = SICK.metrics(tallies)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    assert found["f1"] == pytest.approx(reference.f1_score(true, predicted, zero_division=0))
    recalls = SICK.class_recalls(tallies)
    expected = reference.recall_score(
        true, predicted, labels=[0, 1], average=None, zero_division=np.nan
    )
    np.testing.assert_allclose([recalls["well"][0], recalls["sick"][0]], expected)


@pytest.mark.parametrize(
    ("classes", "options", "expected"),
    [
        (None, {}, ("no", "yes")),
        (None, {"positive": "no"}, ("yes", "no")),
        (["yes", "no"], {}, ("yes", "no")),
        (["yes", "no"], {"positive": "yes"}, ("no", "yes")),
    ],
)
def test_the_positive_class_is_the_last_or_the_named_one(classes, options, expected):
    labels = pd.Series(["yes", "no", None])
    assert Binary.fit(labels, configure(classes, **options), where="t").classes == expected


def test_a_third_class_is_refused_with_the_kind_to_choose():
    with pytest.raises(
        TrainingError,
        match=r"target 't' of kind binary needs 2 classes, got 3 \(a, b, c\).*"
        r"`targets\.t\.kind: multiclass`",
    ):
        Binary.fit(pd.Series(list("abc")), configure(), where="t")


def test_a_positive_class_that_no_row_has_is_named():
    with pytest.raises(TrainingError, match=r"no training row of class c, its `targets\.t\.opt"):
        Binary.fit(pd.Series(list("ab")), configure(positive="c"), where="t")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (configure(["a", "b", "c"]), r"`targets\.t\.classes` must be 2 names .*got 3"),
        (configure(["a", "a"]), r"`targets\.t\.classes` must be at least 2 different names"),
        (configure(["a", "b"], positive="c"), r"options\.positive` must be one of a, b, got 'c'"),
    ],
)
def test_classes_that_are_not_two_are_refused_before_any_work(config, message):
    with pytest.raises(ConfigError, match=message):
        load_target(config, where="targets.t")
