"""What the cells of a table's columns are, whatever they are for: seen from a sample of them."""

from __future__ import annotations

import json
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FormKind = Literal[
    "nothing",  # nothing that a model could read
    "row_numbers",
    "image",
    "audio",
    "video",
    "signal",
    "events",
    "features",
    "labels",  # several to a cell
    "number",
    "category",
    "text",
]
SAMPLE = 2000  # cells of a column that are looked at; distinct values are counted over all
LOOKED_FOR, OPENED = 200, 40  # media files whose existence, and whose header, is looked at
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".wma"}
VIDEO_SUFFIXES = {".mp4", ".m4v", ".webm", ".mov", ".avi", ".mkv"}
SIGNAL_SUFFIXES = {".npy", ".npz", ".csv", ".tsv", ".parquet"}
OTHER_SUFFIXES = {".pdf", ".json", ".txt", ".docx", ".html", ".xml", ".zip", ".pkl", ".mat", ".edf"}
SEPARATORS = ("|", ";", ",")
MOST_LABELS = 100  # that a column of several labels to a cell is thought to have
MISSING = {"", "nan"}  # texts that are read as a missing number
ENGLISH = {"the", "and", "to", "of", "a", "in", "is", "it", "for", "you", "i", "that", "on"}
ENGLISH |= {"my", "with", "was", "not", "this", "have", "be"}
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")
DECIMAL_COMMA = re.compile(r"-?\d{1,3}(\.\d{3})*,\d+")


@dataclass(frozen=True)
class Form:
    """What the cells of a column are.

    Attributes:
        kind: See `FormKind`.
        reason: What was seen, for a comment.
        sure: Whether it is beyond doubt.
        distinct: Different values, null not counted; 0 for lists.
        details: What a modality or target of this column needs to be told: ``dim``, ``sequence``,
            ``size_px``, ``max_s``, ``channels``, ``separator``, ``encoder``.
    """

    kind: FormKind
    reason: str
    sure: bool = True
    distinct: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


def look_at_column(values: pd.Series, folder: Path) -> Form:
    """Tell what a column's cells are.

    Args:
        values: One column of a raw table.
        folder: Where the table lies, to which paths are relative.
    """
    import pandas as pd

    known = values.dropna()
    if known.empty:
        return Form("nothing", "it has no value")
    sample = known if len(known) <= SAMPLE else known.sample(SAMPLE, random_state=0).sort_index()
    cells = sample.tolist()
    if _are_histories(cells):
        return Form("events", "lists of events, each with its time and type")
    if (vectors := _read_vectors(cells)) is not None:
        return _describe_vectors(vectors)
    if all(isinstance(cell, list | tuple) or hasattr(cell, "tolist") for cell in cells):
        return _describe_lists([list(cell) for cell in cells])
    if any(isinstance(cell, dict) for cell in cells):
        return Form("nothing", "its cells are nested objects")
    distinct = int(known.astype("str").nunique())
    if distinct == 1:
        return Form("nothing", f"every row has {quote(cells[0])}", distinct=1)
    if pd.api.types.is_datetime64_any_dtype(values):
        return Form("nothing", "dates and times, which no kind reads", distinct=distinct)
    texts = [str(cell) for cell in cells]
    if _is_numbering(known, distinct, rows=len(values)):
        return Form("row_numbers", "the number of its row", distinct=distinct)
    if pd.api.types.is_bool_dtype(values):
        return Form("category", "yes or no", distinct=distinct)
    for look in (_look_for_dates, _look_for_numbers, _look_for_media, _look_for_labels):
        if (form := look(texts, folder)) is not None:
            return Form(form.kind, form.reason, form.sure, distinct, form.details)
    return _judge_words(texts, distinct=distinct, rows=len(known))


def quote(value: object) -> str:
    """Write a value for a comment: short, quoted, on one line."""
    text = str(value)
    return json.dumps(text if len(text) <= 40 else text[:39] + "…", ensure_ascii=False)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(len(flags), 1)


def _load_list(cell: object) -> list[Any] | None:
    """Give the list that a cell is, or holds as JSON; null where it is none."""
    try:
        raw = json.loads(cell) if isinstance(cell, str) and cell[:1] == "[" else cell
    except (ValueError, RecursionError):
        return None
    listed = raw.tolist() if hasattr(raw, "tolist") else raw
    return list(listed) if isinstance(listed, list | tuple) else None


