import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from mm_assets.contracts.errors import StageError, TrainingError
from mm_assets.fusion.steps import Steps
from mm_assets.targets.binary import Binary
from mm_assets.targets.multiclass import Multiclass
from mm_assets.targets.multilabel import Multilabel
from mm_assets.targets.regression import Regression
from mm_assets.training.examples import Examples
from mm_assets.training.linear import (
    STRENGTHS,
    fit_linear,
    load_linear,
    measure_linear_gains,
    minimise_loss,
    predict_linear,
    save_linear,
)

SIDE = Multiclass(("left", "middle", "right"))


def make_features(rows=200, dim=6, seed=0):
    torch.manual_seed(seed)
    features = torch.randn(rows, dim)
    return features, features @ torch.randn(dim, 3) + torch.randn(rows, 3)


def fit_head(target, features, labels, strength):
    torch.manual_seed(1)
    head = target.head(features.shape[1])
    minimise_loss(head, target, features, labels, strength=strength)
    with torch.no_grad():
        return target.probabilities(head(features)).numpy()


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_classes_are_told_as_by_scikit_learns_logistic_regression(strength):
    features, scores = make_features()
    labels = scores.argmax(dim=1)
    reference = LogisticRegression(C=1 / (strength * len(labels)), tol=1e-8, max_iter=1000)
    expected = reference.fit(features, labels).predict_proba(features)

    found = fit_head(SIDE, features, labels, strength)

    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_yes_or_no_is_told_as_by_scikit_learns_logistic_regression():
    features, scores = make_features()
    labels = (scores[:, 0] > 0).long()
    reference = LogisticRegression(C=1 / (0.1 * len(labels)), tol=1e-8)
    expected = reference.fit(features, labels).predict_proba(features)

    found = fit_head(Binary(("no", "yes")), features, labels, 0.1)

    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_each_of_several_labels_is_told_as_by_a_logistic_regression_of_its_own():
    features, scores = make_features()
    labels = (scores > 0).long()
    target = Multilabel(("a", "b", "c"))
    scale = 3 * target.loss(torch.zeros(1, 3), labels[:1]).item() / (3 * np.log(2))
    found = fit_head(target, features, labels, 0.1)

    for place in range(3):
        # A loss that is the mean over labels weighs the penalty of each the more.
        reference = LogisticRegression(C=scale / (3 * 0.1 * len(labels)) * 1.0, tol=1e-8)
        expected = reference.fit(features, labels[:, place]).predict_proba(features)[:, 1]
        np.testing.assert_allclose(found[:, place], expected, atol=1e-4)


def test_a_number_is_told_as_by_ridge_regression():
    features, scores = make_features()
    labels = 40 + 7 * scores[:, 0].double()
    target = Regression(labels.mean().item(), labels.std(correction=0).item())
    # Half the mean square of standardised errors: the penalty grows with the rows alone.
    truth = (labels - target.mean) / target.scale
    reference = Ridge(alpha=0.1 * len(labels)).fit(features, truth)
    expected = reference.predict(features) * target.scale + target.mean

    found = fit_head(target, features, labels, 0.1)

    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4 * target.scale)


def test_rows_without_a_label_count_as_if_they_were_not_there():
    features, scores = make_features()
    labels = scores.argmax(dim=1)
    hidden = torch.arange(200) % 3 == 0
    some = torch.where(hidden, -1, labels)
    found = fit_head(SIDE, features, some, 0.1)
    alone = fit_head(SIDE, features[~hidden], labels[~hidden], 0.1)
    np.testing.assert_allclose(found[~hidden.numpy()], alone, atol=1e-4)


@pytest.fixture
def splits():
    """Two modalities, the second a sequence, each absent in some rows; and two targets."""

    def make(rows, seed):
        features, scores = make_features(rows, seed=7)
        features += 0.01 * seed
        steps = features[:, None, 3:] + torch.tensor([-1.0, 1.0, 0.0])[None, :, None]
        there = torch.tensor([True, True, False]).repeat(rows, 1)
        presence = torch.ones(rows, 2, dtype=torch.bool)
        presence[::5, 0] = False
        presence[1::5, 1] = False
        there[1::5] = False
        labels = {"side": scores.argmax(dim=1), "size": scores[:, 0].double()}
        vectors = {"look": features[:, :3], "sound": Steps(steps, there)}
        return Examples(vectors, presence, labels)

    return make(150, 0), make(60, 1)


