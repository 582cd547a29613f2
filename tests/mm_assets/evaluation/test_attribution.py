import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mm_assets.contracts.config import FusionConfig
from mm_assets.contracts.errors import WeightsError
from mm_assets.contracts.workspace import Workspace
from mm_assets.encoders.base import load_encoder
from mm_assets.encoders.weights import find_weights
from mm_assets.evaluation.attribution import (
    Channel,
    attribute,
    average_inputs,
    build_forward,
    choose_rows,
    show_attribution,
    weigh_answer,
)
from mm_assets.fusion.steps import Steps
from mm_assets.modalities.audio import Waveform
from mm_assets.modalities.base import load_modality
from mm_assets.targets.multiclass import Multiclass
from mm_assets.targets.regression import Regression
from mm_assets.training.examples import Examples
from mm_assets.training.model import FusionModel

WEIGHTS = Workspace(Path(__file__).parents[3]).weights


def make_channel(kind, encoder, network=None, options=(), weights=Path(), **asked):
    return Channel(
        load_modality(kind, dict(options), {}, where="modalities.x"),
        load_encoder(encoder, asked, kind=kind, weights=weights, where="modalities.x.encoder"),
        network or nn.Identity(),
    )


def decode(channel, cell, folder=Path()):
    return channel.modality.decode(cell, folder)


def test_log_odds():
    answers = torch.tensor([[0.7, 0.2, 0.1], [1 - 3e-9, 2e-9, 1e-9]])
    found = weigh_answer(answers, 0, exclusive=True)
    assert found[0].item() == pytest.approx(math.log(0.7 / 0.3), abs=1e-6)
    # The others' own shares tell the odds where 1 - p has no digit left.
    assert weigh_answer(answers, 0, exclusive=True)[1].item() == pytest.approx(math.log(1 / 1e-7))
    apart = weigh_answer(torch.tensor([[0.9, 0.8]]), 1, exclusive=False)
    assert apart.item() == pytest.approx(math.log(0.8 / 0.2), abs=1e-5)
    assert weigh_answer(torch.tensor([[3.5]]), 0, exclusive=True).item() == 3.5


def test_vectors_have_the_gradients_closed_form():
    channel = make_channel("features", "standardized", options={"dim": 3})
    # Of a sum of cubes each part is x^3 from 0, and x^3 - b^3 from elsewhere.

    def cubes(vectors):
        return (vectors**3).sum(dim=1)

    found = attribute(cubes, channel, decode(channel, "[1, -2, 3]"))
    np.testing.assert_allclose(found.parts, [1, -8, 27], rtol=1e-4)
    assert (found.before, found.after, found.method) == (0, 20, "integrated gradients")
    assert abs(found.gap) < 1e-3
    reference = average_inputs(channel, ["[0, 1, 1]", "[2, 1, 3]"], Path())
    np.testing.assert_array_equal(reference["vector"], [[1, 1, 2]])
    shifted = attribute(cubes, channel, decode(channel, "[1, -2, 3]"), reference)
    np.testing.assert_allclose(shifted.parts, [0, -9, 19], atol=1e-3)


