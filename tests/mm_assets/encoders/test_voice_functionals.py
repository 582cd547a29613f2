import numpy as np
import pytest

from mm_assets.modalities.audio import Waveform

RATE_HZ = 16_000


def voice(pitch_hz, duration_s=1.0, amplitude=0.3):
    """A sum of ten harmonics, as a vowel is."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 11))
    return Waveform((amplitude / 2 * harmonics).astype(np.float32), RATE_HZ)


GOLDEN = [-36.8562, 0.08734, -36.7722, -36.9406, -0.00539, 0.17467, 0.00057, 0.0]


@pytest.fixture(scope="module")
def network():
    from mm_assets.encoders.networks.voice_functionals import VoiceFunctionals

    return VoiceFunctionals().eval()


@pytest.fixture
def encoder(build):
    return build("voice_functionals", "audio")


def test_a_vector_has_the_stated_length_and_ignores_its_neighbours(encoder, network, encode):
    short, long = voice(120, 0.7), voice(200, 3.0)
    alone, beside = encode(encoder, network, [short]), encode(encoder, network, [short, long])
    assert alone.shape == (1, encoder.dim()) == (1, network.dim)
    np.testing.assert_allclose(beside[0], alone[0], atol=1e-5)


def test_sound_beyond_max_s_is_not_heard(build, network, encode):
    encoder = build("voice_functionals", "audio", max_s=0.5)
    one, two = voice(120, 1.0), voice(120, 1.0)
    two.samples[8000:] = 0
    vectors = encode(encoder, network, [one, two])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_the_golden_vector_is_unchanged(encoder, network, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, network, [voice(150)])[0]
    np.testing.assert_allclose(vector[::15], GOLDEN, atol=1e-3)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, network, compare_export):
    waves = [voice(100, 0.4), voice(180, 1.0), voice(300, 0.6)]
    assert compare_export(encoder, network, waves) < 1e-5
