"""What `train.optimizer`, `accumulate`, `clip`, `ema` and `precision` do to the weights."""

import pytest
import torch
from torch.nn import functional as F

from mm_assets.contracts.config import FusionConfig, TrainConfig
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.examples import Examples
from mm_assets.training.loop import train_model
from mm_assets.training.model import FusionModel

PLAIN = {
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "learning_rate": 0.1,
    "modality_dropout": 0.0,
    "batch_size": 128,
    "patience": 1000,
    "seeds": 1,
}


def draw(rows=256, seed=1):
    """Draw rows whose side shows in each of two modalities, all present and labelled."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(0, 2, (rows,), generator=generator)
    vectors = {
        name: torch.randn(rows, dim, generator=generator) for name, dim in (("a", 4), ("b", 3))
    }
    for matrix in vectors.values():
        matrix[:, 0] += 2 * side
    return Examples(vectors, torch.ones(rows, 2, dtype=torch.bool), {"side": side})


def build():
    torch.manual_seed(0)
    encoders = {"a": {"dim": 4}, "b": {"dim": 3}}
    targets = {"side": Multiclass(("left", "right"))}
    return FusionModel(encoders, targets, FusionConfig(name="concat", dim=8, dropout=0.0))


def fit(epochs, rows=None, **options):
    """Give the trained model, after its last epoch, and the curve."""
    model = build()
    rows = draw() if rows is None else rows
    config = TrainConfig(**PLAIN | {"epochs": epochs} | options)
    curve = train_model(model, rows, rows, config=config, weights={"side": 1.0}, seed=3)
    assert min(curve, key=lambda epoch: epoch.validation_loss).epoch == epochs  # those are kept
    return model, curve


def read(model):
    return {name: weights.detach().clone() for name, weights in model.named_parameters()}


def assert_near(found, expected, *, atol):
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, atol=atol, rtol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_takes_the_steps_of_its_definition(momentum, decay):
    rows = draw(128)
    model, _ = fit(3, rows, momentum=momentum, weight_decay=decay)

    mine = build()
    mine.fit_standardization(rows.vectors, rows.presence)
    velocity = {}
    for _ in range(3):  # all rows are one batch, so that their order does not count
        loss = F.cross_entropy(mine(rows.vectors, rows.presence)["side"], rows.labels["side"])
        mine.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name, weights in mine.named_parameters():
                if weights.grad is None:
                    continue
                step = weights.grad + decay * weights
                velocity[name] = momentum * velocity.get(name, 0.0) + step
                weights -= 0.1 * velocity[name]
    assert_near(read(model), read(mine), atol=1e-6)


def test_two_batches_to_a_step_are_one_batch_of_both():
    whole, one = fit(4, batch_size=128)
    halves, other = fit(4, batch_size=64, accumulate=2)
    assert [e.validation_loss for e in one] == pytest.approx(
        [e.validation_loss for e in other], abs=1e-6
    )
    assert_near(read(halves), read(whole), atol=1e-6)
    # It does make a difference: without it there are twice as many steps.
    assert fit(4, batch_size=64)[1][-1].validation_loss < one[-1].validation_loss - 1e-3


def test_a_step_is_no_longer_than_clip_allows():
    rows, untrained = draw(128), read(build())

    def length(**options):
        trained = read(fit(1, rows, learning_rate=0.5, **options)[0])
        moved = [(trained[name] - weights).square().sum() for name, weights in untrained.items()]
        return torch.stack(moved).sum().sqrt().item()

    free = length() / 0.5  # the gradient's own length
    assert free > 0.1
    assert length(clip=0.1) == pytest.approx(0.5 * 0.1, rel=1e-4)
    assert length(clip=2 * free) == pytest.approx(0.5 * free, rel=1e-6)


def test_ema_keeps_the_average_of_the_weights_it_passed():
    rows = draw(128)  # one step an epoch
    passed = [read(fit(epochs, rows)[0]) for epochs in (1, 2, 3, 4)]
    expected = passed[0]
    for weights in passed[1:]:
        expected = {name: 0.6 * expected[name] + 0.4 * weights[name] for name in weights}
    model, _ = fit(4, rows, ema=0.6)
    assert_near(read(model), expected, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.3), ("adam", 0.01), ("adamw", 0.01)])
def test_bf16_trains_to_nearly_the_same_loss(optimizer, rate):
    exact, rough = (
        fit(5, optimizer=optimizer, learning_rate=rate, precision=precision)
        for precision in ("float32", "bf16")
    )
    assert exact[1][-1].validation_loss < exact[1][0].validation_loss - 0.02
    assert rough[1][-1].validation_loss == pytest.approx(exact[1][-1].validation_loss, abs=0.005)
    found, expected = read(rough[0]), read(exact[0])
    assert all(weights.dtype == torch.float32 for weights in found.values())
    assert any(not torch.equal(found[name], weights) for name, weights in expected.items())
