"""Rows broken on purpose: each way real data goes wrong, once."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mm_assets.sources.sample.voice import DURATION_S, RATE_HZ, write_voice

Row = dict[str, str | None]
PREFIX = "broken-"


@dataclass(frozen=True)
class Fault:
    """One way to break a row.

    Attributes:
        reason: What validation must say of it: the code in quarantine.
        spoil: Takes a good row, whose files are its own, and the data folder; returns the rows to
            write instead of it. Those to be quarantined keep the prefix of the row's id.
    """

    reason: str
    spoil: Callable[[Row, Path], list[Row]]


def _set(**cells: str | None) -> Callable[[Row, Path], list[Row]]:
    """Break a row by what its cells hold."""
    return lambda row, folder: [{**row, **cells}]


def _write(column: str, content: Callable[[Path], bytes]) -> Callable[[Row, Path], list[Row]]:
    """Break a row by what its file holds: `content` sees the good file."""

    def spoil(row: Row, folder: Path) -> list[Row]:
        path = folder / str(row[column])
        path.write_bytes(content(path))
        return [row]

    return spoil


def _truncate_png(row: Row, folder: Path) -> list[Row]:
    """Store the photo as a PNG and lose its second half, as a broken upload does."""
    path = folder / str(row["photo"])
    png = path.with_suffix(".png")
    with Image.open(path) as photo:
        photo.save(png)
    path.unlink()
    png.write_bytes(png.read_bytes()[: png.stat().st_size // 2])
    return [{**row, "photo": png.relative_to(folder).as_posix()}]


def _lose_photo(row: Row, folder: Path) -> list[Row]:
    """Delete the file that the row names."""
    (folder / str(row["photo"])).unlink()
    return [row]


def _silence(row: Row, folder: Path) -> list[Row]:
    """Record with the microphone off."""
    write_voice(folder / str(row["voice"]), np.zeros(int(DURATION_S * RATE_HZ), np.float32))
    return [row]


def _record_for_two_minutes(row: Row, folder: Path) -> list[Row]:
    """Forget to stop the recording: a steady hum."""
    time_s = np.arange(120 * RATE_HZ) / RATE_HZ
    hum = 0.1 * np.sin(2 * np.pi * 120 * time_s)
    write_voice(folder / str(row["voice"]), hum.astype(np.float32), bits_per_s=6_000)
    return [row]


def _record_nan(row: Row, folder: Path) -> list[Row]:
    """Store a float WAV whose samples are not numbers, as a broken filter leaves it."""
    import av

    path = (folder / str(row["voice"])).with_suffix(".wav")
    (folder / str(row["voice"])).unlink()
    with av.open(path, "w", format="wav", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("pcm_f32le", rate=RATE_HZ, layout="mono")
        broken = np.full((1, RATE_HZ), np.nan, np.float32)
        frame = av.AudioFrame.from_ndarray(broken, format="flt", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return [{**row, "voice": path.relative_to(folder).as_posix()}]


def _cut_to_a_click(row: Row, folder: Path) -> list[Row]:
    """Record for two milliseconds."""
    path = (folder / str(row["voice"])).with_suffix(".wav")
    (folder / str(row["voice"])).unlink()
    with wave.open(str(path), "wb") as clip:
        clip.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        clip.writeframes((np.arange(32) * 500).astype("<i2").tobytes())
    return [{**row, "voice": path.relative_to(folder).as_posix()}]


def _repeat_id(row: Row, folder: Path) -> list[Row]:
    """Give a second, different message the id of the first."""
    return [row, {**row, "message": "I wrote already, see above.", "photo": None, "voice": None}]


def _repeat_content(row: Row, folder: Path) -> list[Row]:
    """Deliver the same message twice, under two ids and file names."""
    first = _copy(row, folder, str(row["id"]).replace(PREFIX, "kept-"))
    return [first, row]


def _contradict(row: Row, folder: Path) -> list[Row]:
    """Deliver the same message twice, labelled in two ways."""
    other = "negative" if row["sentiment"] == "positive" else "positive"
    return [row, {**_copy(row, folder, f"{row['id']}-again"), "sentiment": other}]


def _copy(row: Row, folder: Path, id_: str) -> Row:
    """Write a row's files again, named after another id."""
    paths = {c: str(row[c]).replace(str(row["id"]), id_) for c in ("photo", "voice")}
    for column, path in paths.items():
        shutil.copyfile(folder / str(row[column]), folder / path)
    return {**row, "id": id_, **paths}


FAULTS = {
    # The upload broke off.
    "truncated-png": Fault("image_truncated", _truncate_png),
    "truncated-jpeg": Fault(
        "image_truncated",
        _write("photo", lambda path: path.read_bytes()[: path.stat().st_size // 2]),
    ),
    # The web server's answer was stored under the photo's name.
    "photo-is-html": Fault("image_unreadable", _write("photo", lambda path: b"<h1>404</h1>")),
    "photo-empty": Fault("file_empty", _write("photo", lambda path: b"")),
    "photo-lost": Fault("file_missing", _lose_photo),
    # Nothing outside the data folder may be read, however the path is written.
    "photo-outside": Fault("path_outside_data", _set(photo="../params.yaml")),
    "photo-absolute": Fault("path_absolute", _set(photo="/etc/hostname")),
    # An empty text is a claim that the customer wrote nothing; a missing one is a null.
    "text-empty": Fault("text_empty", _set(message="")),
    "text-blank": Fault("text_empty", _set(message=" \t ")),
    "voice-silent": Fault("audio_silent", _silence),
    "voice-too-long": Fault("audio_too_long", _record_for_two_minutes),
    "voice-too-short": Fault("audio_too_short", _cut_to_a_click),
    "voice-nan": Fault("audio_not_finite", _record_nan),
    "voice-empty": Fault("file_empty", _write("voice", lambda path: b"")),
    "voice-is-noise": Fault(
        "audio_unreadable", _write("voice", lambda path: bytes(range(256)) * 4)
    ),
    "voice-is-folder": Fault("file_missing", _set(voice="voice")),
    "label-unknown": Fault("label_unknown", _set(sentiment="ecstatic")),
    # Case counts: nobody guesses what was meant.
    "label-case": Fault("label_unknown", _set(intent="Billing")),
    "nothing-given": Fault("no_modality", _set(message=None, photo=None, voice=None)),
    # Of two rows with one id the first stays, and so it is with equal content and equal labels.
    "id-twice": Fault("id_duplicated", _repeat_id),
    "content-twice": Fault("content_duplicated", _repeat_content),
    # With different labels neither can be trusted.
    "content-contradicts": Fault("label_contradicted", _contradict),
}
