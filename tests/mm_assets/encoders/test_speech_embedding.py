import numpy as np
import pytest
import torch

from mm_assets.encoders.base import load_encoder
from mm_assets.modalities.audio import Waveform

RATE_HZ = 16_000
GOLDEN = [-5.4263, 5.6255, -21.973, 15.6532, 24.7848, 8.2497]


def speak(duration_s, seed=0):
    """Noise whose loudness and colour wander, as those of speech do."""
    rng = np.random.default_rng(seed)
    count = round(duration_s * RATE_HZ)
    time_s = np.arange(count) / RATE_HZ
    hum = sum(np.sin(2 * np.pi * 130 * k * time_s) / k for k in range(1, 20))
    beat = np.abs(np.sin(2 * np.pi * 2 * time_s)) ** 2
    samples = 0.1 * beat * (hum + 0.3 * rng.standard_normal(count))
    return Waveform(samples.astype(np.float32), RATE_HZ)


@pytest.fixture(scope="module")
def encoder(weights):
    return load_encoder("speech_embedding", {}, kind="audio", weights=weights, where="x")


@pytest.fixture(scope="module")
def steps(encoder):
    return encoder.sequence_network()


def run_originals(folder, samples):
    """Run the two published files on one recording, window by window."""
    import onnxruntime

    front, embedding = (
        onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram.onnx", "embedding_model.onnx")
    )
    heard = front.run(None, {"input": 32_768 * samples[None]})[0].squeeze((0, 1)) / 10 + 2
    starts = range(0, len(heard) - 75, 8)
    windows = np.stack([heard[at : at + 76] for at in starts])[..., None]
    return heard, embedding.run(None, {"input_1": windows})[0].squeeze((1, 2))


@pytest.mark.slow
def test_vectors_are_those_of_the_published_files(weights, steps, encoder, encode):
    wave, other = speak(2.0), speak(3.0, seed=1)
    heard, wanted = run_originals(weights / "speech_embedding", wave.samples)
    with torch.inference_mode():
        ours = steps.hear(torch.from_numpy(wave.samples[None]), torch.tensor([len(heard)]))[0]
        padded = np.zeros((2, len(other.samples)), np.float32)
        padded[0, : len(wave.samples)], padded[1] = wave.samples, other.samples
        length = torch.tensor([len(wave.samples), len(other.samples)])
        found, valid = steps(torch.from_numpy(padded), length)
    np.testing.assert_allclose(ours[: len(heard)], heard, atol=2e-4)
    assert valid.sum(dim=1).tolist() == [len(wanted), (3 * 100 - 3 - 76 + 1) // 8 + 1]
    np.testing.assert_allclose(found[0][valid[0]], wanted, atol=1e-4 * np.abs(wanted).max())
    mean = encode(encoder, encoder.network(), [wave])[0]
    np.testing.assert_allclose(mean, wanted.mean(axis=0), atol=1e-4 * np.abs(wanted).max())


def test_a_short_recording_is_followed_by_silence(weights, steps, encoder, encode):
    short = speak(0.3)
    long = Waveform(np.pad(short.samples, (0, 512 + 75 * 160 - len(short.samples))), RATE_HZ)
    alone = encode(encoder, encoder.network(), [short])
    np.testing.assert_allclose(alone, encode(encoder, encoder.network(), [long]), atol=1e-4)
    beside = encode(encoder, encoder.network(), [short, speak(2.0)])
    np.testing.assert_allclose(beside[0], alone[0], atol=1e-3)


def test_the_golden_vector_is_unchanged(encoder, encode):
    """When this fails because the code computes something else, raise the encoder's version."""
    vector = encode(encoder, encoder.network(), [speak(1.0)])[0]
    np.testing.assert_allclose(vector[::16], GOLDEN, atol=0.02)
    assert encoder.version == 1


@pytest.mark.slow
def test_the_exported_graph_agrees(encoder, compare_export):
    waves = [speak(0.4), speak(1.0, 1), speak(1.3, 2)]
    assert compare_export(encoder, encoder.network(), waves) < 1e-4
