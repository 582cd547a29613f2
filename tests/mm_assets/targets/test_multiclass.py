import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.utils.class_weight import compute_class_weight

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, DataContractError, TrainingError
from mm_assets.targets.base import load_target
from mm_assets.targets.multiclass import ClassLoss, Multiclass

COLOURS = Multiclass(("red", "green", "blue"))


def one_hot(labels, classes=3):
    return np.eye(classes, dtype=np.float32)[labels]


def test_classes_come_from_the_training_labels_in_sorted_order():
    labels = pd.Series(["b", None, "a", "b"])
    assert Multiclass.fit(
        labels, TargetConfig(kind="multiclass", column="x"), where="t"
    ).classes == ("a", "b")


def test_given_classes_keep_their_order():
    config = TargetConfig(kind="multiclass", column="x", classes=["b", "a"])
    assert Multiclass.fit(pd.Series(["a", "b"]), config, where="t").classes == ("b", "a")


def test_one_class_leaves_nothing_to_learn():
    with pytest.raises(TrainingError, match=r"target 'mood' needs at least 2 classes, got 1 \(a\)"):
        Multiclass.fit(
            pd.Series(["a", None]), TargetConfig(kind="multiclass", column="x"), where="mood"
        )


def test_a_class_that_no_training_row_shows_is_refused():
    config = TargetConfig(kind="multiclass", column="x", classes=["a", "b", "c"])
    with pytest.raises(TrainingError, match=r"no training row of class c.*targets\.mood\.classes"):
        Multiclass.fit(pd.Series(["a", "b"]), config, where="mood")


def test_labels_become_numbers_and_null_is_unknown():
    numbers = COLOURS.encode(pd.Series(["blue", None, "red"]), where="t")
    assert numbers.tolist() == [2, -1, 0]
    assert COLOURS.is_known(numbers).tolist() == [True, False, True]


def test_a_column_of_nulls_is_unknown_throughout():
    assert COLOURS.encode(pd.Series([None, None]), where="t").tolist() == [-1, -1]


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(DataContractError, match=r"'t' needs one of red, green, blue, got 'pink'"):
        COLOURS.encode(pd.Series(["red", "pink"]), where="t")


def test_a_label_that_is_a_class_but_for_case_and_spaces_is_told_which():
    config = TargetConfig(kind="multiclass", column="pet", classes=["cat", "dog"])
    raw = pd.Series(["cat", "Cat ", "bird", None])
    labels, details = Multiclass.read_labels(raw, config)
    assert labels[0] == "cat"
    assert details.to_dict() == {
        1: "must be one of cat, dog; got 'Cat '; write 'cat'",
        2: "must be one of cat, dog; got 'bird'",
    }


def test_loss_of_flat_logits_is_the_logarithm_of_the_number_of_classes():
    loss = COLOURS.loss(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    assert loss.item() == pytest.approx(np.log(3))


def test_loss_is_sklearns_log_loss_over_the_labelled_rows():
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [9.0, 0.0, 0.0]])
    loss = COLOURS.loss(logits, torch.tensor([0, 1, -1]))
    expected = reference.log_loss(
        [0, 1], torch.softmax(logits[:2].double(), dim=1), labels=[0, 1, 2]
    )
    assert loss.item() == pytest.approx(expected)


def test_rows_without_a_label_give_no_loss_and_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    COLOURS.loss(logits, torch.tensor([-1, -1])).backward()
    assert logits.grad.abs().max() == 0


LOGITS = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([0, 1, 2, 0, -1, 1, 1, 0, 2])
WEIGHTS = {"red": 0.2, "green": 3.0, "blue": 1.0}


def train_by(**loss):
    return Multiclass(COLOURS.classes, ClassLoss(**loss)).training_loss(LOGITS, LABELS).item()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [{}, WEIGHTS])
@pytest.mark.parametrize(
    "focal", [0.0, 1e-12]
)  # the limit of focal loss is the same by other means
def test_weights_and_smoothing_are_those_of_torch(weights, smoothing, focal):
    expected = torch.nn.functional.cross_entropy(
        LOGITS,
        LABELS,
        weight=torch.tensor(list(weights.values())).double() if weights else None,
        ignore_index=-1,
        label_smoothing=smoothing,
    )
    found = train_by(weights=weights, label_smoothing=smoothing, focal=focal)
    assert found == pytest.approx(expected.item())


@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_focal_loss_is_that_of_the_paper(focal):
    odds, labels = np.exp(LOGITS[LABELS >= 0].numpy()), LABELS[LABELS >= 0].numpy()
    of_label = odds[np.arange(8), labels] / odds.sum(axis=1)
    expected = -((1 - of_label) ** focal) * np.log(of_label)  # equation 4
    assert train_by(focal=focal) == pytest.approx(expected.mean())


