"""How loud a recording sounds."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

BLOCK_S, STEP_S = 0.4, 0.1  # gating blocks and how far they are apart
OFFSET_LUFS = -0.691  # makes a full-scale sine of 997 Hz in one channel read -3.01 LUFS
QUIETEST_LUFS = -70.0  # blocks below are no part of the programme
RELATIVE_GATE_LU = -10.0  # nor are blocks so far below the mean of the others

# The K weighting's two filters, as analogue prototypes: a shelf for the head, and a high-pass.
SHELF_HZ, SHELF_DB, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
SHELF_EXPONENT = 0.4996667741545416
HIGH_PASS_HZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773


def measure_loudness(samples: Float[np.ndarray, " time"], rate_hz: int) -> float:
    """Measure a channel's integrated, gated loudness.

    Args:
        samples: In [-1, 1], at least one.
        rate_hz: Samples per second.

    Returns:
        LUFS; minus infinity where everything is below -70 LUFS. What is shorter than a gating
        block, for which the recommendation has no answer, is one block.

    Source:
        ITU-R BS.1770-4, https://www.itu.int/rec/R-REC-BS.1770. It gives the filters at 48 kHz
        alone; the prototypes they come from give them at any rate.
    """
    from scipy.signal import sosfilt

    weighted = sosfilt(_design_k_weighting(rate_hz), samples.astype(np.float64))
    block, step = round(BLOCK_S * rate_hz), round(STEP_S * rate_hz)
    total = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, max(len(samples) - block, 0) + 1, step)
    ends = np.minimum(starts + block, len(samples))
    power = (total[ends] - total[starts]) / (ends - starts)
    power = power[power > _to_power(QUIETEST_LUFS)]
    if not len(power):
        return -math.inf
    power = power[power > power.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
    return OFFSET_LUFS + 10 * math.log10(power.mean())


def _to_power(loudness_lufs: float) -> float:
    return float(10 ** ((loudness_lufs - OFFSET_LUFS) / 10))


def _design_k_weighting(rate_hz: int) -> Float[np.ndarray, "section coefficient"]:
    """Map both prototypes to a rate by the bilinear transform, as second-order sections."""
    k = math.tan(math.pi * min(SHELF_HZ / rate_hz, 0.49))
    high = 10 ** (SHELF_DB / 20)
    middle = high**SHELF_EXPONENT
    shelf = np.array(
        [
            high + middle * k / SHELF_Q + k * k,
            2 * (k * k - high),
            high - middle * k / SHELF_Q + k * k,
            1 + k / SHELF_Q + k * k,
            2 * (k * k - 1),
            1 - k / SHELF_Q + k * k,
        ]
    )
    k = math.tan(math.pi * min(HIGH_PASS_HZ / rate_hz, 0.49))
    lowest = 1 + k / HIGH_PASS_Q + k * k
    high_pass = [1, -2, 1, 1, 2 * (k * k - 1) / lowest, (1 - k / HIGH_PASS_Q + k * k) / lowest]
    return np.stack([shelf / shelf[3], np.array(high_pass)])
