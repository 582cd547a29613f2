"""What holds for every kind of target."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError, TrainingError
from mm_assets.targets.base import find_target, list_kinds, load_target

# Raw cells of each kind, with a null among them; every class occurs.
RAW = {
    "binary": ["no", "yes", None, "yes", "no", "yes"],
    "multiclass": ["red", "green", None, "blue", "red", "red"],
    "multilabel": ["a|b", "[]", None, "b", '["c", "a"]', "c"],
    "regression": ["1.5", "-2", None, "1e3", "7", "7"],
}


# A loss of each kind that is as far from the plain one as it can be.
LOSS = {
    "binary": {"positive_weight": "balanced", "focal": 0.5, "label_smoothing": 0.1},
    "multiclass": {"class_weights": "balanced", "focal": 0.5, "label_smoothing": 0.1},
    "multilabel": {"positive_weight": "balanced", "focal": 0.5, "label_smoothing": 0.1},
    "regression": {"huber": 0.5},
}


def read(kind, raw=None):
    config = TargetConfig(kind=kind, column="x")
    labels, illegal = find_target(kind).read_labels(pd.Series(raw or RAW[kind]), config)
    assert illegal.empty
    assert pd.api.types.is_string_dtype(illegal)
    return labels


def fit(kind, loss=None):
    labels = read(kind)
    config = TargetConfig(kind=kind, column="x", loss=loss or {})
    target = load_target(config, where="targets.x").fit(labels, config, where="x")
    return target, target.encode(labels, where="x")


def draw_logits(target, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    width = target.head(4).out_features
    return torch.randn(rows, width, generator=generator)


def test_the_list_of_kinds_is_the_files():
    assert list_kinds() == sorted(RAW)


@pytest.mark.parametrize("kind", RAW)
class TestEveryKind:
    def test_null_stays_null_and_is_not_known(self, kind):
        target, encoded = fit(kind)
        assert read(kind).isna().tolist() == [False, False, True, False, False, False]
        assert target.is_known(encoded).tolist() == [True, True, False, True, True, True]

    def test_kept_labels_survive_a_parquet_file(self, kind, tmp_path):
        labels = read(kind).rename("x")
        labels.to_frame().to_parquet(tmp_path / "x.parquet")
        again = pd.read_parquet(tmp_path / "x.parquet")["x"]
        target, encoded = fit(kind)
        np.testing.assert_array_equal(target.encode(again, where="x"), encoded)

    def test_a_column_of_nulls_has_no_known_label(self, kind):
        target, _ = fit(kind)
        labels = find_target(kind).read_labels(
            pd.Series([None, None]), TargetConfig(kind=kind, column="x")
        )[0]
        assert not target.is_known(target.encode(labels, where="x")).any()
        assert target.outline(labels).empty

    def test_a_null_gives_the_loss_of_leaving_the_row_out(self, kind):
        target, encoded = fit(kind)
        logits, labels = draw_logits(target, 6), torch.tensor(encoded)
        known = torch.tensor(target.is_known(encoded))
        whole, part = target.loss(logits, labels), target.loss(logits[known], labels[known])
        torch.testing.assert_close(whole, part)

    def test_nulls_alone_give_no_loss_and_no_gradient(self, kind):
        target, encoded = fit(kind)
        logits = draw_logits(target, 2).requires_grad_()
        loss = target.loss(logits, torch.tensor(encoded[[2, 2]]))
        loss.backward()
        assert loss == 0
        assert logits.grad.abs().max() == 0

    def test_nulls_alone_teach_nothing_by_any_loss(self, kind):
        target, encoded = fit(kind, LOSS[kind])
        logits = draw_logits(target, 2).requires_grad_()
        loss = target.training_loss(logits, torch.tensor(encoded[[2, 2]]))
        loss.backward()
        assert loss == 0
        assert logits.grad.abs().max() == 0

    @pytest.mark.parametrize("scale", [1, 100])  # answers without doubt, right and wrong
    def test_a_null_leaves_the_gradients_of_the_other_rows_finite(self, kind, scale):
        for target, encoded in (fit(kind), fit(kind, LOSS[kind])):
            logits = (scale * draw_logits(target, 6)).requires_grad_()
            target.training_loss(logits, torch.tensor(encoded)).backward()
            assert logits.grad.isfinite().all()
            assert logits.grad[2].abs().max() == 0

    def test_by_default_the_training_loss_is_the_loss(self, kind):
        target, encoded = fit(kind)
        logits, labels = draw_logits(target, 6), torch.tensor(encoded)
        assert target.training_loss(logits, labels) == target.loss(logits, labels)

    def test_another_training_loss_leaves_the_proper_one_alone(self, kind):
        (plain, encoded), (other, _) = fit(kind), fit(kind, LOSS[kind])
        logits, labels = draw_logits(plain, 6), torch.tensor(encoded)
        assert other.loss(logits, labels) == plain.loss(logits, labels)
        assert other.training_loss(logits, labels) != plain.training_loss(logits, labels)

    def test_training_losses_of_parts_add_up(self, kind):
        target, encoded = fit(kind, LOSS[kind])
        logits, labels = draw_logits(target, 6), torch.tensor(encoded)
        parts = [
            target.training_loss_sum(logits[part], labels[part])
            for part in (slice(0, 2), slice(2, 3), slice(3, 6))
        ]
        loss, weight = (torch.stack(column).sum() for column in zip(*parts, strict=True))
        torch.testing.assert_close(loss / weight, target.training_loss(logits, labels))
        assert parts[1] == (0, 0)  # the null

    def test_the_state_as_json_keeps_the_training_loss(self, kind):
        target, encoded = fit(kind, LOSS[kind])
        again = find_target(kind).from_state(json.loads(json.dumps(target.state())))
        assert again.state() == target.state()
        logits, labels = draw_logits(target, 6), torch.tensor(encoded)
        assert again.training_loss(logits, labels) == target.training_loss(logits, labels)

    def test_a_plain_loss_leaves_no_trace_in_the_state(self, kind):
        # So that older states are read, and encoders that learned before are found in the store.
        assert "loss" not in fit(kind)[0].state()

    def test_pseudo_labels_are_the_sure_answers(self, kind):
        target, _ = fit(kind)
        probabilities = target.probabilities(draw_logits(target, 200)).numpy()
        if not target.pseudo_labelled:
            with pytest.raises(TrainingError, match=r"need a target that says how sure .* regre"):
                target.pseudo_labels(probabilities, 0.8)
            return
        labels = target.pseudo_labels(probabilities, 0.8)
        known = target.is_known(labels)
        assert 0 < known.sum() < 200
        assert target.surprise(labels[known], probabilities[known]).max() == 0
        everything = target.pseudo_labels(probabilities, 0.0)
        sure, right = target.confidences(everything, probabilities)
        assert right.all()
        assert (known == (sure.reshape(200, -1) >= 0.8).all(axis=1)).all()

    def test_no_constant_has_less_loss_than_the_one_given(self, kind):
        target, encoded = fit(kind)
        best = torch.from_numpy(target.constant_logits(encoded))

        def blind(logits):
            return target.loss(logits.expand(6, -1), torch.tensor(encoded)).item()

        for seed in range(20):
            step = 0.3 * draw_logits(target, 1, seed)[0]
            assert blind(best + step) >= blind(best) - 1e-6

    def test_no_constant_answer_has_a_better_headline_than_the_one_given(self, kind):
        target, encoded = fit(kind)
        labels = encoded[target.is_known(encoded)]

        def score(answer):
            tally = target.tally(labels, np.tile(answer, (len(labels), 1))).sum(axis=0)
            return target.metrics(tally[None])[target.headline][0]

        best = score(target.constant(encoded))
        for seed in range(20):
            other = target.probabilities(draw_logits(target, 1, seed))[0].numpy()
            assert score(other) <= best + 1e-12

    def test_its_state_as_json_rebuilds_it(self, kind):
        target, encoded = fit(kind)
        again = find_target(kind).from_state({"name": "x", "kind": kind, **target.state()})
        logits = draw_logits(target, 6)
        assert again.state() == target.state()
        assert again.classes == target.classes
        torch.testing.assert_close(again.probabilities(logits), target.probabilities(logits))
        np.testing.assert_array_equal(again.encode(read(kind), where="x"), encoded)

    def test_answers_are_written_as_labels_are_kept(self, kind):
        target, _ = fit(kind)
        answers = target.answer(target.probabilities(draw_logits(target, 6)).numpy())
        labels, illegal = target.read_labels(
            pd.Series(answers), TargetConfig(kind=kind, column="x")
        )
        assert illegal.empty
        assert target.is_known(target.encode(labels, where="x")).all()

    def test_a_right_answer_is_no_surprise_and_a_wrong_one_is(self, kind):
        target, encoded = fit(kind)
        labels = encoded[target.is_known(encoded)]
        answers = target.probabilities(draw_logits(target, len(labels))).numpy()
        surprise = target.surprise(labels, answers)
        if target.has_classes:
            _, correct = target.confidences(labels, answers)
            right = correct.reshape(len(labels), -1).all(axis=1)
            assert not right.all()
            assert (surprise > 0).tolist() == (~right).tolist()
        else:
            assert (surprise > 0).all()
            assert target.surprise(labels, labels[:, None]).max() == 0

    def test_lines_for_a_person_name_every_class(self, kind):
        target, _ = fit(kind)
        lines = target.as_lines(target.probabilities(draw_logits(target, 1)).numpy()[0])
        assert len(lines) == max(len(target.classes), 1)
        assert {line.split()[0] for line in lines} >= set(target.classes)

    def test_an_unknown_option_is_refused_with_its_place(self, kind):
        config = TargetConfig(kind=kind, column="x", options={"colour": 1})
        with pytest.raises(ConfigError, match=r"`targets\.x\.options\.colour` is not a known key"):
            load_target(config, where="targets.x")

    def test_an_unknown_loss_is_refused_with_its_place(self, kind):
        config = TargetConfig(kind=kind, column="x", loss={"colour": 1})
        with pytest.raises(ConfigError, match=r"`targets\.x\.loss\.colour` is not a known key"):
            load_target(config, where="targets.x")


@pytest.mark.parametrize(
    ("kind", "loss", "message"),
    [
        ("multiclass", {"class_weights": "even"}, r"class_weights`: must be balanced, a mapping "),
        ("multiclass", {"class_weights": {"a": 0}}, r"class_weights`: must be balanced, a mapping"),
        (
            "binary",
            {"positive_weight": -1.0},
            r"positive_weight`: must be balanced, a weight above",
        ),
        ("multilabel", {"positive_weight": {"a": "b"}}, r"balanced, a weight above 0, a mapping f"),
        ("multiclass", {"focal": -1}, r"loss\.focal`: input should be greater than or equal to 0"),
        ("binary", {"label_smoothing": 1}, r"loss\.label_smoothing`: input should be less than 1"),
        ("regression", {"huber": 0}, r"loss\.huber`: input should be greater than 0, got 0"),
        ("regression", {"focal": 1.0}, r"loss\.focal` is not a known key .*known here: huber"),
    ],
)
def test_a_loss_that_is_none_is_refused_in_one_line(kind, loss, message):
    config = TargetConfig(kind=kind, column="x", loss=loss)
    with pytest.raises(ConfigError, match=r"has 1 problem:\n  `targets\.x\..*" + message):
        load_target(config, where="targets.x")


@pytest.mark.parametrize(
    ("kind", "key"), [("multiclass", "class_weights"), ("multilabel", "positive_weight")]
)
@pytest.mark.parametrize("classes", [None, ["a", "b", "c"]])
def test_a_weight_of_no_class_is_named(kind, key, classes):
    config = TargetConfig(kind=kind, column="x", classes=classes, loss={key: {"d": 2.0}})
    with pytest.raises(
        ConfigError, match=rf"`targets\.x\.loss\.{key}` must name only a, b, c, got 'd'"
    ):
        load_target(config, where="targets.x").fit(read(kind, ["a", "b", "c"]), config, where="x")


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError,
        match=r"`targets\.x\.kind` must be one of binary, multiclass, multilabel, regression, got "
        r"'ranking'",
    ):
        load_target(TargetConfig(kind="ranking", column="x"), where="targets.x")


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("multiclass", ["a", "b", "c", None], ["a", "b", None, None]),
        ("multilabel", ["a", "b|a", "c|a", "c"], ['["a"]', '["a", "b"]', '["a"]', "[]"]),
        ("regression", ["1", "2", "3", None], [1, 2, 3, None]),
    ],
)
def test_what_no_training_row_has_is_forgotten(kind, raw, expected):
    labels = find_target(kind).forget_unseen(read(kind, raw), np.array([True, True, False, False]))
    assert [None if pd.isna(label) else label for label in labels] == expected