def _are_histories(cells: list[Any]) -> bool:
    """Tell whether cells are lists of [time, type], of [time, type, value] or of such mappings."""
    lists = [_load_list(cell) for cell in cells[:LOOKED_FOR]]
    filled = [events for events in lists if events]
    return bool(filled) and _share([_is_history(events) for events in lists]) >= 0.8


def _is_history(events: list[Any] | None) -> bool:
    def is_event(event: object) -> bool:
        if isinstance(event, dict):
            return {"time", "type"} <= event.keys()
        event = event.tolist() if hasattr(event, "tolist") else event
        return bool(
            isinstance(event, list | tuple)
            and 2 <= len(event) <= 3
            and isinstance(event[1], str)
            and (DATE.match(event[0]) if isinstance(event[0], str) else event[0] is not None)
        )

    return events is not None and all(map(is_event, events))


def _read_vectors(cells: list[Any]) -> list[np.ndarray] | None:
    """Read lists of numbers, or of such lists; null where not nearly all cells are alike."""
    import numpy as np

    found: dict[int, list[np.ndarray]] = {1: [], 2: []}  # by how deep lists are nested
    for cell in cells[:LOOKED_FOR]:
        try:
            listed = _load_list(cell) or ()
            vector = np.asarray(
                [one.tolist() if hasattr(one, "tolist") else one for one in listed],
                dtype=np.float64,
            )
        except (ValueError, TypeError):
            continue
        if vector.size and vector.ndim in found:
            found[vector.ndim].append(vector)
    most = max(found.values(), key=len)
    return most if len(most) >= 0.8 * min(len(cells), LOOKED_FOR) else None


def _describe_vectors(vectors: list[np.ndarray]) -> Form:
    if vectors[0].ndim == 2:
        return _describe_sequences(vectors)
    lengths = Counter(len(vector) for vector in vectors)
    dim, count = lengths.most_common(1)[0]
    if len(lengths) == 1:
        return Form("features", f"lists of {dim} numbers", details={"dim": dim})
    others = ", ".join(str(length) for length in sorted(lengths) if length != dim)
    return Form(
        "features",
        f"lists of {dim} numbers in {count} of {len(vectors)} rows looked at, of {others} in the "
        "rest, which will be quarantined",
        sure=False,
        details={"dim": dim},
    )


def _describe_sequences(sequences: list[np.ndarray]) -> Form:
    dims = Counter(sequence.shape[1] for sequence in sequences)
    dim, _ = dims.most_common(1)[0]
    longest = max(len(sequence) for sequence in sequences)
    return Form(
        "features",
        f"lists of up to {longest} lists of {dim} numbers, read as vectors over time; if they are "
        "the channels of a signal, write `kind: signal` with its `rate_hz` and `channels`",
        sure=False,
        details={"dim": dim, "sequence": True},
    )


def _describe_lists(cells: list[list[Any]]) -> Form:
    if all(isinstance(item, str) for cell in cells for item in cell):
        labels = {item for cell in cells for item in cell}
        if 2 <= len(labels) <= MOST_LABELS:
            return Form("labels", f"lists of labels, {len(labels)} different ones")
        return Form("nothing", f"lists of texts, {len(labels)} different ones", sure=False)
    return Form("nothing", "lists of something else than numbers or labels", sure=False)


def _is_numbering(known: pd.Series, distinct: int, *, rows: int) -> bool:
    import pandas as pd

    if distinct < rows or len(known) < rows:
        return False
    numbers = pd.to_numeric(known, errors="coerce")
    steps = numbers.diff().iloc[1:]
    return bool(rows > 2 and numbers.iloc[0] in (0, 1) and (steps == 1).all())


def _look_for_dates(texts: list[str], folder: Path) -> Form | None:
    if _share([bool(DATE.match(text)) for text in texts]) < 0.9:
        return None
    return Form("nothing", f"dates, such as {quote(texts[0])}, which no kind reads")


