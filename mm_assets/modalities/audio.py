"""Recordings, and the sound of videos, in any codec that FFmpeg decodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar

import av
import numpy as np
from pydantic import Field

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.container import open_container
from mm_assets.data.loudness import measure_loudness
from mm_assets.data.media import read_media
from mm_assets.data.noise import add_noise, draw_pink_noise, to_snr_db
from mm_assets.modalities import base

Positive = Annotated[float, Field(gt=0)]

LEAST_RATE_HZ, MOST_RATE_HZ = 1_000, 384_000  # bats are recorded at the highest
MOST_CHANNELS = 64
FULL_SCALE = 1 - 2**-15  # the highest sample of 16 bits
TRIM_BLOCK_S = 0.02  # silence is looked for in steps of this


class AudioOptions(base.Options):
    """What a legal recording is, and how it is cleaned."""

    limits: ClassVar[frozenset[str]] = frozenset({"max_megabytes", "min_s", "max_s", "silence_db"})

    max_megabytes: Positive = 100.0
    min_s: Annotated[float, Field(ge=0.01)] = 0.1  # after silence is cut off
    max_s: Positive = 60.0  # before
    silence_db: Annotated[float, Field(lt=0)] = -60.0  # peak below this, re full scale, is silence
    channel: Annotated[int, Field(ge=0)] | None = None  # from 0; null: the mean of all
    # Start and end this far below the loudest 20 ms are cut off; null: nothing is. -40 is usual.
    trim_db: Annotated[float, Field(lt=0)] | None = None
    # ITU-R BS.1770 loudness that all get, unless they would clip; null: as recorded. -23 is usual.
    loudness_lufs: Annotated[float, Field(ge=-60, le=0)] | None = None


class AudioAugment(base.Options):
    """Strongest change of a copy; each is drawn uniformly up to it.

    SpecAugment masks a spectrogram, which is the encoder's: `mel_cnn` and `mel_lstm` do it while
    they are fitted.
    """

    gain_db: Annotated[float, Field(ge=0, le=40)] = 2.0
    snr_db: float = 25.0  # of white noise: drawn between this, the strongest, and 20 dB above
    shift_s: Annotated[float, Field(ge=0)] = 0.05  # silence put before, or the start cut off
    stretch: Annotated[float, Field(ge=0, le=0.25)] = 0.05  # of the tempo; the pitch stays
    pitch_semitones: Annotated[float, Field(ge=0, le=6)] = 0.5  # the tempo stays


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
    """A recording as one channel; resampled when a batch is made."""

    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 2
    decoders: ClassVar[tuple[str, ...]] = ("av",)
    is_file: ClassVar[bool] = True
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {"samples": (1,)}
    options_model: ClassVar[type[base.Options]] = AudioOptions
    options: AudioOptions
    augment_model: ClassVar[type[base.Options]] = AudioAugment
    augmentation: AudioAugment

    def read(self, cell: object, folder: Path) -> bytes:
        """Read the file; see `read_media` for the reasons it may give."""
        return read_media(cell, folder, max_megabytes=self.options.max_megabytes)

    def probe(self, cell: object, folder: Path) -> dict[str, float | int | str]:
        """Measure `duration_s`, `rate_hz`, `peak`, `clipped_share` and `bytes`; see `Modality.probe`."""
        data = self.read(cell, folder)
        wave = self._decode(data)
        return {
            "content": base.digest_content(data),
            "duration_s": len(wave.samples) / wave.rate_hz,
            "rate_hz": wave.rate_hz,
            "peak": float(np.abs(wave.samples).max()),
            "clipped_share": float(np.mean(np.abs(wave.samples) >= FULL_SCALE)),
            "bytes": len(data),
        }

    def decode(self, cell: object, folder: Path) -> Waveform:
        """Read the recording at its own rate.

        Raises:
            BadSampleError: As `read_media`, or ``audio_unreadable``, ``audio_rate``,
                ``audio_channels``, ``audio_not_finite``, ``audio_too_short``, ``audio_too_long``
                or ``audio_silent``.
        """
        return self._decode(self.read(cell, folder))

    def _decode(self, data: bytes) -> Waveform:
        """Decode bytes, no further than the longest legal recording, and clean them.

        Raises:
            BadSampleError: As `decode`.
        """
        least_s, most_s = self.options.min_s, self.options.max_s
        samples, rate_hz = _decode_channel(data, self.options.channel, max_s=most_s)
        if len(samples) > most_s * rate_hz:
            raise BadSampleError(
                "audio_too_long", f"it lasts longer than the limit of {most_s:g} s"
            )
        if not np.isfinite(samples).all():
            raise BadSampleError("audio_not_finite", "some samples are not finite numbers")
        duration_s = len(samples) / rate_hz
        if duration_s < least_s:
            raise BadSampleError(
                "audio_too_short", f"it lasts {duration_s:.3f} s, {least_s:g} s is least"
            )
        if np.abs(samples).max() < 10 ** (self.options.silence_db / 20):
            raise BadSampleError(
                "audio_silent", f"its peak is below {self.options.silence_db:g} dB of full scale"
            )
        wave = Waveform(np.clip(samples, -1, 1), rate_hz)
        if self.options.trim_db is not None:
            wave = trim_silence(wave, self.options.trim_db)
            duration_s = len(wave.samples) / rate_hz
            if duration_s < least_s:
                raise BadSampleError(
                    "audio_too_short",
                    f"without the silence around it, it lasts {duration_s:.3f} s, {least_s:g} s is "
                    "least",
                )
        if self.options.loudness_lufs is not None:
            wave = set_loudness(wave, self.options.loudness_lufs)
        return wave

    def describe(self, value: Waveform) -> base.Sketch:
        """Show the waveform."""
        return base.Sketch(
            caption=f"{len(value.samples) / value.rate_hz:.2f} s at {value.rate_hz} Hz",
            curves=value.samples[None],
            oscillates=True,
        )

    def plan(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw gain, noise, shift, tempo, pitch and the noise's seed; see `Modality.plan`."""
        most = self.augmentation
        return {
            "gain_db": round(rng.uniform(-1, 1) * most.gain_db, 3),
            "snr_db": round(most.snr_db + 20 * rng.random(), 2),
            "shift_s": round(rng.uniform(-1, 1) * most.shift_s, 4),
            "tempo": round((1 + most.stretch) ** rng.uniform(-1, 1), 4),
            "pitch_semitones": round(rng.uniform(-1, 1) * most.pitch_semitones, 3),
            "seed": int(rng.integers(2**32)),
        }

    def render(self, value: Waveform, plan: Mapping[str, Any]) -> Waveform:
        """Change tempo and pitch, shift, change the gain and add white noise at the planned SNR."""
        wave = change_tempo_and_pitch(value, plan["tempo"], plan["pitch_semitones"])
        samples, shift = wave.samples, round(plan["shift_s"] * value.rate_hz)
        if shift >= 0:
            samples = np.concatenate([np.zeros(shift, dtype=np.float32), samples])
        elif -shift < len(samples):
            samples = samples[-shift:]
        samples = samples * np.float32(10 ** (plan["gain_db"] / 20))
        rng = np.random.default_rng(plan["seed"])
        noise = rng.standard_normal(len(samples), dtype=np.float32)
        noise *= np.sqrt(np.mean(samples**2)) * 10 ** (-plan["snr_db"] / 20)
        return Waveform(np.clip(samples + noise, -1, 1).astype(np.float32), value.rate_hz)

    def corrupt(self, value: Waveform, level: float, rng: np.random.Generator) -> Waveform:
        """Add noise at a signal-to-noise ratio of ``40 - 50 * level`` dB; see `Modality.corrupt`.

        It is white or pink, each with probability 1/2. The ratio is that of the mean power of the
        whole recording, pauses included, at its own rate. What would be louder than full scale is
        turned down as a whole, which keeps the ratio; silence stays silent.

        Raises:
            DataContractError: The level is not in [0, 1].

        Source:
            White and pink noise at a ratio in dB are the baseline conditions of noisy speech; see
            Varga, Steeneken 1993, NOISEX-92, https://doi.org/10.1016/0167-6393(93)90095-3
        """
        self._require_level(level)
        if not level:
            return value
        steps = len(value.samples)
        pink = rng.random() < 0.5
        noise = draw_pink_noise(steps, value.rate_hz, rng) if pink else rng.standard_normal(steps)
        noisy = add_noise(value.samples, noise, to_snr_db(level))
        noisy /= max(np.abs(noisy).max(), 1)
        return Waveform(noisy.astype(np.float32), value.rate_hz)

    def collate(self, values: Sequence[Waveform], inputs: Mapping[str, Any]) -> base.Arrays:
        """Cut at the encoder's `max_s`, resample to its `rate_hz`, pad with zeros.

        Returns:
            ``samples``, float32 (batch, time), and ``length`` in samples, int64 (batch,).
        """
        rate_hz, max_s = inputs["rate_hz"], inputs["max_s"]
        most = round(max_s * rate_hz)
        waves = [resample(cut(wave, max_s), rate_hz).samples[:most] for wave in values]
        length = np.array([len(wave) for wave in waves], dtype=np.int64)
        samples = np.zeros((len(waves), length.max()), dtype=np.float32)
        for row, wave in zip(samples, waves, strict=True):
            row[: len(wave)] = wave
        return {"samples": samples, "length": length}

    def placeholder(self, inputs: Mapping[str, Any]) -> Waveform:
        """Give the shortest legal recording, silent."""
        rate_hz = inputs["rate_hz"]
        return Waveform(np.zeros(round(self.options.min_s * rate_hz), np.float32), rate_hz)


