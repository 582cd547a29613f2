import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, DataContractError, TrainingError
from mm_assets.targets.base import load_target
from mm_assets.targets.multiclass import ClassLoss
from mm_assets.targets.multilabel import Multilabel

TAGS = Multilabel(("loud", "tender", "fast"))


def configure(classes=None, loss=None, **options):
    return TargetConfig(
        kind="multilabel", column="x", classes=classes, options=options, loss=loss or {}
    )


def read(raw, **config):
    labels, illegal = Multilabel.read_labels(pd.Series(raw), configure(**config))
    return [None if pd.isna(label) else label for label in labels], illegal.to_dict()


@pytest.mark.parametrize(
    "cell", ["b|a", " a | b ", "a|b|a", '["a", "b"]', ["b", "a"], ("a", "b"), np.array(["a", "b"])]
)
def test_every_way_to_write_a_set_is_kept_alike(cell):
    raw = pd.Series([None, cell], dtype=object)
    assert read(raw) == ([None, '["a", "b"]'], {})


@pytest.mark.parametrize("cell", [[], "[]", np.array([])])
def test_an_empty_list_is_a_known_set_without_any_label(cell):
    labels, illegal = read(pd.Series([cell, "a"], dtype=object))
    assert (labels, illegal) == (["[]", '["a"]'], {})


@pytest.mark.parametrize("cell", [None, "", "  ", np.nan])
def test_an_empty_cell_is_null(cell):
    assert read([cell, "a"]) == ([None, '["a"]'], {})


def test_numbers_may_be_names():
    assert read([7.0, None, 8.0]) == (['["7"]', None, '["8"]'], {})
    assert read(["[7, 8]"]) == (['["7", "8"]'], {})


def test_the_separator_may_be_another():
    assert read(["a; b|c"], separator=";") == (['["a", "b|c"]'], {})


@pytest.mark.parametrize("cell", ["a||b", "|", "[1, null]", '[["a"]]', "[a", '{"a": 1}|'])
def test_what_is_no_list_of_names_is_illegal(cell):
    labels, illegal = read(["a", cell])
    assert labels == ['["a"]', None]
    assert illegal == {1: f"must be a list of names, or names separated by '|'; got '{cell}'"}


def test_a_name_that_is_no_class_is_illegal_and_named():
    _, illegal = read(["a|b", "b|x|c"], classes=["a", "b"])
    assert illegal == {1: "must name only a, b; got 'c'"}


def test_the_outline_has_an_entry_for_each_label_of_a_row():
    labels = pd.Series(['["a", "b"]', None, "[]", '["b"]'], index=[4, 5, 6, 7])
    found = Multilabel.outline(labels)
    assert list(found.items()) == [(4, "a"), (4, "b"), (7, "b")]


def test_labels_become_marks_and_null_is_unknown():
    found = TAGS.encode(pd.Series(['["fast", "loud"]', None, "[]"]), where="t")
    assert found.tolist() == [[1, 0, 1], [-1, -1, -1], [0, 0, 0]]


def test_a_label_that_was_not_settled_is_named():
    with pytest.raises(DataContractError, match=r"'t' knows the labels loud, .*, got 'slow'"):
        TAGS.encode(pd.Series(['["slow"]']), where="t")


def test_loss_is_sklearns_log_loss_averaged_over_labels():
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [9.0, 0.0, 0.0]]).double()
    labels = torch.tensor([[1, 0, 0], [0, 0, 1], [-1, -1, -1]])
    shares = TAGS.probabilities(logits)[:2].numpy()
    expected = [reference.log_loss(labels[:2, at], shares[:, at], labels=[0, 1]) for at in range(3)]
    assert TAGS.loss(logits, labels).item() == pytest.approx(np.mean(expected))


