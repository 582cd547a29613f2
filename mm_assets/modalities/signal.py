"""Measurements over time, such as an electrocardiogram, respiration, gait or vibration."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import Field, model_validator

from mm_assets.contracts.errors import BadSampleError, DataContractError
from mm_assets.data.arrays import TOO_LARGE, UNREADABLE, Matrix, read_matrix
from mm_assets.data.media import read_media
from mm_assets.data.noise import add_noise, to_snr_db
from mm_assets.modalities import base

Positive = Annotated[float, Field(gt=0)]

FILTER_ORDER = 4  # of the Butterworth filter, which runs forwards and backwards
LARGEST_FACTOR = 10_000  # of numerator and denominator, when the rate is changed
KNOTS = 4  # of the smooth curves that warp a copy
# Of a normal distribution, the interquartile range divided by the standard deviation.
NORMAL_IQR = 1.349


class SignalOptions(base.Options):
    """How a cell is read and cleaned, and what a legal one is.

    Tables (CSV, TSV, Parquet) have time in rows, arrays (NPY, NPZ, lists) channels first, unless
    `layout` says otherwise.
    """

    limits: ClassVar[frozenset[str]] = frozenset(
        {"max_megabytes", "min_s", "max_s", "max_gap_s", "max_missing", "max_amplitude", "flat"}
    )

    rate_hz: Annotated[float, Field(gt=0, le=1e7)]  # samples per second, as in the files
    channels: Annotated[int, Field(ge=1, le=1024)] = 1
    columns: list[str] | None = None  # of a table with a header; null: all of them
    layout: Literal["auto", "time_first", "channels_first"] = "auto"
    # [lowest, highest] frequency that is kept; null at either end: no limit there.
    band_hz: Annotated[list[Positive | None], Field(min_length=2, max_length=2)] | None = None
    resample_hz: Annotated[float, Field(gt=0, le=1e7)] | None = None  # null: as it is
    window_s: Positive | None = None  # longest part that is kept; null: all
    window: Literal["start", "middle", "end"] = "middle"  # which part that is
    scale: Literal["none", "robust"] = "none"  # robust: median 0, interquartile range as of N(0, 1)

    max_megabytes: Positive = 20.0
    min_s: Positive = 0.1
    max_s: Positive = 600.0
    max_gap_s: Annotated[float, Field(ge=0)] = 0.1  # longest missing stretch that is bridged
    max_missing: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of all samples
    max_amplitude: Annotated[float, Field(gt=0, le=1e12)] = 1e12  # squares still fit in float32
    flat: Literal["refuse", "allow"] = "refuse"  # a cell whose channels are all constant

    @model_validator(mode="after")
    def _rates_fit(self) -> SignalOptions:
        low, high = self.band_hz or (None, None)
        for edge in (low, high):
            if edge is not None and edge >= self.rate_hz / 2:
                raise ValueError(
                    f"`band_hz` must lie below half of `rate_hz`, which is {self.rate_hz / 2:g}"
                )
        if low is not None and high is not None and low >= high:
            raise ValueError("`band_hz` must rise")
        if abs(self.resampling * self.rate_hz / self.decoded_hz - 1) > 1e-3:
            raise ValueError(f"`resample_hz` must be nearer to `rate_hz` {self.rate_hz:g}")
        if self.columns is not None and len(self.columns) != self.channels:
            raise ValueError(f"`channels` must be the number of `columns`, {len(self.columns)}")
        if self.min_s > self.max_s:
            raise ValueError("`min_s` must not exceed `max_s`")
        return self

    @property
    def decoded_hz(self) -> float:
        """Samples per second after decoding."""
        return self.resample_hz or self.rate_hz

    @property
    def resampling(self) -> Fraction:
        """By what the number of samples is multiplied."""
        return Fraction(self.decoded_hz / self.rate_hz).limit_denominator(LARGEST_FACTOR)


class SignalAugment(base.Options):
    """Strongest change of a copy."""

    noise: Annotated[float, Field(ge=0, le=1)] = 0.02  # relative to a channel's deviation
    scaling: Annotated[float, Field(ge=0, lt=1)] = 0.1  # all channels by one factor, 1 +- this
    magnitude_warp: Annotated[float, Field(ge=0, lt=1)] = 0.05  # a factor that drifts, 1 +- this
    time_warp: Annotated[float, Field(ge=0, lt=1)] = 0.05  # a speed that drifts, 1 +- this
    shift_s: Annotated[float, Field(ge=0)] = 0.1  # cut off at start or end
    channel_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # chance of each, but never of all


@dataclass(frozen=True)
class Recording:
    """A cleaned signal.

    Attributes:
        samples: float32 (channel, time).
        rate_hz: Samples per second.
    """

    samples: np.ndarray
    rate_hz: float


@dataclass(frozen=True)
class _Measured:
    """A legal signal whose gaps are bridged, not yet filtered."""

    samples: np.ndarray  # float64 (channel, time)
    missing_share: float


class Signal(base.Modality[Recording]):
    """Channels over time: a path to a CSV, TSV, NPY, NPZ or Parquet file, or lists of numbers.

    A flat list is one channel; lists of lists (in a CSV as JSON text) one each.
    """

    kind: ClassVar[str] = "signal"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("numpy", "pyarrow", "scipy")
    is_file: ClassVar[bool] = True
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {"samples": (2,)}
    options_model: ClassVar[type[base.Options]] = SignalOptions
    options: SignalOptions
    augment_model: ClassVar[type[base.Options]] = SignalAugment
    augmentation: SignalAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Read the file, or give shape and numbers of lists, however they were written.

        Raises:
            BadSampleError: As `read_media`, or ``array_unreadable`` or ``array_too_large``.
        """
        return self._read(cell, folder)[0]

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `duration_s`, `channels`, `missing_share`, `minimum`, `maximum`; see base."""
        data, matrix = self._read(cell, folder)
        measured = self._measure(matrix or self._parse(data))
        channels, steps = measured.samples.shape
        return {
            "content": base.digest_content(data),
            "channels": channels,
            "duration_s": steps / self.options.rate_hz,
            "rate_hz": self.options.rate_hz,
            "missing_share": measured.missing_share,
            "minimum": float(measured.samples.min()),
            "maximum": float(measured.samples.max()),
        }

    def decode(self, cell: object, folder: Path) -> Recording:
        """Read, bridge gaps, filter, resample, cut to the window and scale.

        Raises:
            BadSampleError: As `read` and `mm_assets.data.arrays.read_matrix`, or
                ``signal_channels``, ``signal_too_short``, ``signal_too_long``,
                ``signal_not_finite``, ``signal_missing``, ``signal_gap_too_long``,
                ``signal_amplitude`` or ``signal_flat``.
        """
        data, matrix = self._read(cell, folder)
        return self._clean(self._measure(matrix or self._parse(data)).samples)

    def _read(self, cell: object, folder: Path) -> tuple[bytes, Matrix | None]:
        """Give a cell's bytes, and its matrix where the cell itself holds it.

        Raises:
            BadSampleError: As `read`.
        """
        if isinstance(cell, str) and not cell.lstrip().startswith("["):
            return read_media(cell, folder, max_megabytes=self.options.max_megabytes), None
        if isinstance(cell, str) and len(cell) > self.options.max_megabytes * 1e6:
            raise BadSampleError(
                TOO_LARGE,
                f"the cell has {len(cell) / 1e6:.1f} MB, the limit is "
                f"{self.options.max_megabytes:g} MB",
            )
        try:
            raw = json.loads(cell) if isinstance(cell, str) else cell
            # A Parquet list of lists is an array of arrays.
            numbers = np.asarray(raw.tolist() if isinstance(raw, np.ndarray) else raw, dtype="<f8")
        except (ValueError, TypeError, OverflowError, RecursionError):
            numbers = np.empty(0)
        if numbers.ndim not in (1, 2) or not numbers.size:
            raise BadSampleError(
                UNREADABLE,
                "the cell must hold a path, a list of numbers or equally long lists of numbers, one "
                f"per channel, got {base.show_cell(cell)}",
            )
        shape = np.array(numbers.shape, dtype="<i8")
        return shape.tobytes() + numbers.tobytes(), Matrix(numbers, is_table=False)

    def _parse(self, data: bytes) -> Matrix:
        """Read a file's bytes, no further than a legal signal may be long.

        Raises:
            BadSampleError: As `read_matrix`.
        """
        steps = int(self.options.max_s * self.options.rate_hz) + 1
        # So many numbers more do no harm, and what is wrong with them can be said in seconds.
        most = max(steps * self.options.channels, 10**6)
        return read_matrix(data, most=most, columns=self.options.columns)

    def _measure(self, matrix: Matrix) -> _Measured:
        """Check that a signal is legal, and bridge its gaps.

        Raises:
            BadSampleError: As `decode`.
        """
        asked = self.options
        raw = self._orient(matrix)
        steps = raw.shape[1]
        if steps < max(2, asked.min_s * asked.rate_hz):
            raise BadSampleError(
                "signal_too_short",
                f"it lasts {steps / asked.rate_hz:.3g} s ({steps} samples), {asked.min_s:g} s and 2 "
                "samples are least",
            )
        if steps > asked.max_s * asked.rate_hz:
            raise BadSampleError(
                "signal_too_long",
                f"it lasts {steps / asked.rate_hz:.3f} s, {asked.max_s:g} s is most",
            )
        samples = raw.astype(np.float64)
        missing = np.isnan(samples)
        if np.isinf(samples).any():
            raise BadSampleError("signal_not_finite", "some samples are infinite")
        share = float(missing.mean())
        for channel, (row, gaps) in enumerate(zip(samples, missing, strict=True), start=1):
            gap_s = _find_longest_run(gaps) / asked.rate_hz
            if gap_s > asked.max_gap_s or gaps.all():
                raise BadSampleError(
                    "signal_gap_too_long",
                    f"channel {channel} misses {gap_s:.3g} s in one stretch, `max_gap_s` is "
                    f"{asked.max_gap_s:g}",
                )
            if gaps.any():
                present = np.flatnonzero(~gaps)
                row[gaps] = np.interp(np.flatnonzero(gaps), present, row[present])
        if share > asked.max_missing:
            raise BadSampleError(
                "signal_missing",
                f"{100 * share:.1f} % of its samples are missing, `max_missing` is "
                f"{100 * asked.max_missing:g} %",
            )
        largest = float(np.abs(samples).max())
        if largest > asked.max_amplitude:
            raise BadSampleError(
                "signal_amplitude",
                f"it reaches {largest:.4g}, `max_amplitude` is {asked.max_amplitude:g}",
            )
        if asked.flat == "refuse" and (np.ptp(samples, axis=1) == 0).all():
            raise BadSampleError("signal_flat", "no channel ever changes, so nothing was recorded")
        return _Measured(samples, share)

    def _orient(self, matrix: Matrix) -> np.ndarray:
        """Put channels first.

        Raises:
            BadSampleError: ``signal_channels``.
        """
        asked = self.options
        time_first = asked.layout == "time_first" or (asked.layout == "auto" and matrix.is_table)
        raw = matrix.numbers
        raw = raw[None] if raw.ndim == 1 else raw.T if time_first else raw
        if len(raw) != asked.channels:
            advice = ""
            if matrix.names:
                shown = ", ".join(matrix.names[:20])
                advice = f" ({shown}); name the wanted ones in `columns`"
            elif raw.shape[1] == asked.channels:
                other = "channels_first" if time_first else "time_first"
                advice = f" of {asked.channels} samples each; set `options.layout: {other}`"
            raise BadSampleError(
                "signal_channels",
                f"`options.channels` is {asked.channels}, but it has {len(raw)}{advice}",
            )
        return raw

    def _clean(self, samples: Float64[np.ndarray, "channel time"]) -> Recording:
        """Filter, resample, cut and scale."""
        asked = self.options
        samples = _keep_band(samples, asked.rate_hz, asked.band_hz or [None, None])
        if asked.resampling != 1:
            from scipy.signal import resample_poly

            # The line through both ends is taken off first, so that the ends do not ring.
            up, down = asked.resampling.numerator, asked.resampling.denominator
            samples = resample_poly(samples, up, down, axis=1, padtype="line")
        if asked.window_s is not None:
            steps = max(2, round(asked.window_s * asked.decoded_hz))
            spare = max(0, samples.shape[1] - steps)
            start = {"start": 0, "middle": spare // 2, "end": spare}[asked.window]
            samples = samples[:, start : start + steps]
        if asked.scale == "robust":
            samples = _scale_robustly(samples)
        return Recording(np.ascontiguousarray(samples, dtype=np.float32), asked.decoded_hz)

    def describe(self, value: Recording) -> base.Sketch:
        """Draw the channels."""
        channels, steps = value.samples.shape
        of = "1 channel" if channels == 1 else f"{channels} channels"
        return base.Sketch(
            caption=f"{of}, {steps / value.rate_hz:.2f} s at {value.rate_hz:g} Hz",
            curves=value.samples,
        )

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw noise, factor, shift and the seed of the rest; see `Modality.plan`."""
        most = self.augmentation
        return {
            "noise": round(most.noise * rng.random(), 5),
            "scaling": round(1 + most.scaling * rng.uniform(-1, 1), 5),
            "magnitude_warp": most.magnitude_warp,
            "time_warp": most.time_warp,
            "shift_s": round(most.shift_s * rng.uniform(-1, 1), 5),
            "channel_dropout": most.channel_dropout,
            "seed": int(rng.integers(2**32)),
        }

    def render(self, value: Recording, plan: Mapping[str, Any]) -> Recording:
        """Cut, warp, scale and add noise; a dropped channel is zero.

        Source:
            Um et al. 2017, Data augmentation of wearable sensor data,
            https://doi.org/10.1145/3136755.3136817
        """
        rng = np.random.default_rng(plan["seed"])
        samples = value.samples.astype(np.float64)
        samples = _cut(samples, round(plan["shift_s"] * value.rate_hz))
        channels, steps = samples.shape
        pace = 1 + plan["time_warp"] * _draw_curve(rng, steps)
        place = np.concatenate([[0], np.cumsum((pace[1:] + pace[:-1]) / 2)])
        place *= (steps - 1) / place[-1]
        samples = np.stack([np.interp(place, np.arange(steps), row) for row in samples])
        samples *= plan["scaling"] * (1 + plan["magnitude_warp"] * _draw_curve(rng, steps))
        deviation = samples.std(axis=1, keepdims=True)
        samples += plan["noise"] * deviation * rng.standard_normal(samples.shape)
        lost = rng.random(channels) < plan["channel_dropout"]
        lost[rng.integers(channels)] = False
        samples[lost] = 0
        return Recording(samples.astype(np.float32), value.rate_hz)

    def corrupt(self, value: Recording, level: float, rng: np.random.Generator) -> Recording:
        """Add white noise to each channel, and lose a stretch of each; see `Modality.corrupt`.

        The ratio of a channel's variance to the noise's is ``40 - 50 * level`` dB; a channel that
        never changes gets none. A stretch of ``level / 2`` of the time, at another place in each
        channel, is zero, as when an electrode comes off. Both come after cleaning: no filter of
        the options takes them out again.

        Raises:
            DataContractError: The level is not in [0, 1].

        Source:
            Moody, Muldrow, Mark 1984, A noise stress test for arrhythmia detectors, Computers in
            Cardiology 11, 381, sets the ratio in dB; https://physionet.org/content/nstdb/1.0.0/
        """
        self._require_level(level)
        if not level:
            return value
        noise = rng.standard_normal(value.samples.shape)
        noisy = add_noise(value.samples, noise, to_snr_db(level))
        channels, steps = noisy.shape
        lost = round(level / 2 * steps)
        for row, start in zip(noisy, rng.integers(steps - lost + 1, size=channels), strict=True):
            row[start : start + lost] = 0
        return Recording(noisy.astype(np.float32), value.rate_hz)

    def collate(self, values: Sequence[Recording], inputs: Mapping[str, Any]) -> base.Arrays:
        """Cut at the encoder's `max_s`, pad with zeros.

        Returns:
            ``samples``, float32 (batch, channel, time), and ``length`` in samples, int64 (batch,).

        Raises:
            DataContractError: The encoder is for another number of channels.
        """
        channels = inputs.get("channels", self.options.channels)
        if channels != self.options.channels:
            raise DataContractError(
                f"the encoder is for {channels} channels, but `options.channels` of the signal is "
                f"{self.options.channels}; set `channels: {self.options.channels}` in `encoder`"
            )
        most = max(2, round(inputs["max_s"] * self.options.decoded_hz))
        cut = [value.samples[:, :most] for value in values]
        length = np.array([one.shape[1] for one in cut], dtype=np.int64)
        samples = np.zeros((len(cut), channels, length.max()), dtype=np.float32)
        for row, one in zip(samples, cut, strict=True):
            row[:, : one.shape[1]] = one
        return {"samples": samples, "length": length}

    def placeholder(self, inputs: Mapping[str, Any]) -> Recording:
        """Give the shortest legal signal, all zeros."""
        steps = max(2, round(self.options.min_s * self.options.decoded_hz))
        return Recording(
            np.zeros((self.options.channels, steps), np.float32), self.options.decoded_hz
        )