def cut(wave: Waveform, max_s: float) -> Waveform:
    """Keep the start."""
    return Waveform(wave.samples[: round(max_s * wave.rate_hz)], wave.rate_hz)


def resample(wave: Waveform, rate_hz: int) -> Waveform:
    """Change the rate with FFmpeg's resampler, which filters what the new rate cannot hold."""
    if wave.rate_hz == rate_hz:
        return wave
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_hz)
    parts = [*resampler.resample(_make_frame(wave)), *resampler.resample(None)]
    samples = np.concatenate([part.to_ndarray()[0] for part in parts])
    return Waveform(np.clip(samples, -1, 1), rate_hz)


def trim_silence(wave: Waveform, trim_db: float) -> Waveform:
    """Cut off start and end, as far as every block of 20 ms is that much below the loudest."""
    block = max(round(TRIM_BLOCK_S * wave.rate_hz), 1)
    starts = np.arange(0, len(wave.samples), block)
    sizes = np.diff(np.append(starts, len(wave.samples)))
    power = np.add.reduceat(wave.samples.astype(np.float64) ** 2, starts) / sizes
    (loud,) = np.nonzero(power >= power.max() * 10 ** (trim_db / 10))
    return Waveform(wave.samples[loud[0] * block : (loud[-1] + 1) * block], wave.rate_hz)


