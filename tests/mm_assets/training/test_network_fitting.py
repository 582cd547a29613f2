import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import TrainingError
from mm_assets.encoders.learned import LearnedEncoder, LearnedOptions
from mm_assets.targets.base import find_target
from mm_assets.training.network_fitting import (
    BOLDEST_LOGIT,
    fit_network,
    supervised_loss,
)
from mm_assets.training.spool import Spool
from mm_assets.training.supervision import Supervision

CPU = torch.device("cpu")


class Network(nn.Module):
    """One hidden layer; its own loss rebuilds the input from the vector."""

    def __init__(self, numbers, dim):
        super().__init__()
        self.hidden, self.vector = nn.Linear(numbers, 256), nn.Linear(256, dim)
        self.norm, self.dropout = nn.BatchNorm1d(256), nn.Dropout(0.1)
        self.rebuilt = nn.Linear(dim, numbers)

    def forward(self, vector):
        assert len(vector) > 1 or not self.training
        return self.vector(self.dropout(torch.relu(self.norm(self.hidden(vector)))))

    def self_supervised_loss(self, vector):
        return nn.functional.mse_loss(self.rebuilt(self(vector)), vector)


class Perceptron(LearnedEncoder):
    name = "perceptron"
    kind = "features"
    objectives = ("supervised", "contrastive", "reconstruction")

    def inputs(self):
        return {"dim": 8}

    def body(self, constants):
        return Network(8, self.options.dim)


@pytest.fixture
def build():
    def build(**options):
        return Perceptron(LearnedOptions(**options), Path())

    return build


@pytest.fixture
def spool(tmp_path):
    """Forty rows of eight numbers."""
    with Spool(tmp_path) as spool:
        for vector in np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32):
            spool.add({"vector": vector[None]})
        yield spool


def supervise(**labels):
    """Make a target per column: text is a class, a number itself; null stays unknown."""
    targets, encoded = {}, {}
    for name, column in labels.items():
        series = pd.Series(column)
        kind = "regression" if pd.api.types.is_numeric_dtype(series) else "multiclass"
        config = TargetConfig(kind=kind, column=name)
        targets[name] = find_target(kind).fit(series, config, where=name)
        encoded[name] = targets[name].encode(series, where=name)
    return Supervision(targets, encoded, dict.fromkeys(targets, 1.0))


def fit(encoder, spool, rows=None, *, partners=None, supervision=None, seed=0):
    return fit_network(
        encoder,
        spool,
        np.arange(len(spool)) if rows is None else np.asarray(rows),
        partners=np.full(len(spool), -1) if partners is None else np.asarray(partners),
        supervision=supervision,
        seed=seed,
        device=CPU,
        title="fit x",
    )


def run(encoder, state, spool):
    arrays = spool.take(range(len(spool)))
    with torch.inference_mode():
        return encoder.network(state)(*map(torch.from_numpy, arrays.values())).numpy()


def test_it_learns_several_targets_at_once_and_gives_their_logits_side_by_side(build, spool):
    vectors = spool.take(range(40))["vector"]
    classes = np.array(["a", "b", "c"], object)[vectors[:, :3].argmax(axis=1)]
    classes[::7] = None  # not every row is labelled for every target
    supervision = supervise(letter=classes, number=vectors[:, 3] * 10 + 5)

    encoder = build(epochs=60)
    state = fit(encoder, spool, supervision=supervision)
    logits = run(encoder, state, spool)

    assert encoder.dim(state) == 4
    assert logits.shape == (40, 4)
    known = np.not_equal(classes, None)
    assert (np.array(["a", "b", "c"])[logits[known, :3].argmax(axis=1)] == classes[known]).all()
    told = supervision.targets["number"].probabilities(torch.from_numpy(logits[:, 3:])).numpy()
    assert np.corrcoef(told[:, 0], vectors[:, 3])[0, 1] > 0.98


def test_it_starts_from_the_answers_that_look_at_nothing(build, spool):
    supervision = supervise(letter=list("aaab") * 10, number=[1.0, 2.0, 3.0, 6.0] * 10)

    encoder = build(epochs=1, learning_rate=1e-12, weight_decay=0.0)
    logits = run(encoder, fit(encoder, spool, supervision=supervision), spool)

    expected = [*np.log([0.75, 0.25]), 0.0]
    np.testing.assert_allclose(logits, np.tile(expected, (40, 1)), atol=1e-6)


def test_a_class_that_these_rows_lack_starts_improbable_and_finite(build, spool):
    supervision = supervise(letter=list("aaab") * 10)

    encoder = build(epochs=1, learning_rate=1e-12, weight_decay=0.0)
    state = fit(encoder, spool, np.arange(0, 40, 4), supervision=supervision)

    np.testing.assert_allclose(state["answers.bias"], [0, -BOLDEST_LOGIT], atol=1e-6)


