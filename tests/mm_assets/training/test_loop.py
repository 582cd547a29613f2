import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.config import FusionConfig, TrainConfig
from mm_assets.contracts.errors import TrainingError
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.calibration import fit_trust, measure_gains
from mm_assets.training.examples import Examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel
from mm_assets.training.objective import drop_modalities
from mm_assets.training.scoring import predict_logits, score_views, views

TARGETS = {"side": Multiclass(("left", "right"))}
QUICK = TrainConfig(epochs=4)
WEIGHTS = {"side": 1.0}


def make_rows(count, seed, *, missing=0.2):
    """Rows whose side shows plainly in modality `clear`, not at all in modality `noise`."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(0, 2, (count,), generator=generator)
    clear = torch.randn(count, 4, generator=generator)
    clear[:, 0] += 4 * side
    noise = torch.randn(count, 3, generator=generator)
    presence = torch.rand(count, 2, generator=generator) >= missing
    presence[~presence.any(dim=1), 0] = True
    return Examples({"clear": clear, "noise": noise}, presence, {"side": side})


def build(members=2):
    torch.manual_seed(0)
    encoders = {"clear": {"dim": 4}, "noise": {"dim": 3}}
    return FusionModel(encoders, TARGETS, FusionConfig(dim=8, dropout=0.2), members=members)


def fit(model, *, train=None, validation=None, config=QUICK, seed=3):
    return train_model(
        model,
        make_rows(400, 1) if train is None else train,
        make_rows(100, 2) if validation is None else validation,
        config=config,
        weights=WEIGHTS,
        seed=seed,
    )


def test_a_trained_model_reaches_the_best_possible_accuracy():
    model, rows = build(), make_rows(4000, 9, missing=0)
    fit(model, config=TrainConfig(epochs=30, learning_rate=1e-2))
    # Two unit normals 4 apart are told apart with probability Phi(2).
    bound = 0.5 * (1 + math.erf(2 / math.sqrt(2)))
    for names in (("clear",), ("clear", "noise")):
        answers = predict_logits(model, rows.offer(*names))["side"].argmax(dim=1)
        assert (answers == rows.labels["side"]).float().mean() > bound - 0.015


def test_the_curve_starts_untrained_and_falls():
    curve = fit(build())
    assert [epoch.epoch for epoch in curve] == list(range(len(curve)))
    assert min(e.validation_loss for e in curve) < curve[0].validation_loss


def test_equal_seeds_give_equal_models_and_other_seeds_do_not():
    def weights(seed):
        model = build()
        fit(model, seed=seed)
        return model.state_dict()

    one, two, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = build()
    torch.manual_seed(5)
    fit(model)
    assert torch.equal(torch.rand(3), expected)


def test_the_kept_weights_are_those_of_the_best_epoch():
    model, validation = build(), make_rows(100, 2)
    train = make_rows(60, 1)
    train.labels["side"].copy_(make_rows(60, 7).labels["side"])  # nothing to learn but by heart
    config = TrainConfig(epochs=30, patience=30, learning_rate=0.03)
    curve = fit(model, train=train, validation=validation, config=config)
    best = min(epoch.validation_loss for epoch in curve)
    assert best < 0.9 * curve[-1].validation_loss
    model.temperature.fill_(1), model.trust.fill_(1)  # the curve is of uncalibrated losses
    assert score_views(model, validation, WEIGHTS) == pytest.approx(best)


def test_training_stops_when_the_validation_loss_no_longer_falls():
    curve = fit(build(), config=TrainConfig(epochs=200, patience=3, learning_rate=0.1))
    kept = min(curve, key=lambda epoch: epoch.validation_loss)
    assert curve[-1].epoch == kept.epoch + 3 < 200


def test_views_are_the_rows_as_they_are_and_each_modality_alone():
    rows = make_rows(50, 0)
    found = views(rows)
    assert list(found) == ["as_given", "clear", "noise"]
    assert torch.equal(found["as_given"].shown, rows.presence)
    assert found["as_given"].rows.all()
    assert torch.equal(found["noise"].rows, rows.presence[:, 1])
    assert found["noise"].shown.tolist() == [[False, True]] * 50


def test_the_validation_loss_is_the_mean_over_views():
    model, rows = build().eval(), make_rows(50, 0)
    losses = [
        torch.nn.functional.cross_entropy(model(v.vectors, v.presence)["side"], v.labels["side"])
        for v in (rows, rows.offer("clear"), rows.offer("noise"))
    ]
    assert score_views(model, rows, {"side": 2.0}) == pytest.approx(2 * sum(losses).item() / 3)


@given(st.integers(0, 2**31), st.floats(0, 0.99))
def test_modality_dropout_adds_nothing_and_never_hides_everything(seed, share):
    generator = torch.Generator().manual_seed(seed)
    presence = torch.rand(30, 4, generator=generator) < 0.6
    shown = drop_modalities(presence, share, generator=generator)
    assert not (shown & ~presence).any()
    assert torch.equal(shown.any(dim=1), presence.any(dim=1))


def test_modality_dropout_hides_the_stated_share_and_spares_fairly():
    generator = torch.Generator().manual_seed(0)
    presence = torch.ones(40_000, 2, dtype=torch.bool)
    shown = drop_modalities(presence, 0.5, generator=generator)
    # Both hidden in a quarter of rows; one of them is then kept: 1/2 + 1/4 * 1/2.
    torch.testing.assert_close(
        shown.float().mean(dim=0), torch.full((2,), 0.625), atol=0.01, rtol=0
    )
    assert torch.equal(drop_modalities(presence, 0.0, generator=generator), presence)


def test_a_modality_that_speaks_of_training_rows_alone_loses_trust():
    train, model = make_rows(400, 1), build()
    train.vectors["noise"][:, 0] += 4 * train.labels["side"]  # means nothing on other rows
    fit(model, train=train, config=TrainConfig(epochs=30, learning_rate=1e-2))
    clear, noise = model.trust.tolist()
    assert clear > 0.5
    assert noise <= 0.25


def test_the_search_for_trust_never_raises_the_validation_loss():
    model, validation = build(), make_rows(100, 2)
    before = score_views(model, validation, WEIGHTS)
    fit_trust(model, validation, WEIGHTS)
    assert score_views(model, validation, WEIGHTS) <= before


def test_gains_are_nats_below_the_constant_answer():
    model, train, validation = build(), make_rows(400, 1), make_rows(400, 2)
    fit(model, train=train, validation=validation, config=TrainConfig(learning_rate=1e-2))
    gains = measure_gains(model, train, validation)
    assert 0.5 < gains["clear"]["side"] < math.log(2)  # no answer can gain more than its entropy
    assert gains["noise"]["side"] < 0.02


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_vectors_that_are_not_finite_stop_training_with_their_modality(value):
    train = make_rows(100, 1)
    train.vectors["noise"][torch.nonzero(train.presence[:, 1])[7], 0] = value
    with pytest.raises(
        TrainingError,
        match=r"epoch 0: the validation loss is nan, because 1 of the 'noise' vectors",
    ):
        fit(build(), train=train)


def test_a_loss_that_explodes_names_the_learning_rate():
    with pytest.raises(TrainingError, match=r"clear, noise are finite; lower `train\.learning_r"):
        fit(build(), config=TrainConfig(learning_rate=1e30))


def test_training_needs_rows_of_both_splits():
    rows = make_rows(10, 1)
    nothing = rows.take(torch.zeros(10, dtype=torch.bool))
    with pytest.raises(TrainingError, match=r"at least 1 validation row, got 0; change `split`"):
        fit(build(), train=rows, validation=nothing)
