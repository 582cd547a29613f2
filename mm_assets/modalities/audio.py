"""Recordings in any container and codec that FFmpeg decodes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import av
import numpy as np
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.media import read_media
from mm_assets.modalities import base

Positive = Annotated[float, Field(gt=0)]


class AudioOptions(base.Options):
    """What a legal recording is."""

    limits: ClassVar[frozenset[str]] = frozenset({"max_megabytes", "min_s", "max_s", "silence_db"})

    max_megabytes: Positive = 100.0
    min_s: Annotated[float, Field(ge=0.01)] = 0.1
    max_s: Positive = 60.0
    silence_db: Annotated[float, Field(lt=0)] = -60.0  # peak below this, re full scale, is silence


class AudioAugment(base.Options):
    """Strongest change of a copy; each is drawn uniformly up to it."""

    gain_db: Annotated[float, Field(ge=0, le=40)] = 2.0
    snr_db: float = 25.0  # of white noise: drawn between this, the strongest, and 20 dB above
    shift_s: Annotated[float, Field(ge=0)] = 0.05  # silence put before, or the start cut off


@dataclass(frozen=True)
class Waveform:
    """One channel of sound.

    Attributes:
        samples: float32 (time,), in [-1, 1].
        rate_hz: Samples per second.
    """

    samples: np.ndarray
    rate_hz: int


class Audio(base.Modality[Waveform]):
    """A recording, its channels averaged; resampled when a batch is made."""

    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    decoders: ClassVar[tuple[str, ...]] = ("av",)
    is_file: ClassVar[bool] = True
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {"samples": (1,)}
    options_model: ClassVar[type[base.Options]] = AudioOptions
    augment_model: ClassVar[type[base.Options]] = AudioAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Read the file; see `read_media` for the reasons it may give."""
        return read_media(cell, folder, max_megabytes=self.options.max_megabytes)

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `duration_s`, `rate_hz`, `peak` and `bytes`; see `Modality.probe`."""
        data = self.read(cell, folder)
        wave = self._decode(data)
        return {
            "content": base.digest_content(data),
            "duration_s": len(wave.samples) / wave.rate_hz,
            "rate_hz": wave.rate_hz,
            "peak": float(np.abs(wave.samples).max()),
            "bytes": len(data),
        }

    def decode(self, cell: object, folder: Path) -> Waveform:
        """Read the recording at its own rate.

        Raises:
            BadSampleError: As `read_media`, or ``audio_unreadable``, ``audio_not_finite``,
                ``audio_too_short``, ``audio_too_long`` or ``audio_silent``.
        """
        return self._decode(self.read(cell, folder))

    def _decode(self, data: bytes) -> Waveform:
        """Decode bytes, no further than the longest legal recording.

        Raises:
            BadSampleError: As `decode`.
        """
        try:
            samples, rate_hz = _decode_mono(data, max_s=self.options.max_s)
        except (av.FFmpegError, ValueError, IndexError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise BadSampleError("audio_unreadable", f"FFmpeg cannot decode it: {why}") from None
        duration_s = len(samples) / rate_hz
        if duration_s < self.options.min_s:
            raise BadSampleError(
                "audio_too_short", f"it lasts {duration_s:.3f} s, {self.options.min_s:g} s is least"
            )
        if duration_s > self.options.max_s:
            raise BadSampleError(
                "audio_too_long", f"it lasts longer than the limit of {self.options.max_s:g} s"
            )
        if not np.isfinite(samples).all():
            raise BadSampleError("audio_not_finite", "some samples are not finite numbers")
        if np.abs(samples).max() < 10 ** (self.options.silence_db / 20):
            raise BadSampleError(
                "audio_silent", f"its peak is below {self.options.silence_db:g} dB of full scale"
            )
        return Waveform(np.clip(samples, -1, 1), rate_hz)

    def describe(self, value: Waveform) -> base.Sketch:
        """Show the waveform."""
        return base.Sketch(
            caption=f"{len(value.samples) / value.rate_hz:.2f} s at {value.rate_hz} Hz",
            curves=value.samples[None],
            oscillates=True,
        )

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw gain, noise, shift and the noise's seed; see `Modality.plan`."""
        most = self.augmentation
        return {
            "gain_db": round(rng.uniform(-1, 1) * most.gain_db, 3),
            "snr_db": round(most.snr_db + 20 * rng.random(), 2),
            "shift_s": round(rng.uniform(-1, 1) * most.shift_s, 4),
            "seed": int(rng.integers(2**32)),
        }

    def render(self, value: Waveform, plan: Mapping[str, Any]) -> Waveform:
        """Shift, change the gain and add white noise at the planned ratio of powers."""
        samples, shift = value.samples, round(plan["shift_s"] * value.rate_hz)
        if shift >= 0:
            samples = np.concatenate([np.zeros(shift, dtype=np.float32), samples])
        elif -shift < len(samples):
            samples = samples[-shift:]
        samples = samples * np.float32(10 ** (plan["gain_db"] / 20))
        rng = np.random.default_rng(plan["seed"])
        noise = rng.standard_normal(len(samples), dtype=np.float32)
        noise *= np.sqrt(np.mean(samples**2)) * 10 ** (-plan["snr_db"] / 20)
        return Waveform(np.clip(samples + noise, -1, 1).astype(np.float32), value.rate_hz)

    def collate(self, values: Sequence[Waveform], inputs: Mapping[str, Any]) -> base.Arrays:
        """Resample to the encoder's `rate_hz`, cut at its `max_s`, pad with zeros.

        Returns:
            ``samples``, float32 (batch, time), and ``length`` in samples, int64 (batch,).
        """
        rate_hz = inputs["rate_hz"]
        most = round(inputs["max_s"] * rate_hz)
        waves = [resample(wave, rate_hz).samples[:most] for wave in values]
        length = np.array([len(wave) for wave in waves], dtype=np.int64)
        samples = np.zeros((len(waves), length.max()), dtype=np.float32)
        for row, wave in zip(samples, waves, strict=True):
            row[: len(wave)] = wave
        return {"samples": samples, "length": length}

    def placeholder(self, inputs: Mapping[str, Any]) -> Waveform:
        """Give the shortest legal recording, silent."""
        rate_hz = inputs["rate_hz"]
        return Waveform(np.zeros(round(self.options.min_s * rate_hz), np.float32), rate_hz)