@pytest.mark.parametrize("objective", ["supervised", "contrastive", "reconstruction"])
def test_equal_seeds_give_equal_states_and_disturb_nobody(build, spool, objective):
    supervision = supervise(letter=list("ab") * 20)
    encoder = build(objective=objective, epochs=2)

    torch.manual_seed(5)
    first = fit(encoder, spool, supervision=supervision)
    after = torch.rand(3)
    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    second = fit(encoder, spool, supervision=supervision)
    other = fit(encoder, spool, supervision=supervision, seed=1)

    assert torch.equal(after, undisturbed)
    assert all((first[name] == second[name]).all() for name in first)
    assert (first["body.vector.weight"] != other["body.vector.weight"]).any()
    assert any(name.startswith("answers.") for name in first) == (objective == "supervised")


@pytest.mark.parametrize("objective", ["supervised", "contrastive", "reconstruction"])
def test_rows_that_must_not_be_learnt_from_change_nothing(build, tmp_path, objective):
    states = []
    for strange in (0.0, 100.0):
        vectors = np.random.default_rng(0).normal(size=(20, 1, 8)).astype(np.float32)
        vectors[12:] = strange
        with Spool(tmp_path) as spool:
            for vector in vectors:
                spool.add({"vector": vector})
            state = fit(
                build(objective=objective, epochs=2),
                spool,
                range(12),
                partners=[-1] * 8 + [12, 13, 14, 15] + [-1] * 8,  # their copies are strange
                supervision=supervise(letter=list("ab") * 6 + ["a" if strange else "b"] * 8),
            )
        states.append(state)

    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_own_objectives_learn(build, spool):
    encoder = build(objective="reconstruction", epochs=80, dim=8)
    state = fit(encoder, spool)
    vectors = spool.take(range(40))["vector"]

    rebuilt = run(encoder, state, spool) @ state["body.rebuilt.weight"].T
    errors = rebuilt + state["body.rebuilt.bias"] - vectors
    assert encoder.dim(state) == 8
    assert (errors**2).mean() < 0.3 * (vectors**2).mean()


def test_contrast_brings_copies_nearer_than_strangers(build, tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(60, 8))
    copies = samples + np.concatenate([np.zeros((60, 4)), 3 * rng.normal(size=(60, 4))], axis=1)
    encoder = build(objective="contrastive", epochs=60)
    with Spool(tmp_path) as spool:
        for vector in np.concatenate([samples, copies]):
            spool.add({"vector": vector[None].astype(np.float32)})
        partners = [*range(60, 120), *[-1] * 60]
        rows = [*range(40), *range(60, 100)]
        vectors = run(encoder, fit(encoder, spool, rows, partners=partners), spool)

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[40:60] @ unit[100:].T  # of samples that were not learnt from
    own = np.diag(cosines)
    assert own.mean() > cosines.mean() + 0.4


@pytest.mark.parametrize(("rows", "size"), [(2, 2), (3, 2), (33, 32), (40, 7)])
def test_no_batch_has_a_single_row(build, spool, rows, size):
    fit(build(objective="reconstruction", epochs=1, batch_size=size), spool, range(rows))


def test_a_single_row_is_refused(build, spool):
    with pytest.raises(TrainingError, match=r"fit x: encoder perceptron needs at least 2 .* got 1"):
        fit(build(objective="reconstruction"), spool, [3])


def test_a_target_without_any_label_at_hand_is_named(build, spool):
    supervision = supervise(letter=list("ab") * 10 + [None] * 20)

    with pytest.raises(TrainingError, match=r"learns target 'letter', but none of the 20 rows"):
        fit(build(), spool, range(20, 40), supervision=supervision)


@pytest.mark.parametrize("supervision", [None, Supervision({}, {}, {})])
def test_supervision_without_a_target_is_refused(build, spool, supervision):
    with pytest.raises(TrainingError, match=r"is supervised and needs a target, got none"):
        fit(build(), spool, supervision=supervision)


def test_a_loss_that_is_not_finite_names_the_array_or_the_rate(build, spool):
    with pytest.raises(TrainingError, match=r"in epoch \d+: .*; lower `learning_rate`"):
        fit(build(objective="reconstruction", learning_rate=1e30), spool)

    spool.add({"vector": np.full((1, 8), np.nan, dtype=np.float32)})
    message = re.escape("because 'vector' of a row is not; quarantine such rows")
    with pytest.raises(TrainingError, match=message):
        fit(build(objective="reconstruction"), spool)


def test_supervised_networks_follow_the_loss_that_is_asked_for():
    config = TargetConfig(
        kind="multiclass", column="side", loss={"class_weights": {"l": 1.0, "r": 4.0}}
    )
    target = find_target("multiclass").fit(pd.Series([*"llr"]), config, where="side")
    logits, labels = torch.randn(3, 2), np.array([0, 0, 1])
    supervision = Supervision({"side": target}, {"side": labels}, {"side": 2.0})
    found = supervised_loss({"side": logits}, np.arange(3), supervision)
    expected = nn.functional.cross_entropy(
        logits, torch.from_numpy(labels), weight=torch.tensor([1.0, 4.0])
    )
    torch.testing.assert_close(found, 2 * expected)
