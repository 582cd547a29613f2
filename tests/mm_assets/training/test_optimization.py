import math

import pytest
import torch
from torch import nn

from mm_assets.contracts.config import FinetuneConfig, FusionConfig, TrainConfig
from mm_assets.contracts.errors import ConfigError
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.model import FusionModel
from mm_assets.training.optimization import build_average, build_optimizer, build_schedule


def build(tuned=None):
    targets = {"side": Multiclass(("left", "right"))}
    return FusionModel({"a": {"dim": 3}}, targets, FusionConfig(dim=4), tuned=tuned)


def rates(config, steps):
    optimizer = build_optimizer(build(), config)
    schedule = build_schedule(optimizer, config, steps=steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_the_optimizer_is_the_one_that_is_named(name, kind):
    config = TrainConfig(optimizer=name, learning_rate=0.5, weight_decay=0.25, momentum=0.75)
    optimizer = build_optimizer(build(), config)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert group.get("momentum", 0.75) == 0.75


def test_the_rate_stays_where_nothing_is_said():
    assert rates(TrainConfig(learning_rate=0.1), 5) == [0.1] * 5


def test_the_rate_rises_to_its_height_and_falls_along_a_cosine():
    config = TrainConfig(learning_rate=1.0, warmup=0.2, decay="cosine")
    found = rates(config, 20)
    assert found[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[4:] == pytest.approx([(1 + math.cos(math.pi * t / 16)) / 2 for t in range(16)])


def test_the_cosine_is_pytorchs_own():
    theirs = build_optimizer(build(), TrainConfig(learning_rate=0.3))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=10)
    expected = []
    for _ in range(10):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        schedule.step()
    assert rates(TrainConfig(learning_rate=0.3, decay="cosine"), 10) == pytest.approx(expected)


def test_the_average_is_the_geometric_one():
    model = build()
    average = build_average(model, TrainConfig(ema=0.75))
    first = [p.detach().clone() for p in model.parameters()]
    average.update_parameters(model)  # the first is taken as it is
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    average.update_parameters(model)
    for mean, old in zip(average.module.parameters(), first, strict=True):
        torch.testing.assert_close(mean.detach(), 0.75 * old + 0.25 * (old + 1))


def test_a_tuned_encoder_has_a_rate_of_its_own_and_keeps_frozen_weights():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    asked = {"a": FinetuneConfig(learning_rate=0.01, frozen=["0."])}
    model = build({"a": network})
    optimizer = build_optimizer(model, TrainConfig(learning_rate=0.1, finetune=asked))
    fusion, tuned = optimizer.param_groups
    assert (fusion["lr"], tuned["lr"]) == (0.1, 0.01)
    assert [id(p) for p in tuned["params"]] == [id(p) for p in network[1].parameters()]
    assert not any(p.requires_grad for p in network[0].parameters())


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (["2."], r"`train\.finetune\.a\.frozen` must name weights .* 0\.bias, 0\.weight, 1\.bias"),
        (["0.", "1."], r"`train\.finetune\.a\.frozen` leaves no weight to be trained"),
    ],
)
def test_freezing_nothing_or_everything_is_refused(frozen, message):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    config = TrainConfig(finetune={"a": FinetuneConfig(frozen=frozen)})
    with pytest.raises(ConfigError, match=message):
        build_optimizer(build({"a": network}), config)