def _find_longest_run(flags: Bool[np.ndarray, " time"]) -> int:
    """Count the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


@functools.cache
def _design_filter(low: float | None, high: float | None, rate_hz: float) -> np.ndarray:
    """Give a Butterworth filter's second-order sections."""
    from scipy.signal import butter

    if low is None:
        return np.asarray(butter(FILTER_ORDER, high, "lowpass", fs=rate_hz, output="sos"))
    if high is None:
        return np.asarray(butter(FILTER_ORDER, low, "highpass", fs=rate_hz, output="sos"))
    return np.asarray(butter(FILTER_ORDER // 2, [low, high], "bandpass", fs=rate_hz, output="sos"))


def _keep_band(
    samples: Float64[np.ndarray, "channel time"], rate_hz: float, band_hz: Sequence[float | None]
) -> Float64[np.ndarray, "channel time"]:
    """Take out what lies beside the band, without moving anything in time."""
    from scipy.signal import sosfiltfilt

    low, high = band_hz
    if low is None and high is None:
        return samples
    # One and a half periods of the lowest frequency let the filter settle; a short signal has less.
    pad = min(samples.shape[1] - 1, max(3 * FILTER_ORDER, round(1.5 * rate_hz / (low or rate_hz))))
    return np.asarray(sosfiltfilt(_design_filter(low, high, rate_hz), samples, axis=1, padlen=pad))


def _scale_robustly(
    samples: Float64[np.ndarray, "channel time"],
) -> Float64[np.ndarray, "channel time"]:
    """Shift and scale each channel; one that hardly changes by its deviation, a flat one by 1."""
    low, median, high = np.quantile(samples, [0.25, 0.5, 0.75], axis=1)[:, :, None]
    tiny = 1e-9 * np.abs(samples).max(axis=1, keepdims=True)
    scale = (high - low) / NORMAL_IQR
    scale = np.where(scale > tiny, scale, samples.std(axis=1, keepdims=True))
    return np.asarray((samples - median) / np.where(scale > tiny, scale, 1))


def _cut(
    samples: Float64[np.ndarray, "channel time"], shift: int
) -> Float64[np.ndarray, "channel _"]:
    """Cut off the start, or with a negative number the end, and at most half."""
    size = min(abs(shift), samples.shape[1] // 2)
    return samples[:, size:] if shift > 0 else samples[:, : samples.shape[1] - size]


def _draw_curve(rng: np.random.Generator, steps: int) -> Float64[np.ndarray, " time"]:
    """Draw a smooth curve within [-1, 1]."""
    from scipy.interpolate import PchipInterpolator

    knots = np.linspace(0, max(steps - 1, 1), KNOTS)  # this interpolant never overshoots its knots
    drawn = PchipInterpolator(knots, rng.uniform(-1, 1, KNOTS))
    return np.asarray(drawn(np.arange(steps)))


MODALITY = Signal