def _look_for_numbers(texts: list[str], folder: Path) -> Form | None:
    import pandas as pd

    if _share([bool(DECIMAL_COMMA.fullmatch(text)) for text in texts]) > 0.5:
        return Form(
            "nothing",
            f"numbers with a decimal comma, such as {quote(texts[0])}; written with a point, they "
            "could be read",
            sure=False,
        )
    if any(re.fullmatch(r"0\d+", text) for text in texts):  # zip codes, numbered ids
        return None
    texts = [text for text in texts if text.strip().lower() not in MISSING]
    numbers = pd.to_numeric(pd.Series(texts, dtype="str"), errors="coerce")
    readable = numbers.notna().mean()
    if not texts or readable < 0.9:
        return None
    shown = f"numbers from {numbers.min():g} to {numbers.max():g}"
    if readable == 1:
        return Form("number", shown)
    odd = next(text for text, number in zip(texts, numbers, strict=True) if pd.isna(number))
    return Form(
        "number",
        f"{shown}, but also {quote(odd)}: rows with that will be quarantined; leave such cells "
        "empty",
        sure=False,
    )


def _look_for_media(texts: list[str], folder: Path) -> Form | None:
    if _share([text.startswith(("http://", "https://")) for text in texts]) > 0.8:
        return Form(
            "nothing", "web addresses; fetch the files first, and name them here", sure=False
        )
    suffixes = Counter(PurePosixPath(text.replace("\\", "/")).suffix.lower() for text in texts)
    kinds: dict[FormKind, set[str]] = {
        "image": IMAGE_SUFFIXES,
        "audio": AUDIO_SUFFIXES,
        "video": VIDEO_SUFFIXES,
        "signal": SIGNAL_SUFFIXES,
    }
    for kind, known in kinds.items():
        if sum(suffixes[suffix] for suffix in known) >= 0.8 * len(texts):
            return _describe_files(kind, texts, suffixes, folder)
    other = sum(suffixes[suffix] for suffix in OTHER_SUFFIXES)
    if other >= 0.8 * len(texts):
        return Form(
            "nothing", f"paths that end in {suffixes.most_common(1)[0][0]}, which no kind reads"
        )
    return None


