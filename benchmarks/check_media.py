"""10,000 rows with 20,000 small media files through `mm init` and `mm check`: seconds, and memory.

Each row has a photo (PNG, 64 x 64) and a voice clip (0.5 s at 16 kHz; half of them WAV, half
Opus), made anew in a temporary folder; 2 rows in 1000 have a damaged file:

    python benchmarks/check_media.py [--rows 10000]

It fails above 3 s for `mm init` and 60 s for `mm check`, the limits on two cores.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from measure import judge, make_project, run_mm
from PIL import Image
from pyarrow import csv, table

RATE_HZ, SAMPLES, SIDE_PX = 16_000, 8_000, 64


def make_photo(rng: np.random.Generator) -> bytes:
    """Encode a gradient with some noise, which PNG compresses about as well as a drawing."""
    ramp = np.add.outer(np.arange(SIDE_PX), np.arange(SIDE_PX))[..., None]
    pixels = ramp * rng.random(3) + rng.integers(0, 8, (SIDE_PX, SIDE_PX, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def make_voice(rng: np.random.Generator, suffix: str) -> bytes:
    """Encode a tone in noise."""
    time_s = np.arange(SAMPLES) / RATE_HZ
    wave = 0.3 * np.sin(2 * np.pi * rng.uniform(80, 300) * time_s) + rng.normal(0, 0.01, SAMPLES)
    whole = (wave * 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=suffix) as container:
        codec = "pcm_s16le" if suffix == "wav" else "libopus"
        stream = container.add_stream(codec, rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def make_data(data: Path, rows: int) -> None:
    """Write the files and their table."""
    rng = np.random.default_rng(0)
    columns: dict[str, list[str]] = {"id": [], "photo": [], "voice": [], "mood": []}
    (data / "photos").mkdir()
    (data / "voices").mkdir()
    for row in range(rows):
        photo, suffix = make_photo(rng), "wav" if row % 2 else "ogg"
        voice = make_voice(rng, suffix)
        files = {"photo": f"photos/{row}.png", "voice": f"voices/{row}.{suffix}"}
        # One of each is cut short.
        (data / files["photo"]).write_bytes(photo[:100] if row % 1000 == 1 else photo)
        (data / files["voice"]).write_bytes(voice[:30] if row % 1000 == 2 else voice)
        for name, value in {"id": f"s{row}", **files, "mood": rng.choice(["glad", "sad"])}.items():
            columns[name].append(str(value))
    csv.write_csv(table(columns), data / "samples.csv")


def main() -> None:
    """Make the data, validate it, and exit non-zero above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_project(root)
        make_data(root / "data", rows)
        fine = True
        for command, most_s in ((("init", "data", "--yes"), 3), (("check", "--no-open"), 60)):
            what = f"mm {command[0]}: {rows} rows, {2 * rows} files"
            fine &= judge(run_mm(root, *command), what=what, most_s=most_s)
        sys.exit(not fine)


if __name__ == "__main__":
    main()
