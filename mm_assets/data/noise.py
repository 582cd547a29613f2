"""Noise of a stated strength, for what is measured over time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

WEAKEST_DB, STRONGEST_DB = 40.0, -10.0  # signal-to-noise ratio just above level 0, and at level 1
LOWEST_HZ = 20.0  # of pink noise: an octave below is as strong as any, and nobody hears it


def to_snr_db(level: float) -> float:
    """Give the signal-to-noise ratio that a level in (0, 1] stands for: ``40 - 50 * level`` dB."""
    return WEAKEST_DB + (STRONGEST_DB - WEAKEST_DB) * level


def add_noise(
    samples: Float[np.ndarray, "*channel time"],
    noise: Float[np.ndarray, "*channel time"],
    snr_db: float,
) -> Float64[np.ndarray, "*channel time"]:
    """Add noise to each channel, scaled so that the ratio is exact for these very samples.

    Args:
        samples: Their power is the variance over time: an offset is no signal. A channel without
            power (silence) has no ratio, and is left as it is.
        noise: Its power is the mean square; only its shape matters, not its size.
        snr_db: Ten times the logarithm of the ratio of both powers.
    """
    clean = samples.astype(np.float64)
    power = clean.var(axis=-1, keepdims=True)
    drawn = np.mean(noise.astype(np.float64) ** 2, axis=-1, keepdims=True)
    wanted = power * 10 ** (-snr_db / 10)
    gain = np.sqrt(np.divide(wanted, drawn, out=np.zeros_like(drawn), where=power > 0))
    return np.asarray(clean + gain * noise)


def draw_pink_noise(
    steps: int, rate_hz: int, rng: np.random.Generator
) -> Float64[np.ndarray, " time"]:
    """Draw Gaussian noise that has equal power in every octave from 20 Hz to half the rate.

    Args:
        steps: How many samples.
        rate_hz: Samples per second, above 40.
        rng: Draws white noise, whose spectrum is then shaped.

    Source:
        Timmer, König 1995, On generating power law noise, Astronomy and Astrophysics 300, 707.
    """
    spectrum = np.fft.rfft(rng.standard_normal(steps))
    frequency_hz = np.fft.rfftfreq(steps, 1 / rate_hz)
    heard = frequency_hz >= LOWEST_HZ
    spectrum[~heard] = 0
    spectrum[heard] /= np.sqrt(frequency_hz[heard])
    return np.asarray(np.fft.irfft(spectrum, steps))
