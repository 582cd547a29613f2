import math

import numpy as np
import pytest

from mm_assets.data.loudness import measure_loudness


def tone(frequency_hz, duration_s, rate_hz):
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("duration_s", [0.2, 3.0])
def test_a_full_scale_sine_of_997_hz_reads_what_the_recommendation_says(rate_hz, duration_s):
    found = measure_loudness(tone(997, duration_s, rate_hz), rate_hz)
    assert found == pytest.approx(-3.01, abs=0.05)


def test_loudness_follows_the_gain_and_ignores_silence_around():
    sine = 0.1 * tone(997, 4, 48_000)
    assert measure_loudness(sine, 48_000) == pytest.approx(-23.01, abs=0.01)
    padded = np.concatenate([np.zeros(480_000), sine, np.zeros(480_000)])
    assert measure_loudness(padded, 48_000) == pytest.approx(-23.01, abs=0.4)  # blocks at the edges


def test_lows_count_less_and_silence_has_no_loudness():
    assert measure_loudness(tone(25, 3, 48_000), 48_000) < -10
    assert measure_loudness(np.zeros(48_000), 48_000) == -math.inf
    assert measure_loudness(1e-5 * tone(997, 1, 48_000), 48_000) == -math.inf