def test_balanced_weights_are_sklearns():
    labels = pd.Series(["a", "b", "b", "c", "c", "c", "c", None])
    config = TargetConfig(kind="multiclass", column="x", loss={"class_weights": "balanced"})
    found = Multiclass.fit(labels, config, where="t").objective.weights
    expected = compute_class_weight("balanced", classes=np.array(list("abc")), y=labels.dropna())
    assert found == pytest.approx(dict(zip("abc", expected, strict=True)))


def test_a_class_without_a_weight_weighs_1():
    config = TargetConfig(kind="multiclass", column="x", loss={"class_weights": {"b": 4.0}})
    target = Multiclass.fit(pd.Series(list("abc")), config, where="t")
    assert target.objective.weights == {"a": 1.0, "b": 4.0, "c": 1.0}


def test_the_constant_answer_is_the_share_of_each_class():
    shares = COLOURS.constant(np.array([0, 0, 1, 2, -1]))
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25])
    assert COLOURS.answer(shares[None]) == ["red"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_metrics_of_summed_tallies_are_those_of_sklearn(pairs):
    true, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    tally = COLOURS.tally(true, one_hot(predicted)).sum(axis=0)

    found = {name: value[0] for name, value in COLOURS.metrics(tally[None]).items()}

    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, predicted))
    expected = reference.f1_score(true, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    np.testing.assert_array_equal(
        COLOURS.confusion(tally), reference.confusion_matrix(true, predicted, labels=[0, 1, 2])
    )


@pytest.mark.parametrize("seed", range(10))  # some without a row of a class
def test_averages_over_classes_are_sklearns(seed):
    true, predicted = np.random.default_rng(seed).integers(0, 3, (2, 6))
    found = COLOURS.metrics(COLOURS.tally(true, one_hot(predicted)).sum(axis=0)[None])
    weighted = reference.f1_score(true, predicted, average="weighted", zero_division=0)
    assert found["weighted_f1"] == pytest.approx(weighted)
    recalls = reference.recall_score(true, predicted, labels=np.unique(true), average="macro")
    assert found["balanced_accuracy"] == pytest.approx(recalls)


def test_scores_of_probabilities_are_sklearns():
    rng = np.random.default_rng(0)
    true, shares = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    shares[0] = np.eye(3)[1 - true[0]]  # wrong beyond doubt
    found = COLOURS.metrics(COLOURS.tally(true, shares).sum(axis=0)[None])
    brier = reference.brier_score_loss(true, shares, labels=[0, 1, 2], scale_by_half=False)
    assert found["brier"] == pytest.approx(brier)
    assert found["log_loss"] == pytest.approx(reference.log_loss(true, shares, labels=[0, 1, 2]))
    accuracy = reference.balanced_accuracy_score(true, shares.argmax(axis=1))
    assert found["balanced_accuracy"] == pytest.approx(accuracy)


def test_many_resamples_are_scored_at_once_as_one_by_one():
    tallies = np.random.default_rng(0).integers(0, 9, size=(20, 11))
    together = COLOURS.metrics(tallies)
    for place in range(20):
        for name, value in COLOURS.metrics(tallies[place : place + 1]).items():
            assert together[name][place] == pytest.approx(value[0])


def test_recalls_are_sklearns_and_nan_without_a_row():
    true, predicted = np.array([0, 0, 0, 1]), np.array([0, 2, 0, 0])
    found = COLOURS.class_recalls(COLOURS.tally(true, one_hot(predicted)).sum(axis=0)[None])
    expected = reference.recall_score(
        true, predicted, labels=[0, 1, 2], average=None, zero_division=np.nan
    )
    np.testing.assert_allclose([found[name][0] for name in COLOURS.classes], expected)


def test_a_claim_is_the_top_probability_and_surprises_where_it_is_wrong():
    labels, shares = np.array([0, 2]), np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]])
    confidence, correct = COLOURS.confidences(labels, shares)
    assert (confidence.tolist(), correct.tolist()) == ([0.5, 0.7], [True, False])
    assert COLOURS.surprise(labels, shares).tolist() == [0.0, 0.7]


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], []])
def test_classes_that_are_not_several_names_are_refused_before_any_work(classes):
    config = TargetConfig(kind="multiclass", column="x", classes=classes)
    with pytest.raises(ConfigError, match=r"`targets\.t\.classes` must be at least 2 different"):
        load_target(config, where="targets.t")