class LeftHalf(nn.Module):
    """Looks at the left half of a picture alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, pixels):
        maps = self.conv(pixels.permute(0, 3, 1, 2).float() / 255)
        return torch.tanh(maps[..., : maps.shape[-1] // 2]).mean(dim=(2, 3))


def test_pixels_that_are_not_looked_at_get_nothing_and_the_others_add_up():
    network = LeftHalf()
    channel = make_channel("image", "small_cnn", network, size_px=32)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    found = attribute(lambda pixels: network(pixels).sum(dim=1), channel, picture)
    assert found.parts.shape == (3, 32, 32)
    assert np.abs(found.parts[..., 16:]).max() == 0
    assert np.abs(found.parts[..., :16]).max() > 0
    assert found.gap == pytest.approx(0, abs=1e-3)
    assert found.parts.sum() == pytest.approx(found.after - found.before, abs=1e-3)
    page = show_attribution(found, channel, picture)
    assert page.startswith('<img alt="blue speaks for the answer, red against it"')
    assert "data:image/jpeg;base64," in page


def test_columns_and_events_are_left_out_in_turn():
    options = {"columns": {"age": "numeric", "plan": "categorical", "debt": "numeric"}}
    channel = make_channel("tabular", "tabular", options=options)
    row = {"age": 2.0, "plan": None, "debt": 5.0}
    found = attribute(lambda numbers, _: torch.nan_to_num(numbers).sum(dim=1), channel, row)
    assert (found.method, found.before, found.gap) == ("occlusion", None, None)
    assert list(found.pieces) == ["age: 2", "debt: 5"]
    np.testing.assert_allclose(found.parts, [2, 5])
    assert "debt: 5 (+5.000)" in show_attribution(found, channel, row)

    channel = make_channel("events", "event_counts")
    history = decode(channel, json.dumps([[0, "view"], [3, "buy", 20], [9, "view"]]))
    found = attribute(lambda _, numbers: numbers[:, :, 2].sum(dim=1), channel, history)
    assert list(found.pieces) == ["view at 0 s", "buy at 3 s: 20", "view at 9 s"]
    np.testing.assert_allclose(found.parts, [0, 20, 0])


def test_words_that_are_counted_are_left_out_in_turn_and_escaped():
    channel = make_channel("text", "hashed_ngrams")
    text = decode(channel, "all <b>& well</b")
    found = attribute(lambda buckets, weights: weights.sum(dim=1), channel, text)
    assert found.method == "occlusion"
    assert "".join(found.pieces).strip() == text
    page = str(show_attribution(found, channel, text))
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page


class CountWords(nn.Module):
    """Adds one number per word."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(1 + 2**17, 1, padding_idx=0)
        with torch.no_grad():
            self.table.weight[1:] = torch.arange(2**17)[:, None] % 7

    def forward(self, ids, mask):
        return (self.table(ids)[..., 0] * mask).sum(dim=1)


def test_embedded_words_get_what_their_vectors_add():
    network = CountWords()
    channel = make_channel("text", "text_cnn", network)
    text = decode(channel, "The bill, the bill")
    found = attribute(network, channel, text)
    ids = channel.collate(text)["ids"][0]
    expected = [float((number - 1) % 7) for number in ids]
    assert list(found.pieces[::2]) == ["the", "bill", ",", "the", "bill"]
    np.testing.assert_allclose(found.parts[::2], expected, atol=1e-4)
    assert found.gap == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_tokens_of_a_real_encoder_add_up_to_the_words_of_the_text():
    try:
        find_weights(WEIGHTS, "minilm")
    except WeightsError as error:
        pytest.skip(str(error))
    channel = make_channel("text", "minilm", weights=WEIGHTS)
    network = channel.encoder.network()
    channel = Channel(channel.modality, channel.encoder, network)
    torch.manual_seed(0)
    head = torch.randn(384)
    text = "My parcel never arrived!  Unbelievably slow."
    value = decode(channel, text)
    found = attribute(lambda *arrays: network(*arrays) @ head, channel, value)
    assert "".join(found.pieces) == value
    assert {"parcel", "Unbelievably", "!"} <= set(found.pieces)
    assert abs(found.gap) <= 0.05 * max(abs(found.after - found.before), 1)
    spaces = [part for piece, part in zip(found.pieces, found.parts, strict=True) if piece == " "]
    assert spaces == [0] * len(spaces)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_pixels_and_samples_of_real_encoders_add_up(kind):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    if kind == "image":
        try:
            find_weights(WEIGHTS, "efficientnet_lite0")
        except WeightsError as error:
            pytest.skip(str(error))
        asked = {"size_px": 64, "weights": WEIGHTS}
        channel = make_channel("image", "efficientnet_lite0", **asked)
        value = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((64, 64))
    else:
        channel = make_channel("audio", "voice_functionals")
        time = np.arange(16_000) / 16_000
        tone = np.sin(2 * np.pi * 180 * time) * (1 + np.sin(2 * np.pi * 4 * time)) / 4
        value = Waveform((tone + 0.01 * rng.normal(size=16_000)).astype(np.float32), 16_000)
    network = channel.encoder.network()
    channel = Channel(channel.modality, channel.encoder, network)
    head = torch.randn(channel.encoder.dim()) / 20
    found = attribute(lambda *arrays: torch.tanh(network(*arrays) @ head), channel, value)
    assert abs(found.gap) <= 0.05 * np.abs(found.parts).sum()
    assert found.parts.sum() == pytest.approx(found.after - found.before + found.gap, abs=1e-5)


