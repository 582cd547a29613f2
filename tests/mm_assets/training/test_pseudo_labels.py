"""Rows without a label teach what the model is sure of, and nothing else."""

import math
from dataclasses import replace

import pytest
import torch

from mm_assets.contracts.config import FusionConfig, PseudoLabelConfig, TrainConfig
from mm_assets.targets.multiclass import Multiclass
from mm_assets.targets.regression import Regression
from mm_assets.training.examples import Examples
from mm_assets.training.loop import fill_labels, train_model
from mm_assets.training.model import FusionModel
from mm_assets.training.scoring import predict_logits

DIM, GAP = 20, 5.0
TARGETS = {"side": Multiclass(("left", "right"))}


def draw(rows, seed, *, known=None):
    """Draw two normal clouds, `GAP` apart; of each, `known` rows have a label, by default all."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(0, 2, (rows,), generator=generator)
    cloud = torch.randn(rows, DIM, generator=generator)
    cloud += GAP / math.sqrt(DIM) * (side - 0.5)[:, None]
    if known is not None:
        for one in (0, 1):
            side[(side == one).nonzero()[known:, 0]] = -1
    return Examples({"cloud": cloud}, torch.ones(rows, 1, dtype=torch.bool), {"side": side})


def build(targets=TARGETS, seed=0):
    torch.manual_seed(seed)
    config = FusionConfig(name="concat", dim=4, dropout=0.0)
    return FusionModel({"cloud": {"dim": DIM}}, targets, config)


def fit(asked, *, seed=0, epochs=40, known=3, watch=None):
    model = build(seed=seed)
    config = TrainConfig(
        epochs=epochs,
        patience=epochs,
        learning_rate=0.02,
        weight_decay=0.0,
        seeds=1,
        pseudo_labels=asked,
    )
    curve = train_model(
        model,
        draw(400, seed, known=known),
        draw(60, 100 + seed),
        config=config,
        weights={"side": 1.0},
        seed=seed,
        watch=watch,
    )
    return model, curve


@pytest.mark.slow
def test_unlabelled_rows_make_answers_to_fresh_rows_better():
    errors = {}
    for asked in (None, PseudoLabelConfig(confidence=0.9)):
        wrong = []
        for seed in range(3):
            model, _ = fit(asked, seed=seed)
            fresh = draw(2000, 200 + seed)
            answers = predict_logits(model, fresh)["side"].argmax(dim=1)
            wrong.append((answers != fresh.labels["side"]).double().mean())
        errors[asked is not None] = torch.stack(wrong)
    assert (errors[True] < errors[False]).all()
    # The best there is: two unit normals `GAP` apart are confused with probability Phi(-GAP / 2).
    bound = 0.5 * math.erfc(GAP / 2 / math.sqrt(2))
    assert errors[True].mean() - bound < 0.5 * (errors[False].mean() - bound)


def test_nothing_is_filled_in_before_the_epoch_that_is_named():
    _, plain = fit(None, epochs=6)
    _, late = fit(PseudoLabelConfig(confidence=0.6, start_epoch=4), epochs=6)
    _, never = fit(PseudoLabelConfig(confidence=0.6, start_epoch=7), epochs=6)
    assert never == plain
    assert late[:4] == plain[:4]  # epochs 0 to 3
    assert late[4] != plain[4]


def test_where_every_row_has_a_label_nothing_changes():
    asked = PseudoLabelConfig(confidence=0.6, start_epoch=1)
    (one, curve), (other, same) = (fit(given, epochs=3, known=None) for given in (None, asked))
    assert curve == same
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("confidence", [0.55, 0.9, 0.999])
def test_labels_are_the_sure_answers_and_those_that_were_known(confidence, grouped):
    targets = {**TARGETS, "grams": Regression(70.0, 10.0)}
    model, rows = build(targets).eval(), draw(300, 1, known=40)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(2)  # so that some answers are sure
    grams = torch.where(torch.arange(300) % 3 == 0, math.nan, 70.0).double()
    groups = torch.arange(300) // 4 if grouped else None
    rows = replace(rows, labels={**rows.labels, "grams": grams}, groups=groups)
    given = rows.labels["side"].clone()

    found = fill_labels(model, rows, PseudoLabelConfig(confidence=confidence)).labels

    best = torch.softmax(predict_logits(model, rows)["side"], dim=1).max(dim=1)
    expected = torch.where(best.values >= confidence, best.indices, -1)
    # What is known stays, though the untrained model would often answer otherwise, and surely.
    known = given >= 0
    assert (expected[known] != given[known]).sum() > 10
    torch.testing.assert_close(found["side"], torch.where(known, given, expected))
    torch.testing.assert_close(found["grams"], grams, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(rows.labels["side"], given)  # the caller's rows are left alone
    added = (found["side"] >= 0) & ~known
    assert added.any()
    assert (found["side"] < 0).any() or confidence < 0.6