def test_the_training_loss_is_torchs_and_torchvisions():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([[1, 0, 0], [0, 0, 1], [-1, -1, -1], [1, 1, 1], [0, 0, 0]])
    known, yes = labels[:, 0] >= 0, labels[[0, 1, 3, 4]].double()
    weights = {"loud": 0.5, "tender": 3.0, "fast": 1.0}

    def train_by(**loss):
        return Multilabel(TAGS.classes, (), ClassLoss(**loss)).training_loss(logits, labels).item()

    expected = F.binary_cross_entropy_with_logits(
        logits[known], yes * 0.8 + 0.1, pos_weight=torch.tensor([0.5, 3.0, 1.0]).double()
    )
    assert train_by(weights=weights, label_smoothing=0.2) == pytest.approx(expected.item())
    expected = sigmoid_focal_loss(logits[known], yes, alpha=-1, gamma=1.5, reduction="mean")
    assert train_by(focal=1.5) == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, {}),
        (2.0, {"a": 2.0, "b": 2.0, "c": 2.0}),
        ({"b": 2.0}, {"a": 1.0, "b": 2.0, "c": 1.0}),
        ("balanced", {"a": 3.0, "b": 1.0, "c": 0.5 / 4}),  # noes to yeses; c in every row
    ],
)
def test_a_yes_weighs_what_is_asked(asked, expected):
    labels = pd.Series(['["a", "b", "c"]', '["b", "c"]', '["c"]', '["c"]', None])
    target = Multilabel.fit(labels, configure(loss={"positive_weight": asked}), where="t")
    assert target.objective.weights == expected


def test_the_constants_logits_are_log_odds_and_finite():
    labels = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0], [-1, -1, -1]])
    found = 1 / (1 + np.exp(-TAGS.constant_logits(labels)))
    np.testing.assert_allclose(found, [1 - 0.5 / 4, 0.25, 0.25])


@given(
    arrays(bool, (12, 3)),
    arrays(np.float64, (12, 3), elements=st.floats(0.01, 0.99)),
    st.tuples(*[st.floats(0.1, 0.9)] * 3),
)
def test_metrics_of_summed_tallies_are_those_of_sklearn(true, shares, thresholds):
    target = Multilabel(TAGS.classes, thresholds)
    predicted = shares >= np.array(thresholds)
    tallies = target.tally(true.astype(np.int64), shares).sum(axis=0)[None]
    found = {name: value[0] for name, value in target.metrics(tallies).items()}
    counted = (true | predicted).any(axis=0)  # the others have no F1
    macro = reference.f1_score(true, predicted, average="macro", zero_division=np.nan)
    micro = reference.f1_score(true, predicted, average="micro", zero_division=1)
    assert found["macro_f1"] == pytest.approx(macro if counted.any() else 1)
    assert found["micro_f1"] == pytest.approx(micro)
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(true, predicted))
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(true, predicted))
    recalls = target.class_recalls(tallies)
    expected = reference.recall_score(true, predicted, average=None, zero_division=np.nan)
    np.testing.assert_allclose([recalls[name][0] for name in target.classes], expected)


def score(target, true, shares):
    tally = target.tally(true.astype(np.int64), shares).sum(axis=0)
    return {name: value[0] for name, value in target.metrics(tally[None]).items()}


@pytest.mark.parametrize("seed", range(10))
def test_averages_over_labels_are_sklearns(seed):
    rng = np.random.default_rng(seed)
    true, shares = rng.random((6, 3)) < [0.2, 0.5, 0.9], rng.random((6, 3))
    found, predicted = score(TAGS, true, shares), shares >= 0.5
    weighted = reference.f1_score(true, predicted, average="weighted", zero_division=0)
    assert found["weighted_f1"] == pytest.approx(weighted)
    recalls, squares, logs = [], [], []
    for has, yes, share in zip(true.T, predicted.T, shares.T, strict=True):
        sides = np.unique(has)
        recalls.append(reference.recall_score(has, yes, labels=sides, average="macro"))
        squares.append(reference.brier_score_loss(has, share, labels=[0, 1], pos_label=1))
        logs.append(reference.log_loss(has, share, labels=[0, 1]))
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["brier"] == pytest.approx(np.mean(squares))
    assert found["log_loss"] == pytest.approx(np.mean(logs))


