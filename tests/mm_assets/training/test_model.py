import json
import math

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from mm_assets.contracts.config import FusionConfig
from mm_assets.contracts.errors import StageError
from mm_assets.fusion.steps import Steps
from mm_assets.targets.multiclass import Multiclass
from mm_assets.training.model import (
    FusionModel,
    InputDropout,
    Standardize,
    load_model,
    save_model,
)

ENCODERS = {"voice": {"dim": 3, "fingerprint": "f1"}, "keys": {"dim": 2, "fingerprint": "f2"}}
TARGETS = {"mood": Multiclass(("bad", "good")), "topic": Multiclass(("a", "b", "c"))}


def build(members=2, name="gated"):
    torch.manual_seed(0)
    model = FusionModel(ENCODERS, TARGETS, FusionConfig(name=name, dim=4), members=members)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    return model.eval()


def make_batch(rows=6):
    torch.manual_seed(1)
    presence = torch.rand(rows, 2) < 0.6
    return {"voice": torch.randn(rows, 3), "keys": torch.randn(rows, 2)}, presence


def test_standardisation_is_sklearns():
    rows = torch.randn(50, 4) * torch.tensor([1.0, 10.0, 1e-3, 1e4]) + 5
    layer = Standardize.fit(torch.split(rows, 20))
    found = layer(rows, torch.ones(50, dtype=torch.bool))
    expected = StandardScaler().fit_transform(rows.double().numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_a_constant_dimension_is_not_blown_up():
    rows = torch.full((7, 1), 0.1)
    assert (
        Standardize.fit([rows[:3], rows[3:]])(rows + 1e-6, torch.ones(7, dtype=torch.bool))
        .abs()
        .max()
        < 1e-5
    )


def test_the_answer_to_a_row_uses_training_statistics_not_its_batch():
    model, (vectors, presence) = build(), make_batch()
    alone = model({k: v[:1] for k, v in vectors.items()}, presence[:1])
    torch.testing.assert_close(alone["mood"][0], model(vectors, presence)["mood"][0])


@pytest.mark.parametrize("name", ["gated", "concat"])
def test_nan_in_an_absent_modality_reaches_neither_answer_nor_gradient(name):
    model, (vectors, presence) = build(name=name), make_batch()
    dirty = {
        key: torch.where(presence[:, i : i + 1], matrix, math.nan)
        for i, (key, matrix) in enumerate(vectors.items())
    }
    model.fit_standardization(dirty, presence)
    found = model.probabilities(dirty, presence)
    torch.testing.assert_close(found, model.probabilities(vectors, presence), rtol=0, atol=0)
    torch.stack([p.square().sum() for p in found.values()]).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_what_a_supervised_encoder_answers_is_added_to_the_answer():
    """Two encoders of 2 + 3 logits: with nothing from the fusion their mean is what comes out.

    No dropout takes anything away from it.
    """
    encoders = {
        "voice": {"dim": 5, "folds": 4},
        "face": {"dim": 5, "folds": 4, "sequence": True},
        "keys": {"dim": 2},
    }
    model = FusionModel(encoders, TARGETS, FusionConfig(dim=4, dropout=0.9)).train()
    for name, parameter in model.named_parameters():
        if ".heads." in name:
            torch.nn.init.zeros_(parameter)
    voice, steps, keys = torch.randn(3, 5), torch.randn(3, 4, 5), torch.randn(3, 2)
    there = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    presence = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 0]], dtype=torch.bool)
    voice[1], steps[~there] = math.nan, math.nan
    model.trust[1] = 0.5
    found = model({"voice": voice, "face": Steps(steps, there), "keys": keys}, presence)

    said = torch.stack(
        [
            (voice[0] + 0.5 * steps[0].mean(dim=0)) / 2,
            0.5 * steps[1, :2].mean(dim=0) / 2,
            voice[2] / 2,
        ]
    )
    torch.testing.assert_close(found["mood"], said[:, :2])
    torch.testing.assert_close(found["topic"], said[:, 2:])


def test_logits_are_the_mean_over_members():
    model, (vectors, presence) = build(members=3), make_batch()
    members = model.member_logits(model.project(vectors, presence), presence)
    assert len(members) == 3
    expected = sum(found["topic"] for found in members) / 3
    torch.testing.assert_close(model(vectors, presence)["topic"], expected)


def test_probabilities_are_the_softmax_of_tempered_logits():
    model, (vectors, presence) = build(), make_batch()
    model.temperature.copy_(torch.tensor([2.0, 0.5]))
    logits = model(vectors, presence)
    found = model.probabilities(vectors, presence)
    for name, temperature in (("mood", 2.0), ("topic", 0.5)):
        exponents = np.exp(logits[name].detach().numpy() / temperature)
        expected = exponents / exponents.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[name].detach().numpy(), expected, rtol=1e-4)


def test_a_modality_without_trust_says_the_same_whatever_it_holds():
    model, (vectors, _) = build(), make_batch()
    model.trust.copy_(torch.tensor([1.0, 0.0]))
    everything = torch.ones(6, 2, dtype=torch.bool)
    changed = vectors | {"keys": 5 - vectors["keys"]}
    torch.testing.assert_close(model(vectors, everything), model(changed, everything))
    changed = vectors | {"voice": 5 - vectors["voice"]}
    assert not torch.equal(model(vectors, everything)["mood"], model(changed, everything)["mood"])


