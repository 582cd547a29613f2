"""Spoken messages: syllables without words, whose mood lies in pitch, pace and loudness.

Formant-wave-function synthesis: every glottal pulse makes the vocal tract ring, and the ringing
is a sum of damped sinusoids, one per formant.

Source:
    Rodet 1984, "Time-domain formant-wave-function synthesis", Computer Music Journal 8(3).
    Vowel formants: Peterson and Barney 1952, Table II (men), scaled to other vocal tracts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE_HZ = 16_000
DURATION_S = 1.5
VOWELS_HZ = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
BANDWIDTHS_HZ = (60, 90, 150)
FORMANT_GAINS = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Mood:
    """How a sentiment sounds, relative to the speaker's own voice.

    Attributes:
        raise_semitones: Mean pitch above the speaker's usual one.
        glide_semitones: Rise of the pitch from the start to the end of the clip.
        wobble_semitones: Rise and fall of the pitch within each syllable.
        syllables_per_s: Pace.
        loudness_db: Level above the speaker's usual one.
    """

    raise_semitones: float
    glide_semitones: float
    wobble_semitones: float
    syllables_per_s: float
    loudness_db: float


MOODS = {
    "negative": Mood(-2.0, -7.0, 0.3, 2.4, -7.0),
    "neutral": Mood(0.0, 0.0, 0.3, 4.2, 0.0),
    "positive": Mood(3.0, 5.0, 3.0, 6.5, 5.0),
}


@dataclass(frozen=True)
class Speaker:
    """One customer's voice and microphone.

    Attributes:
        pitch_hz: Usual pitch.
        tract: Factor on all formants: 1 for a long vocal tract, up to 1.25 for a short one.
        level_db: Usual level of the recording, root mean square below full scale.
        noise_db: Level of the room's noise, relative to the voice.
    """

    pitch_hz: float
    tract: float
    level_db: float
    noise_db: float


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Draw a customer's voice; short vocal tracts go with high voices."""
    height = rng.uniform()
    return Speaker(
        pitch_hz=float(100 * 2 ** (height + rng.normal(0, 0.08))),
        tract=float(1 + 0.2 * height + rng.normal(0, 0.02)),
        level_db=float(rng.uniform(-27, -23)),
        noise_db=float(rng.uniform(-45, -30)),
    )


def speak(speaker: Speaker, sentiment: str, rng: np.random.Generator) -> np.ndarray:
    """Synthesize a clip that plainly shows a sentiment, in this customer's voice.

    Args:
        speaker: Whose voice.
        sentiment: A key of `MOODS`.
        rng: Draws vowels and small variations of the mood.

    Returns:
        Waveform (steps,), float32 within [-1, 1], `DURATION_S` at `RATE_HZ`, mono.
    """
    mood = MOODS[sentiment]
    steps = int(DURATION_S * RATE_HZ)
    clip = np.zeros(steps + RATE_HZ)
    syllable_s = 1 / (mood.syllables_per_s * rng.uniform(0.9, 1.1))
    start_s, shift = rng.uniform(0.02, 0.1), rng.normal(0, 0.4)  # semitones
    while start_s + 0.5 * syllable_s < DURATION_S:
        voiced_s = syllable_s * rng.uniform(0.6, 0.75)
        ringing = _ring(str(rng.choice(list(VOWELS_HZ))), speaker.tract)
        at_s = start_s
        while at_s < min(start_s + voiced_s, DURATION_S):
            within = (at_s - start_s) / voiced_s
            semitones = (
                mood.raise_semitones
                + mood.glide_semitones * (at_s / DURATION_S - 0.5)
                + mood.wobble_semitones * np.sin(np.pi * within)
                + shift
            )
            loud = np.sin(np.pi * np.clip(within, 0.08, 0.92)) ** 0.5
            at = int(at_s * RATE_HZ)
            clip[at : at + len(ringing)] += loud * ringing
            at_s += 1 / (speaker.pitch_hz * 2 ** (semitones / 12) * rng.normal(1, 0.005))
        start_s += syllable_s * rng.uniform(0.92, 1.08)
    clip = clip[:steps]
    clip /= np.sqrt(np.mean(clip**2))
    clip += rng.normal(0, 10 ** (speaker.noise_db / 20), steps)
    gain_db = speaker.level_db + mood.loudness_db + rng.normal(0, 1)
    return np.clip(clip * 10 ** (gain_db / 20), -1, 1).astype(np.float32)


def write_voice(path: Path, waveform: np.ndarray, *, bits_per_s: int = 20_000) -> None:
    """Write a mono waveform (steps,) at `RATE_HZ` as Ogg Opus.

    Args:
        path: Ends in `.ogg`.
        waveform: float32 within [-1, 1].
        bits_per_s: The encoder's aim; the usual one makes about 4 kB of a clip.
    """
    import av

    # bitexact: without it the stream gets a random serial number, and equal clips differ.
    with av.open(path, "w", format="ogg", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libopus", rate=RATE_HZ, layout="mono", options={"compression_level": "5"}
        )
        stream.bit_rate = bits_per_s
        frame = av.AudioFrame.from_ndarray(waveform[None], format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def _ring(vowel: str, tract: float) -> np.ndarray:
    """Give the vocal tract's answer to one glottal pulse: 25 ms, (400,)."""
    time_s = np.arange(int(0.025 * RATE_HZ)) / RATE_HZ
    attack = 1 - np.exp(-time_s / 0.0005)  # glottal pulses are rounded, not clicks
    return attack * sum(
        gain * np.exp(-np.pi * band * time_s) * np.sin(2 * np.pi * tract * formant * time_s)
        for formant, band, gain in zip(VOWELS_HZ[vowel], BANDWIDTHS_HZ, FORMANT_GAINS, strict=True)
    )