def resample(wave: Waveform, rate_hz: int) -> Waveform:
    """Change the rate with FFmpeg's resampler, which filters what the new rate cannot hold."""
    if wave.rate_hz == rate_hz:
        return wave
    frame = av.AudioFrame.from_ndarray(wave.samples[None], format="fltp", layout="mono")
    frame.sample_rate = wave.rate_hz
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_hz)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    samples = np.concatenate([part.to_ndarray()[0] for part in parts])
    return Waveform(np.clip(samples, -1, 1), rate_hz)


def _decode_mono(data: bytes, *, max_s: float) -> tuple[np.ndarray, int]:
    """Decode the first audio stream and average its channels, stopping soon after `max_s`.

    Raises:
        BadSampleError: ``audio_unreadable``: no sound in the file.
    """
    with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise BadSampleError("audio_unreadable", "the file has no audio stream")
        blocks: list[np.ndarray] = []
        rate_hz, count = 0, 0
        for block, rate_hz in _decode_blocks(container):
            blocks.append(block.mean(axis=0, dtype=np.float32))
            count += len(blocks[-1])
            if count > max_s * rate_hz:
                break
    if not count:
        raise BadSampleError("audio_unreadable", "the file holds no sound")
    return np.concatenate(blocks), rate_hz


def _decode_blocks(container: av.container.InputContainer) -> Iterator[tuple[np.ndarray, int]]:
    """Yield float32 (channel, time) blocks in [-1, 1] with their rate, which stays the first's."""
    resampler = None
    for frame in container.decode(audio=0):
        rate_hz = frame.sample_rate
        if resampler is None:
            resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate_hz)
        for part in resampler.resample(frame):
            yield part.to_ndarray(), part.sample_rate


MODALITY = Audio
