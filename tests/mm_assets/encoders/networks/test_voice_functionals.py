import math

import numpy as np
import pytest
import torch
import torchaudio

from mm_assets.encoders.networks.voice_functionals import (
    HOP,
    MODULATIONS_HZ,
    RATE_HZ,
    WINDOW,
    VoiceFunctionals,
    count_frames,
    summarize,
)


@pytest.fixture(scope="module")
def network():
    return VoiceFunctionals().eval()


def time_of(duration_s):
    return torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def noise(duration_s=1.0, amplitude=0.1):
    generator = torch.Generator().manual_seed(0)
    return amplitude * torch.randn(1, round(duration_s * RATE_HZ), generator=generator)


SHAPES = {
    "pure": [1.0],
    "vowel": [1 / k for k in range(1, 15)],
    "odd harmonics": [1.0, 0.0, 0.4, 0.0, 0.2],
    "missing fundamental": [0.0, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pitch_hz", [70, 110, 200, 350])
def test_pitch_of_a_known_tone_is_found(network, pitch_hz, shape):
    tone = sum(
        a * torch.sin(2 * math.pi * pitch_hz * k * time_of(0.5))
        for k, a in enumerate(SHAPES[shape], start=1)
    )[None]
    log_pitch, voicing = network.pitch(0.3 * tone / tone.abs().max())
    inside = slice(3, -6)  # frames that lie wholly in the sound
    found = 150 * log_pitch[0, inside].exp()
    torch.testing.assert_close(found, torch.full_like(found, pitch_hz), rtol=0.01, atol=0)
    assert (voicing[0, inside] > 0.95).all()


def test_pitch_does_not_depend_on_loudness(network):
    tone = torch.sin(2 * math.pi * 140 * time_of(0.5))[None]
    loud, quiet = network.pitch(0.9 * tone)[0], network.pitch(0.02 * tone)[0]
    torch.testing.assert_close(loud[0, 3:-6], quiet[0, 3:-6], atol=1e-3, rtol=0)


def test_a_glide_rises_by_its_slope(network):
    time_s = time_of(1.0)  # one octave in a second
    phase = 2 * math.pi * 120 / math.log(2) * (2**time_s - 1)
    glide = 0.3 * torch.sin(phase)[None]
    log_pitch, voicing = network.pitch(glide)
    frames = int(count_frames(torch.tensor([RATE_HZ]))[0])
    summary = summarize(log_pitch[:, :frames, None], voicing[:, :frames])
    slope, rate = summary[0, 4], summary[0, 5]
    assert slope == pytest.approx(math.log(2), rel=0.05)
    assert rate == pytest.approx(math.log(2) * HOP / RATE_HZ, rel=0.5)


def test_noise_and_silence_are_not_voiced(network):
    assert network.pitch(noise())[1].mean() < 0.3
    assert network.pitch(torch.zeros(1, RATE_HZ))[1].max() < 1e-6
    assert network.pitch(noise(amplitude=1e-6))[1].max() < 1e-3


def test_mfcc_agree_with_torchaudio(network):
    samples = noise() + 0.3 * torch.sin(2 * math.pi * 300 * time_of(1.0))[None]
    reference = torchaudio.transforms.MFCC(
        RATE_HZ,
        n_mfcc=13,
        log_mels=True,
        melkwargs={
            "n_fft": 512,
            "win_length": WINDOW,
            "hop_length": HOP,
            "n_mels": 40,
            "center": False,
        },
    )
    # torchaudio puts the 400-sample window in the middle of 512.
    expected = reference(torch.nn.functional.pad(samples, (56, 56)))[0].T
    power, _ = network.short_time_spectrum(samples)
    torch.testing.assert_close(network.mfcc(power)[0, : len(expected)], expected, atol=1e-4, rtol=0)
    assert len(expected) == count_frames(torch.tensor([RATE_HZ]))[0]


def test_energy_of_a_sine_is_half_its_squared_amplitude(network):
    sine = 0.4 * torch.sin(2 * math.pi * 1000 * time_of(0.5))[None]
    _, energy = network.short_time_spectrum(sine)
    torch.testing.assert_close(energy[0, :40], torch.full((40,), 0.08), rtol=1e-3, atol=0)


def test_the_beat_is_strongest_at_the_rate_of_the_syllables(network):
    time_s = torch.arange(100) * HOP / RATE_HZ  # one second of frames
    log_energy = 1.5 * torch.cos(2 * math.pi * 5 * time_s)[None]
    beat = network.beat(log_energy, torch.ones(1, 100))[0]
    # A cosine of amplitude 1.5 has 1.5 / 2 on each side of its spectrum.
    assert MODULATIONS_HZ[int(beat.argmax())] == 5
    assert beat.max() == pytest.approx(0.75, rel=1e-3)
    assert beat[MODULATIONS_HZ.index(3.0)] < 0.01


@pytest.mark.parametrize(
    ("length", "frames"), [(1, 1), (399, 1), (400, 1), (559, 1), (560, 2), (16_000, 98)]
)
def test_frames_are_those_that_fit(length, frames):
    assert count_frames(torch.tensor([length])).tolist() == [frames]


def test_a_summary_agrees_with_numpy():
    values = np.random.default_rng(0).normal(2, 3, 200)
    contours = torch.tensor(values, dtype=torch.float32)[None, :, None]
    mean, std, high, low, slope, rate = summarize(contours, torch.ones(1, 200))[0].numpy()
    score = (values - values.mean()) / values.std()
    seconds = np.arange(200) * HOP / RATE_HZ
    assert mean == pytest.approx(values.mean(), rel=1e-4)
    assert std == pytest.approx(values.std(), rel=1e-4)
    assert high == pytest.approx(np.average(values, weights=np.exp(2 * score)), rel=1e-3)
    assert low == pytest.approx(np.average(values, weights=np.exp(-2 * score)), rel=1e-3)
    assert slope == pytest.approx(np.polyfit(seconds, values, 1)[0], rel=0.01, abs=0.01)
    assert rate == pytest.approx(np.sqrt(np.mean(np.diff(values) ** 2)), rel=1e-3)
    assert low < mean < high


def test_frames_without_weight_do_not_count():
    contours = torch.randn(1, 60, 2, generator=torch.Generator().manual_seed(1))
    weight = (torch.arange(60) < 40).float()[None]
    changed = contours.clone()
    changed[:, 40:] = 99
    torch.testing.assert_close(
        summarize(changed, weight), summarize(contours[:, :40], weight[:, :40])
    )


@pytest.mark.parametrize("length", [1, 100, 399, 400])
def test_the_shortest_and_the_silent_give_finite_numbers(network, length):
    vectors = network(torch.zeros(2, length), torch.tensor([length, 1]))
    assert vectors.isfinite().all()


def test_a_tiny_change_of_the_sound_is_a_tiny_change_of_the_vector(network):
    """The estimate picks no peaks, so rounding cannot make it jump (ONNX parity rests on it)."""
    samples, length = noise(2.0), torch.tensor([2 * RATE_HZ])
    # Noise is the hardest case: no lag stands out.
    moved = samples * (1 + 1e-6 * torch.sign(noise(2.0) - 0.05))
    difference = (network(samples, length) - network(moved, length)).abs()
    assert difference.max() < 1e-3
