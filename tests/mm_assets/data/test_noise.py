import numpy as np
import pytest
from scipy.signal import welch

from mm_assets.data.noise import add_noise, draw_pink_noise, to_snr_db


def test_levels_fall_from_40_to_minus_10_db():
    assert [to_snr_db(level) for level in (0.0, 0.2, 0.5, 1.0)] == [40, 30, 15, -10]


@pytest.mark.parametrize("snr_db", [40.0, 6.0, -10.0])
def test_the_ratio_is_exact_in_each_channel_whatever_its_offset_and_the_noises_size(snr_db):
    rng = np.random.default_rng(0)
    samples = np.array([[1.0], [1e-6], [3e5]]) * rng.uniform(-1, 1, (3, 50)) + [[0], [5e-6], [-9e5]]
    noise = np.array([[1.0], [1e4], [1e-3]]) * rng.standard_normal((3, 50))
    added = add_noise(samples, noise, snr_db) - samples
    found = 10 * np.log10(samples.var(axis=1) / np.mean(added**2, axis=1))
    np.testing.assert_allclose(found, snr_db, atol=1e-4)
    scaled = added / noise
    np.testing.assert_allclose(scaled, scaled[:, :1].repeat(50, axis=1), rtol=1e-4)


def test_a_channel_without_power_gets_no_noise():
    samples = np.zeros((2, 8), np.float32)
    samples[1] = 0.25
    np.testing.assert_array_equal(add_noise(samples, np.ones((2, 8)), -10.0), samples)
    np.testing.assert_array_equal(add_noise(np.ones(1), np.zeros(1), 0.0), [1])


def test_pink_noise_falls_by_3_db_an_octave_and_starts_at_20_hz():
    noise = draw_pink_noise(2**19, 16_000, np.random.default_rng(1))
    frequency_hz, density = welch(noise, 16_000, nperseg=8192)
    inside = (frequency_hz > 40) & (frequency_hz < 7900)
    slope = np.polyfit(np.log2(frequency_hz[inside]), 10 * np.log10(density[inside]), 1)[0]
    assert slope == pytest.approx(-10 * np.log10(2), abs=0.03)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    below = np.fft.rfftfreq(len(noise), 1 / 16_000) < 20
    assert spectrum[below].sum() < 1e-20 * spectrum.sum()
    kurtosis = np.mean(noise**4) / np.mean(noise**2) ** 2
    assert kurtosis == pytest.approx(3, abs=0.15)  # of a normal distribution


@pytest.mark.parametrize("steps", [2, 3, 101])
def test_pink_noise_has_power_however_short_it_is(steps):
    noise = draw_pink_noise(steps, 1000, np.random.default_rng(0))
    assert noise.shape == (steps,)
    assert np.mean(noise**2) > 0