TARGETS = {"side": SIDE, "size": Regression(0.0, 2.0)}


def test_a_sequence_counts_as_the_mean_of_its_steps(splits):
    train, validation = splits
    linear = fit_linear(train, validation, targets=TARGETS)
    flat = [
        Examples(
            {
                "look": rows.vectors["look"],
                "sound": rows.vectors["sound"].values[:, :2].mean(dim=1),
            },
            rows.presence,
            rows.labels,
        )
        for rows in splits
    ]
    other = fit_linear(*flat, targets=TARGETS)
    for name, logits in predict_linear(linear, validation).items():
        torch.testing.assert_close(logits, predict_linear(other, flat[1])[name])


def test_what_lies_in_an_absent_modality_makes_no_difference(splits):
    train, validation = splits
    before = predict_linear(fit_linear(train, validation, targets=TARGETS), validation)
    for rows in splits:
        rows.vectors["look"][~rows.presence[:, 0]] = torch.nan
    after = predict_linear(fit_linear(train, validation, targets=TARGETS), validation)
    for name in TARGETS:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=0)


def test_noise_is_met_with_the_strongest_penalty_and_a_clear_signal_with_a_weak_one():
    torch.manual_seed(0)
    labels, noise = torch.arange(300) % 3, torch.randn(300, 50)
    clear = torch.nn.functional.one_hot(labels, 3).float() + 0.01 * torch.randn(300, 3)
    found = {}
    for name, vectors in {"noise": noise, "clear": clear}.items():
        rows = Examples({"x": vectors}, torch.ones(300, 1, dtype=torch.bool), {"side": labels})
        halves = rows.take(torch.arange(150)), rows.take(torch.arange(150, 300))
        linear = fit_linear(*halves, targets={"side": SIDE})
        found[name] = linear.strengths["side"], measure_linear_gains(linear, *halves)["side"]
    assert found["noise"][0] == max(STRENGTHS)
    assert found["clear"][0] == min(STRENGTHS)
    assert found["noise"][1] < 0.02 < 1.0 < found["clear"][1] < np.log(3)


def test_thresholds_are_the_models_own(splits):
    torch.manual_seed(0)
    rare = (torch.rand(200, 2) < 0.2).long()
    rows = Examples(
        {"x": torch.randn(200, 2) + rare}, torch.ones(200, 1, dtype=torch.bool), {"tags": rare}
    )
    target = Multilabel(("a", "b"))
    linear = fit_linear(rows, rows, targets={"tags": target})
    assert target.thresholds.tolist() == [0.5, 0.5]
    assert linear.targets["tags"].thresholds.tolist() != [0.5, 0.5]


def test_it_is_saved_and_read_again(splits, tmp_path):
    linear = fit_linear(*splits, targets=TARGETS)
    save_linear(linear, tmp_path)
    again = load_linear(tmp_path)
    assert again.strengths == linear.strengths
    assert list(again.dims) == ["look", "sound"]
    for name, logits in predict_linear(linear, splits[1]).items():
        torch.testing.assert_close(predict_linear(again, splits[1])[name], logits, rtol=0, atol=0)


def test_a_folder_without_one_says_how_to_make_it(tmp_path):
    with pytest.raises(StageError, match=r"no linear model in .*`dvc repro -f baselines`"):
        load_linear(tmp_path)


def test_an_older_file_is_not_guessed_at(splits, tmp_path):
    save_linear(fit_linear(*splits, targets=TARGETS), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"schema_version": 1', '"schema_version": 0'))
    with pytest.raises(StageError, match=r"has schema version 0, this release reads 1; fit it"):
        load_linear(tmp_path)


def test_vectors_that_are_not_finite_are_named(splits):
    train, validation = splits
    train.vectors["look"][1] = torch.inf
    with pytest.raises(TrainingError, match=r"1 of the 'look' vectors are not finite; run `dvc"):
        fit_linear(train, validation, targets=TARGETS)


def test_a_modality_that_no_training_row_has_is_named(splits):
    train, validation = copy.deepcopy(splits)
    train.presence[:, 1] = False
    with pytest.raises(StageError, match=r"modality 'sound' needs at least 1 training row"):
        fit_linear(train, validation, targets=TARGETS)


def test_no_rows_are_told_by_their_split(splits):
    train, validation = splits
    with pytest.raises(TrainingError, match=r"at least 1 validation row, got 0; change `split`"):
        fit_linear(train, validation.take(torch.arange(0)), targets=TARGETS)