def _describe_files(kind: FormKind, texts: list[str], suffixes: Counter[str], folder: Path) -> Form:
    """Say which files the paths name, whether they are there, and how large or long they are."""
    looked = texts[:: max(1, len(texts) // LOOKED_FOR)][:LOOKED_FOR]
    there = [text for text in looked if not text.startswith("/") and (folder / text).is_file()]
    names = ", ".join(suffix for suffix, _ in suffixes.most_common(3) if suffix)
    reason = f"paths of {names} files"
    if len(there) == len(looked):
        reason += f"; all {len(looked)} looked for are there"
    else:
        absent = next(text for text in looked if text not in set(there))
        reason += (
            f"; of {len(looked)} looked for {len(looked) - len(there)} are missing, such as "
            f"{quote(absent)}{_find_folder(absent, folder)}"
        )
    opened = there[:: max(1, len(there) // OPENED)][:OPENED]
    measured, details = _MEASURE[kind]([folder / text for text in opened])
    # No file says how many samples a second a signal has.
    sure = len(there) >= 0.95 * len(looked) and kind != "signal"
    return Form(kind, reason + measured, sure, details=details)


def _find_folder(absent: str, folder: Path) -> str:
    """Say in which folder a missing file lies, if it lies in one just below."""
    name = PurePosixPath(absent.replace("\\", "/")).name
    for below in sorted(folder.iterdir()):
        if below.is_dir() and (below / name).is_file():
            return f", which lies in {below.name}/: write '{below.name}/{name}' in the table"
    return ""


def _describe_images(paths: list[Path]) -> tuple[str, dict[str, Any]]:
    from PIL import Image, UnidentifiedImageError

    sides = []
    for path in paths:
        try:
            with Image.open(path) as image:  # its header alone
                sides.append(max(image.size))
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
            continue
    if not sides:
        return "", {}
    low, high = min(sides), max(sides)
    size_px = min(224, max(96, 32 * round(statistics.median(sides) / 32)))
    shown = f"{low}" if low == high else f"{low} to {high}"
    return f"; {shown} px on the longer side", {"size_px": size_px}


def _describe_recordings(paths: list[Path]) -> tuple[str, dict[str, Any]]:
    import av

    durations = []
    for path in paths:
        try:
            with av.open(str(path)) as container:
                if container.duration:
                    durations.append(container.duration / av.time_base)
        except (OSError, ValueError, av.error.FFmpegError):
            continue
    if not durations:
        return "", {}
    longest = max(durations)
    details: dict[str, Any] = {}
    if longest > 45:  # the default limit is 60 s, and few of all files were opened
        details["max_s"] = float(2 * round(longest))
    return f"; {min(durations):.1f} to {longest:.1f} s long", details


def _describe_videos(paths: list[Path]) -> tuple[str, dict[str, Any]]:
    described, details = _describe_recordings(paths)
    if details:
        details["max_s"] = max(300.0, details["max_s"])  # the default limit is 300 s
    return described + "; their sound may be a further modality of kind audio", details


def _describe_signals(paths: list[Path]) -> tuple[str, dict[str, Any]]:
    """Count channels: the shorter axis of an array, the columns of a table."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    channels: Counter[int] = Counter()
    for path in paths:
        try:
            if path.suffix == ".npy":
                shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
                channels[min(shape) if len(shape) > 1 else 1] += 1
            elif path.suffix == ".parquet":
                channels[len(pq.read_schema(path).names)] += 1
            elif path.suffix in {".csv", ".tsv"}:
                separator = "\t" if path.suffix == ".tsv" else ","
                channels[pd.read_csv(path, nrows=1, sep=separator).shape[1]] += 1
        except (OSError, ValueError, EOFError):  # what is broken is quarantined by `validate`
            continue
    if not channels:
        return "", {}
    count, _ = channels.most_common(1)[0]
    return f"; {count} channel{'s' * (count > 1)}", {"channels": count}


_MEASURE = {
    "image": _describe_images,
    "audio": _describe_recordings,
    "video": _describe_videos,
    "signal": _describe_signals,
}


def _look_for_labels(texts: list[str], folder: Path) -> Form | None:
    for separator in SEPARATORS:
        if _share([separator in text for text in texts]) < 0.1:
            continue
        items = [item.strip() for text in texts for item in text.split(separator)]
        labels = Counter(item for item in items if item)
        short = all(len(label) <= 30 and len(label.split()) <= 3 for label in labels)
        if 2 <= len(labels) <= MOST_LABELS and short and len(items) >= 5 * len(labels):
            return Form(
                "labels",
                f"{len(labels)} labels, several to a cell, separated by {quote(separator)}",
                details={"separator": separator},
            )
    return None


def _judge_words(texts: list[str], *, distinct: int, rows: int) -> Form:
    words = statistics.mean(len(text.split()) for text in texts)
    chars = statistics.mean(len(text) for text in texts)
    foreign = _share_beyond_latin(texts)
    long = words >= 4 or (foreign > 0.3 and chars >= 8)
    if long and distinct > 0.5 * rows:
        return _describe_texts(texts, distinct, foreign)
    if distinct <= max(20, 0.05 * rows) and rows >= 2 * distinct:
        return Form("category", f"{distinct} different values", distinct=distinct)
    if distinct <= 0.5 * rows:
        return Form(
            "category",
            f"{distinct} different values in {rows} rows: seldom repeated for a category",
            sure=False,
            distinct=distinct,
        )
    if words >= 2 or (foreign > 0.3 and chars >= 4):
        form = _describe_texts(texts, distinct, foreign)
        return Form("text", f"short {form.reason}", False, distinct, form.details)
    return Form(
        "nothing",
        f"single words that hardly repeat, such as {quote(texts[0])}",
        sure=distinct == rows,
        distinct=distinct,
    )


def _describe_texts(texts: list[str], distinct: int, foreign: float) -> Form:
    """Say how long texts are, and choose their encoder by their language."""
    chars = f"texts of {statistics.median(len(text) for text in texts):.0f} characters (median)"
    words = [
        word.strip(".,!?;:'\"()").lower() for text in texts[:500] for word in text.split()[:50]
    ]
    english = _share([word in ENGLISH for word in words])
    if foreign > 0.3:
        why = f"{100 * foreign:.0f} % of the letters are not Latin, and minilm reads English alone"
        return Form("text", f"{chars}; {why}", True, distinct, {"encoder": "hashed_ngrams"})
    if len(words) >= 200 and english < 0.08:
        why = (
            f"only {100 * english:.0f} % of the words are common English ones, and minilm reads "
            "English alone; if this is English, it does better"
        )
        return Form("text", f"{chars}; {why}", False, distinct, {"encoder": "hashed_ngrams"})
    why = "minilm reads English; for any other language take {name: hashed_ngrams}"
    return Form("text", f"{chars}; {why}", True, distinct, {"encoder": "minilm"})


def _share_beyond_latin(texts: list[str]) -> float:
    letters = [char for text in texts[:LOOKED_FOR] for char in text[:500] if char.isalpha()]
    return _share([not unicodedata.name(char, "").startswith("LATIN") for char in letters])
