"""Encoders that read log-mel bands: mel_cnn, mel_lstm and logmel_functionals."""

import numpy as np
import pandas as pd
import pytest
import torch

from mm_assets.contracts.config import TargetConfig
from mm_assets.contracts.errors import ConfigError
from mm_assets.modalities.audio import Waveform
from mm_assets.modalities.base import load_modality
from mm_assets.targets.base import find_target
from mm_assets.training.network_fitting import fit_network
from mm_assets.training.spool import Spool
from mm_assets.training.supervision import Supervision

RATE_HZ = 16_000
LEARNED = ["mel_cnn", "mel_lstm"]


def sweep(start_hz, end_hz, duration_s=0.5):
    frequency_hz = np.geomspace(start_hz, end_hz, round(duration_s * RATE_HZ))
    samples = 0.3 * np.sin(2 * np.pi * np.cumsum(frequency_hz) / RATE_HZ)
    return Waveform(samples.astype(np.float32), RATE_HZ)


WAVES = [sweep(300, 1000), sweep(2000, 400, 0.9), sweep(500, 600, 0.7)]


@pytest.fixture
def make(build, give_state):
    """Build an encoder and its network, as if fitted."""

    def make(name, outputs=None, **options):
        encoder = build(name, "audio", **options)
        state = give_state(encoder, outputs=outputs) if encoder.fitted else None
        return encoder, encoder.network(state), state

    return make


@pytest.mark.parametrize("name", [*LEARNED, "logmel_functionals"])
def test_a_vector_has_the_stated_length_and_ignores_its_neighbours(make, encode, name):
    encoder, network, state = make(name)
    alone, beside = encode(encoder, network, WAVES[:1]), encode(encoder, network, WAVES)
    assert alone.shape == (1, encoder.dim(state))
    np.testing.assert_allclose(beside[0], alone[0], atol=1e-4)
    assert np.abs(beside[0] - beside[1]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LEARNED, "logmel_functionals"])
def test_the_exported_graph_agrees(make, compare_export, name):
    encoder, network, _ = make(name, outputs=4)
    assert compare_export(encoder, network, WAVES) < 1e-4


@pytest.mark.parametrize("name", LEARNED)
def test_in_training_it_hears_each_time_something_else(make, name):
    encoder, *_ = make(name)
    torch.manual_seed(0)
    body = encoder.body({}).train()
    for module in body.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.eval()
    arrays = torch.from_numpy(WAVES[0].samples[None]), torch.tensor([len(WAVES[0].samples)])
    assert not torch.allclose(body(*arrays), body(*arrays))
    body.eval()
    assert torch.equal(body(*arrays), body(*arrays))


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("mel_cnn", [0.0166, 0.005, 0.0406, 0.0399]),
        ("mel_lstm", [0.0229, 0.0432, -0.0786, 0.0494]),
        ("logmel_functionals", [-9.8916, -8.8634, -7.5284, -5.4499]),
    ],
)
def test_the_golden_vector_is_unchanged(make, encode, name, golden):
    """When this fails because the code computes something else, raise the encoder's version."""
    encoder, network, _ = make(name)
    assert encode(encoder, network, WAVES[:1])[0][:4] == pytest.approx(golden, abs=2e-3)
    assert encoder.version == 1


def test_a_width_that_has_no_eighth_is_refused(build):
    with pytest.raises(ConfigError, match=r"dim.*multiple of 8"):
        build("mel_cnn", "audio", dim=100)


def test_an_objective_of_another_encoder_is_refused(build):
    with pytest.raises(ConfigError, match=r"mel_lstm must be one of supervised, contrastive, got"):
        build("mel_lstm", "audio", objective="masked")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_rising_and_falling_tones_are_told_apart(build, encode, tmp_path, name):
    """By order in time alone: their mean spectra are the same."""
    rng = np.random.default_rng(0)
    encoder = build(name, "audio", epochs=12, batch_size=16, dim=32)
    waves, labels = [], []
    for _ in range(80):
        low, high = rng.uniform(250, 500), rng.uniform(900, 2000)
        rising = rng.random() < 0.5
        waves.append(sweep(low, high) if rising else sweep(high, low))
        labels.append("rising" if rising else "falling")
    kind = load_modality("audio", {}, {}, where="modalities.x")
    config = TargetConfig(kind="multiclass", column="x", classes=["falling", "rising"])
    target = find_target("multiclass").fit(pd.Series(labels), config, where="x")
    encoded = target.encode(pd.Series(labels), where="x")
    with Spool(tmp_path) as spool:
        for wave in waves:
            spool.add(kind.collate([wave], encoder.inputs()))
        state = fit_network(
            encoder,
            spool,
            np.arange(60),
            partners=np.full(80, -1),
            supervision=Supervision({"x": target}, {"x": encoded}, {"x": 1.0}),
            seed=0,
            device=torch.device("cpu"),
            title="fit",
        )
    found = encode(encoder, encoder.network(state), waves[60:]).argmax(axis=1)
    assert np.mean(found == encoded[60:]) >= 0.9