def set_loudness(wave: Waveform, loudness_lufs: float) -> Waveform:
    """Scale to a loudness, or as near to it as the highest sample may go; silence stays as it is."""
    found_lufs = measure_loudness(wave.samples, wave.rate_hz)
    if np.isneginf(found_lufs):
        return wave
    gain = min(10 ** ((loudness_lufs - found_lufs) / 20), 1 / np.abs(wave.samples).max())
    return Waveform(np.clip(wave.samples * np.float32(gain), -1, 1), wave.rate_hz)


def change_tempo_and_pitch(wave: Waveform, tempo: float, pitch_semitones: float) -> Waveform:
    """Play faster without raising the pitch, and raise the pitch without playing faster.

    Raising the rate raises both; FFmpeg's `atempo`, which overlaps and adds, mends the tempo.

    Args:
        wave: Of any length.
        tempo: How many times as fast.
        pitch_semitones: Twelve are an octave.
    """
    if tempo == 1 and pitch_semitones == 0:
        return wave
    raised_hz = round(wave.rate_hz * 2 ** (pitch_semitones / 12))
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_abuffer(
            sample_rate=wave.rate_hz,
            format="fltp",
            layout="mono",
            time_base=Fraction(1, wave.rate_hz),
        ),
        graph.add("asetrate", str(raised_hz)),
        graph.add("aresample", str(wave.rate_hz)),
        graph.add("atempo", f"{tempo * wave.rate_hz / raised_hz:.9f}"),
        graph.add("abuffersink"),
    ).configure()
    graph.push(_make_frame(wave))
    graph.push(None)
    parts: list[np.ndarray] = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.BlockingIOError, av.EOFError):
            break
    return Waveform(np.concatenate(parts) if parts else wave.samples, wave.rate_hz)


def _make_frame(wave: Waveform) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(wave.samples[None], format="fltp", layout="mono")
    frame.sample_rate = wave.rate_hz
    return frame


def _decode_channel(data: bytes, channel: int | None, *, max_s: float) -> tuple[np.ndarray, int]:
    """Decode one channel of the first audio stream, or their mean, stopping soon after `max_s`.

    Raises:
        BadSampleError: ``audio_unreadable``, ``audio_rate`` or ``audio_channels``.
    """
    with open_container(data, reason="audio_unreadable") as container:
        if not container.streams.audio:
            raise BadSampleError("audio_unreadable", "the file has no audio stream")
        if container.streams.audio[0].codec_context is None:
            raise BadSampleError("audio_unreadable", "FFmpeg has no decoder for its sound")
        blocks: list[np.ndarray] = []
        rate_hz, count = 0, 0
        for block, rate_hz in _decode_blocks(container, channel):
            blocks.append(block)
            count += len(block)
            if count > max_s * rate_hz:
                break
    if not count:
        raise BadSampleError("audio_unreadable", "the file holds no sound")
    return np.concatenate(blocks), rate_hz


def _decode_blocks(
    container: av.container.InputContainer, channel: int | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield float32 (time,) blocks in [-1, 1] with their rate; rate and layout stay the first's.

    Raises:
        BadSampleError: ``audio_rate`` or ``audio_channels``.
    """
    resampler = None
    for frame in container.decode(audio=0):
        rate_hz = frame.sample_rate
        if resampler is None:
            _check_frame(rate_hz, frame.layout.nb_channels, channel)
            resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate_hz)
        for part in resampler.resample(frame):
            channels = part.to_ndarray()
            mono = channels.mean(axis=0, dtype=np.float32) if channel is None else channels[channel]
            yield mono, part.sample_rate


def _check_frame(rate_hz: int, channels: int, channel: int | None) -> None:
    """Refuse what no recording has.

    Raises:
        BadSampleError: ``audio_rate`` or ``audio_channels``.
    """
    if not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ:
        raise BadSampleError(
            "audio_rate",
            f"it has {rate_hz} samples a second, legal are {LEAST_RATE_HZ} to {MOST_RATE_HZ}",
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise BadSampleError(
            "audio_channels", f"it has {channels} channels, legal are 1 to {MOST_CHANNELS}"
        )
    if channel is not None and channel >= channels:
        raise BadSampleError(
            "audio_channels", f"it has {channels} channels, of which `channel: {channel}` is none"
        )


MODALITY = Audio