def test_the_column_of_presence_belongs_to_the_modality_of_its_place():
    model, (vectors, _) = build(), make_batch()
    only_voice = torch.tensor([[True, False]]).expand(6, 2)
    changed = vectors | {"keys": vectors["keys"] + 1}
    torch.testing.assert_close(model(vectors, only_voice), model(changed, only_voice))
    changed = vectors | {"voice": vectors["voice"] + 1}
    assert not torch.equal(model(vectors, only_voice)["mood"], model(changed, only_voice)["mood"])


def test_a_modality_without_training_rows_is_named():
    vectors, _ = make_batch()
    with pytest.raises(StageError, match=r"modality 'keys' needs at least 1 training row"):
        build().fit_standardization(vectors, torch.tensor([[True, False]]).expand(6, 2))


def test_a_saved_model_answers_the_same_bit_for_bit(tmp_path):
    model, (vectors, presence) = build(), make_batch()
    model.fit_standardization(vectors, torch.ones(6, 2, dtype=torch.bool))
    model.temperature.copy_(torch.tensor([2.0, 0.5]))
    save_model(model, tmp_path)

    again = load_model(tmp_path)

    expected = model.probabilities(vectors, presence)
    torch.testing.assert_close(again.probabilities(vectors, presence), expected, rtol=0, atol=0)
    assert again.modalities == ("voice", "keys")
    assert again.encoders == ENCODERS
    classes = {name: target.classes for name, target in again.targets.items()}
    assert classes == {"mood": ("bad", "good"), "topic": ("a", "b", "c")}
    assert not again.training


def test_equal_models_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_model(build(), tmp_path / name)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_missing_model_says_how_to_make_it(tmp_path):
    with pytest.raises(StageError, match=r"no trained model in .*dvc repro train"):
        load_model(tmp_path)


def test_a_damaged_model_is_told_from_a_missing_one(tmp_path):
    save_model(build(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(StageError, match=r"is damaged .*dvc repro train"):
        load_model(tmp_path)


def test_another_schema_version_is_refused(tmp_path):
    save_model(build(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"schema_version": 0}))
    with pytest.raises(StageError, match=r"has schema version 0, this release reads 4"):
        load_model(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    save_model(build(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"members": 3}))
    with pytest.raises(StageError, match=r"safetensors does not fit config\.json(.|\n)*members\.2"):
        load_model(tmp_path)


def test_input_dropout_is_pytorchs_in_share_and_scale():
    torch.manual_seed(0)
    ours, theirs = InputDropout(0.7), torch.nn.Dropout(0.7)
    ones = torch.ones(400, 5, 100)
    found, expected = ours(ones), theirs(ones)
    torch.testing.assert_close(
        found.unique(), expected.unique(), rtol=1 / 256, atol=0
    )  # 0, 1 / 0.3
    assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.03)
    # Each row, and each place in it, has numbers of its own.
    assert 0.02 < found[:, 0].mean(dim=0).std() < 0.5 > found[:, 0].mean(dim=1).std() > 0.02
    assert ours.eval()(ones) is ones


def test_members_see_inputs_with_other_numbers_dropped():
    model = build(members=2).train()
    with torch.no_grad():
        model.members[1].load_state_dict(model.members[0].state_dict())
    vectors, presence = make_batch(rows=40)
    one, other = model.project(vectors, presence).members
    for first, second, there in zip(one, other, presence.T, strict=True):
        assert not torch.equal(first[there], second[there])


def test_training_projects_used_rows_alone_and_as_answering_does():
    model, (vectors, presence) = build(), make_batch(rows=40)
    model.dropout.share = 0.0
    spoiled = {
        name: torch.where(there[:, None], given, torch.nan)
        for (name, given), there in zip(vectors.items(), presence.T, strict=True)
    }
    trained = model.train().project(spoiled, presence).members
    answered = model.eval().project(vectors, presence).members
    for one, other in zip(trained, answered, strict=True):
        for found, expected, there in zip(one, other, presence.T, strict=True):
            torch.testing.assert_close(found[there], expected[there])
            assert not found[~there].any()


def test_training_projects_used_sequences_alone():
    encoders = {"film": {"dim": 3, "sequence": True}, "keys": {"dim": 2}}
    model = FusionModel(encoders, TARGETS, FusionConfig(name="transformer", dim=4))
    model.dropout.share = 0.0
    presence = torch.tensor([[False, True], [True, False], [True, True]])
    there = torch.tensor([[True] * 3, [True, False, False], [True, True, False]])
    vectors = {"film": Steps(torch.randn(3, 3, 3), there), "keys": torch.randn(3, 2)}
    ((found, _),) = model.train().project(vectors, presence).members
    ((expected, _),) = model.eval().project(vectors, presence).members
    # The first row's three steps are not used, so nobody has a third.
    assert found.there.tolist() == [[False, False], [True, False], [True, True]]
    torch.testing.assert_close(found.flat(), expected[torch.tensor([1, 2])].flat())
