"""Clips of cranes at work, seen and heard: generated, with a known answer.

A crate moves left, right, up or down before a yard. Which way cannot be told from one frame: where
the crate is says nothing about where it goes. The motor is heard, too: in its sound is the motion,
and whether the load is heavy, which nobody sees. Now and then fog hides the crate, or wind drowns
the motor, and then there is nothing to go by; so the best that any model can reach is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from mm_assets.contracts.errors import SourceError
from mm_assets.data.atomic import write_json
from mm_assets.data.card import CARD_VERSION
from mm_assets.data.progress import show_progress

WIDTH, HEIGHT = 80, 64  # pixels
RATE_HZ, FRAMES = 10, 12  # of the pictures
SOUND_HZ = 16_000
SUBSETS = (("video",), ("audio",), ("video", "audio"))
CLEAR = {"video": 0.8, "audio": 0.7}  # probability of no fog, and of no wind
CLASSES = {"motion": ("left", "right", "up", "down"), "load": ("light", "heavy")}
PRIORS = {"motion": (0.25, 0.25, 0.25, 0.25), "load": (0.6, 0.4)}
SHOWN_IN = {"motion": ("video", "audio"), "load": ("audio",)}
COLUMNS = ("id", "crane", "clip", *CLASSES)
# Per frame, as a share of the way: rightwards and downwards.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
GLIDE_SEMITONES = {"left": 0.0, "right": 0.0, "up": 9.0, "down": -9.0}  # from start to end
PULSES_HZ = {"left": 4.0, "right": 10.0, "up": 0.0, "down": 0.0}
PITCH_HZ = {"light": 320.0, "heavy": 160.0}
FOG, WIND = 160.0, 0.12  # grey of one, level of the other
WAY = 0.35  # of the frame's height, in the course of a clip


@dataclass(frozen=True)
class Crane:
    """One yard with its camera and its motor.

    Attributes:
        name: Of the group.
        yard: float32 (height, width, 3), what stands behind the crate.
        grain: Standard deviation of the camera's noise, of 255.
        tune: Factor on the motor's pitch.
        rattle: Level of the noise beside the motor.
    """

    name: str
    yard: Float[np.ndarray, "height width 3"]
    grain: float
    tune: float
    rattle: float


def generate_crane(folder: Path, *, rows: int = 480, cranes: int = 24, seed: int = 5) -> None:
    """Write clips of cranes: `samples.csv`, `card.json` and `clip/`.

    Args:
        folder: Where to; made if absent, else empty.
        rows: How many clips.
        cranes: How many cranes they come from, in turn.
        seed: Of everything that is drawn; a row depends on it, its crane and its number alone.

    Raises:
        SourceError: The folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SourceError(f"the clips need an empty folder, but {folder} holds files; empty it")
    (folder / "clip").mkdir(parents=True)
    fleet = [draw_crane(seed, number) for number in range(cranes)]
    lines = [",".join(COLUMNS)]
    for k in show_progress(range(rows), title="clips", total=rows):
        crane, turn = fleet[k % cranes], k // cranes
        rng = np.random.default_rng([seed, k % cranes, 1 + turn])
        motion, load = (str(rng.choice(CLASSES[name], p=PRIORS[name])) for name in CLASSES)
        fog, wind = (bool(rng.random() > clear) for clear in CLEAR.values())
        cells = (f"{crane.name}-{turn:02d}", crane.name, f"clip/{crane.name}-{turn:02d}.mp4")
        frames = film(crane, motion, rng, fog=fog)
        write_clip(folder / cells[2], frames, hum(crane, motion, load, rng, wind=wind))
        lines.append(",".join([*cells, motion, load]))
    (folder / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "card.json", describe())