def test_sound_is_shown_over_time():
    options = {"channels": 2, "rate_hz": 10.0}
    channel = make_channel("signal", "signal_statistics", options=options, channels=2)
    value = decode(channel, json.dumps(np.random.default_rng(0).normal(size=(2, 100)).tolist()))

    def late(samples, length):
        return (samples[:, :, 50:] ** 2).sum(dim=(1, 2))

    found = attribute(late, channel, value)
    assert np.abs(found.parts[:, :50]).max() == 0
    assert found.gap == pytest.approx(0, abs=0.05)
    page = str(show_attribution(found, channel, value))
    assert page.count("<rect") == 80
    assert page.count('height="0.0"') == 30  # of 2 samples each, then of one


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("sequence", [False, True])
def test_the_chain_answers_as_the_model_does(grouped, sequence):
    torch.manual_seed(0)
    target = Multiclass(("a", "b", "c"))
    encoders = {"x": {"name": "x", "dim": 3, "sequence": sequence}, "y": {"name": "y", "dim": 2}}
    context = {"name": "gru"} if grouped else None
    config = FusionConfig.model_validate({"dim": 4, "context": context})
    model = FusionModel(encoders, {"mood": target}, config).eval()
    own = torch.randn(5, 4, 3)
    vectors = {"x": Steps(own, torch.ones(5, 4, dtype=torch.bool)) if sequence else own[:, 0]}
    rows = Examples(
        vectors | {"y": torch.randn(5, 2)},
        torch.ones(5, 2, dtype=torch.bool),
        {"mood": torch.zeros(5, dtype=torch.int64)},
        torch.tensor([0, 1, 0, 1, 0]) if grouped else None,
    )
    expected = model.probabilities(rows.vectors, rows.presence, rows.groups)["mood"]
    for number in (2, 3):
        forward = build_forward(
            model, rows, number, "x", Passing(sequence), target="mood", column=1
        )
        arrays = own[number][None] if sequence else own[number, :1]
        found = forward(arrays.repeat(2, *[1] * (arrays.ndim - 1)))
        odds = expected[number, 1] / (1 - expected[number, 1])
        torch.testing.assert_close(found.float(), odds.log().repeat(2), rtol=1e-4, atol=1e-5)


class Passing(nn.Module):
    """Gives what it is given, as an encoder would."""

    def __init__(self, sequence):
        super().__init__()
        self.sequence = sequence

    def forward(self, vectors):
        if not self.sequence:
            return vectors
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool)


def test_the_surest_wrong_answers_and_right_ones_of_different_classes_are_chosen():
    target = Multiclass(("a", "b"))
    probabilities = np.array(
        [[0.9, 0.1], [0.2, 0.8], [0.99, 0.01], [0.95, 0.05], [0.4, 0.6], [0.3, 0.7]]
    )
    labels = np.array([1, 0, 0, 0, 1, 0])
    chosen = choose_rows(target, labels, probabilities, 2)
    assert chosen == [(0, False), (1, False), (2, True), (4, True)]
    assert choose_rows(target, labels, probabilities, 0) == []
    number = Regression(0.0, 1.0)
    near = choose_rows(number, np.array([1.0, 2.0, 3.0]), np.array([[1.0], [5.0], [3.5]]), 1)
    assert near == [(1, False), (0, True)]