@pytest.mark.parametrize(("share", "expected"), [(0.1, 1), (0.9, 0)])
def test_where_no_row_has_a_label_none_is_right_and_any_is_wrong(share, expected):
    found = score(TAGS, np.zeros((4, 3), bool), np.full((4, 3), share))
    names = ("macro_f1", "micro_f1", "weighted_f1", "balanced_accuracy", "exact_match")
    assert [found[name] for name in names] == [expected] * 5


@pytest.mark.slow
@given(
    arrays(bool, (15, 2)),
    arrays(np.float64, (15, 2), elements=st.sampled_from([0.1, 0.2, 0.35, 0.5, 0.8, 0.95])),
)
def test_no_threshold_has_a_higher_f1_than_the_one_fitted(has, shares):
    target = Multilabel(("a", "b"))
    target.fit_thresholds(has.astype(np.int64), shares)
    for at in range(2):
        if not has[:, at].any():
            assert target.thresholds[at] == 0.5
            continue
        _, _, cuts = reference.precision_recall_curve(has[:, at], shares[:, at])
        best = max(reference.f1_score(has[:, at], shares[:, at] >= cut) for cut in cuts)
        fitted = shares[:, at] >= target.thresholds[at]
        assert reference.f1_score(has[:, at], fitted) == pytest.approx(best)
        assert np.abs(shares[:, at] - target.thresholds[at]).min() > 0.01  # no tie on a last bit


def test_thresholds_decide_the_answer_and_are_kept():
    target = Multilabel(("a", "b"), (0.2, 0.9))
    shares = np.array([[0.3, 0.8], [0.1, 0.95]])
    assert target.answer(shares) == ['["a"]', '["b"]']
    again = Multilabel.from_state(json.loads(json.dumps(target.state())))
    assert again.answer(shares) == ['["a"]', '["b"]']


def test_each_decision_is_a_claim_and_the_worst_wrong_one_surprises():
    target = Multilabel(("a", "b"), (0.5, 0.9))
    labels, shares = np.array([[1, 1], [0, 0]]), np.array([[0.7, 0.8], [0.6, 0.95]])
    stated, right = target.confidences(labels, shares)
    np.testing.assert_allclose(stated, [0.7, 0.2, 0.6, 0.95])
    assert right.tolist() == [True, False, False, False]
    np.testing.assert_allclose(target.surprise(labels, shares), [0.2, 0.95])


def test_a_person_reads_yes_and_no_and_a_program_both_sets_and_shares():
    target = Multilabel(("a", "b"), (0.5, 0.9))
    probabilities = np.array([0.625, 0.75], np.float32)
    assert target.as_json(probabilities) == {
        "labels": ["a"],
        "probabilities": {"a": 0.625, "b": 0.75},
    }
    assert [line.split() for line in target.as_lines(probabilities)] == [
        ["b", "no", "75.0%", "(yes", "from", "90.0%)"],
        ["a", "yes", "62.5%", "(yes", "from", "50.0%)"],
    ]


def test_one_label_alone_is_refused_with_the_kind_to_choose():
    with pytest.raises(TrainingError, match=r"at least 2 labels, got 1 \(a\).*kind binary"):
        Multilabel.fit(pd.Series(['["a"]', "[]"]), configure(), where="t")
    with pytest.raises(ConfigError, match=r"`targets\.t\.classes` must be at least 2 different"):
        load_target(configure(["a"]), where="targets.t")


def test_labels_that_all_rows_have_leave_nothing_to_learn():
    with pytest.raises(TrainingError, match=r"a label that some .* lack, but all 2 .* have a, b;"):
        Multilabel.fit(pd.Series(['["a", "b"]', None] * 2), configure(), where="t")


def test_a_label_that_no_training_row_shows_is_refused():
    with pytest.raises(TrainingError, match=r"no training row with label c.*targets\.t\.classes"):
        Multilabel.fit(pd.Series(['["a", "b"]']), configure(["a", "b", "c"]), where="t")