def draw_crane(seed: int, number: int) -> Crane:
    """Draw one yard; the same number is the same one each time."""
    rng = np.random.default_rng([seed, number])
    yard = np.empty((HEIGHT, WIDTH, 3), np.float32)
    yard[:] = rng.uniform(90, 190, 3)
    for _ in range(4):  # sheds
        left, top = rng.integers(0, WIDTH - 10), rng.integers(HEIGHT // 3, HEIGHT - 8)
        yard[top : top + rng.integers(8, 24), left : left + rng.integers(8, 30)] = rng.uniform(
            50, 200, 3
        )
    return Crane(
        name=f"k{number:02d}",
        yard=yard,
        grain=float(rng.uniform(4, 14)),
        tune=float(2 ** rng.uniform(-0.15, 0.15)),
        rattle=float(rng.uniform(0.02, 0.1)),
    )


def film(
    crane: Crane, motion: str, rng: np.random.Generator, *, fog: bool
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Draw a crate on its way, halfway in the middle of the clip.

    Args:
        crane: Before whose yard.
        motion: Where to.
        rng: Draws place, size, speed, colour and the camera's noise.
        fog: Whether there is nothing to be seen.
    """
    side = round(rng.uniform(0.16, 0.24) * HEIGHT)
    way = rng.uniform(0.8, 1.2) * WAY * HEIGHT
    middle = np.array([rng.uniform(0.3, 0.7) * WIDTH, rng.uniform(0.35, 0.65) * HEIGHT])
    colour = rng.uniform(0, 255, 3)
    frames = np.repeat(crane.yard[None], FRAMES, axis=0)
    for place, frame in enumerate(frames):
        share = place / (FRAMES - 1) - 0.5  # of the way, from -0.5 to 0.5
        corner = middle + share * way * np.array(DIRECTIONS[motion]) - side / 2
        x, y = corner.round().astype(int).tolist()
        frame[: max(y, 0), x + side // 2] = 30  # the cable
        frame[max(y, 0) : y + side, max(x, 0) : x + side] = colour
    if fog:
        frames[:] = FOG
    noisy = frames + rng.normal(0, crane.grain, frames.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def hum(
    crane: Crane, motion: str, load: str, rng: np.random.Generator, *, wind: bool
) -> Float[np.ndarray, " time"]:
    """Synthesize the motor.

    Args:
        crane: Whose.
        motion: Heard in a glide of the pitch, or in pulses.
        load: Heard in the pitch.
        rng: Draws small variations and the noise.
        wind: Whether there is nothing to be heard but noise.

    Returns:
        float32 within [-1, 1], at `SOUND_HZ`.
    """
    share = np.linspace(0, 1, FRAMES * SOUND_HZ // RATE_HZ, endpoint=False)  # of the clip
    semitones = GLIDE_SEMITONES[motion] * (share - 0.5) + rng.normal(0, 0.7)
    pitch_hz = PITCH_HZ[load] * crane.tune * 2 ** (semitones / 12)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SOUND_HZ
    tone = np.sum([np.sin(k * phase) / k for k in range(1, 6)], axis=0)
    beats = PULSES_HZ[motion] * FRAMES / RATE_HZ
    pulse = np.sin(2 * np.pi * (beats * share + rng.random())) if beats else np.ones(len(share))
    tone *= np.where(pulse > 0, 1.0, 0.15)
    noise = rng.normal(0, WIND if wind else crane.rattle, len(share))
    return np.clip(noise if wind else 0.15 * tone + noise, -1, 1).astype(np.float32)


def write_clip(
    path: Path,
    frames: UInt8[np.ndarray, "frames height width 3"],
    sound: Float[np.ndarray, " time"],
) -> None:
    """Write frames and sound as MP4, the same bytes each time on one machine.

    Args:
        path: Ends in `.mp4`.
        frames: RGB, at `RATE_HZ`.
        sound: float32 within [-1, 1], at `SOUND_HZ`.
    """
    import av

    # bitexact: neither the time of writing nor the library's version in the file. zerolatency: with
    # its look-ahead, x264 gives clips as small as these other bytes from run to run.
    with av.open(path, "w", container_options={"fflags": "+bitexact"}) as container:
        pictures = container.add_stream(
            "libx264", rate=RATE_HZ, options={"preset": "ultrafast", "tune": "zerolatency"}
        )
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        pictures.codec_context.thread_count = 1
        voice = container.add_stream(
            "aac", rate=SOUND_HZ, layout="mono", options={"aac_coder": "fast"}
        )
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE_HZ)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        block.sample_rate = SOUND_HZ
        fifo = av.AudioFifo()  # AAC takes 1024 samples at a time
        fifo.write(block)
        for part in fifo.read_many(1024, partial=True):
            container.mux(voice.encode(part))
        container.mux(voice.encode(None))


def bound(target: str, modalities: Sequence[str]) -> float:
    """Give the best accuracy that any model can reach on rows with these modalities.

    Where all that show the target are hidden, the majority class is the best guess.
    """
    hidden = np.prod([1 - CLEAR[m] for m in modalities if m in SHOWN_IN[target]])
    return float(1 - hidden * (1 - max(PRIORS[target])))


def describe() -> dict[str, object]:
    """Make the data's card: what it is, and how well it can be predicted."""
    return {
        "schema_version": CARD_VERSION,
        "title": "Cranes, seen and heard (generated clips)",
        "description": (
            "Made-up cranes move crates. The motion is seen in no single frame, and also heard; "
            "the load is heard alone. Fog hides a share of the pictures, and wind of the sounds, "
            "so the best accuracy that any model can reach is known (upper_bounds)."
        ),
        "licence": "Apache-2.0, as the code that generated it",
        "clear": CLEAR,
        "upper_bounds": {
            name: {"+".join(subset): round(bound(name, subset), 12) for subset in SUBSETS}
            for name in CLASSES
        },
    }
