import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mm_assets.contracts.config import FusionConfig
from mm_assets.targets.multiclass import Multiclass
from mm_assets.targets.regression import Regression
from mm_assets.training.calibration import fit_part_temperatures, fit_temperature
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel

COIN = Multiclass(("heads", "tails"))


@pytest.mark.parametrize("share", [0.65, 0.75, 0.9])
@pytest.mark.parametrize("gap", [0.5, 2.0, 9.0])
def test_the_temperature_makes_confidence_equal_accuracy(share, gap):
    # With one gap between the logits, the best temperature maps it to the log odds of being right.
    right = round(200 * share)
    labels = torch.tensor([0] * right + [1] * (200 - right))
    logits = torch.tensor([gap, 0.0]).expand(200, 2)

    found = fit_temperature(logits, labels, COIN)

    assert found == pytest.approx(gap / math.log(share / (1 - share)), rel=1e-3)


@given(st.floats(0.3, 3.0))
def test_scaling_the_logits_scales_the_temperature(factor):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 2, generator=generator)
    labels = torch.multinomial(torch.softmax(logits / 1.5, dim=1), 1, generator=generator)[:, 0]
    base = fit_temperature(logits, labels, COIN)
    assert fit_temperature(factor * logits, labels, COIN) == pytest.approx(factor * base, rel=1e-3)


def test_rows_without_a_label_do_not_count():
    logits = torch.tensor([[2.0, 0.0]] * 4)
    labels = torch.tensor([0, 0, 0, 1])
    more = torch.cat([logits, torch.full((5, 2), 9.0)])
    unlabelled = torch.cat([labels, torch.full((5,), -1)])
    assert fit_temperature(more, unlabelled, COIN) == fit_temperature(logits, labels, COIN)
    assert fit_temperature(logits, torch.full((4,), -1), COIN) == 1.0


def test_a_model_that_is_always_right_gets_a_bounded_temperature():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert 1 / 20 <= fit_temperature(logits, torch.tensor([0, 1]), COIN) < 0.2
    assert 10 < fit_temperature(logits, torch.tensor([1, 0]), COIN) <= 20


def test_each_pooled_answer_is_calibrated_on_the_rows_that_have_its_modality():
    model = FusionModel(
        {"text": {"dim": 1}, "voice": {"dim": 1}},
        {"coin": COIN, "tosses": Regression(mean=0.0, scale=1.0)},
        FusionConfig(name="late", dim=2),
        members=2,
    ).eval()
    gaps = [[4.0, 0.5], [2.0, 1.0]]  # by member and modality, whatever the row
    for member, own in zip(model.members, gaps, strict=True):
        for head, gap in zip(member.heads[0].parts, own, strict=True):
            head.weight.data.zero_()
            head.bias.data = torch.tensor([gap, 0.0])
    # The text is right in 70 of 100 rows, and in 45 of the 50 that have a voice.
    coin = torch.tensor([0] * 45 + [1] * 5 + [0] * 25 + [1] * 25)
    rows = Examples(
        vectors={"text": torch.randn(100, 1), "voice": torch.randn(100, 1)},
        presence=torch.stack([torch.ones(100), torch.arange(100) < 50], dim=1).bool(),
        labels={"coin": coin, "tosses": torch.randn(100, dtype=torch.float64)},
    )
    fit_part_temperatures(model, rows)
    for member, own in zip(model.members, gaps, strict=True):
        expected = [own[0] / math.log(7 / 3), own[1] / math.log(9)]
        assert member.heads[0].temperature.tolist() == pytest.approx(expected, rel=1e-3)
        assert member.heads[1].temperature.tolist() == [1.0, 1.0]  # a number has no confidence
