"""Probe and decode the whole corpus as the pipeline does, in a process of its own.

    python probe_corpus.py FOLDER PORT [KIND …]

Writes `result.json` to the folder: per case its kind, name, expectation, and the reason or the
complaint.
"""

import json
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from corpus import KINDS, build
from PIL import Image

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.decoding_pool import DecodingPool
from mm_assets.modalities.base import Modality, list_kinds, load_modality
from mm_assets.validation.probing import probe_modality

DECODE_S, DECODE_MEGABYTES, WORKERS = 10.0, 400, 2


def complain(kind: str, value: Any) -> str | None:
    """Say what is wrong with a decoded value; null if it is what its kind promises."""
    match kind:
        case "text":
            value.encode()  # no surrogate
            fine = bool(value.strip()) and len(value) <= 100_000
        case "image":
            fine = isinstance(value, Image.Image) and value.mode == "RGB" and min(value.size) >= 1
            np.asarray(value)
        case "audio":
            wave = value.samples
            fine = wave.dtype == np.float32 and wave.ndim == 1 and wave.size > 0
            fine = fine and bool((np.abs(wave) <= 1).all()) and value.rate_hz > 0
        case "video":
            frames = value.frames
            fine = frames.dtype == np.uint8 and frames.ndim == 4 and frames.size > 0
            fine = fine and bool(np.isfinite(value.times_s).all()) and value.duration_s > 0
            fine = fine and np.isfinite(value.duration_s) and len(value.times_s) == len(frames)
        case "signal":
            fine = value.samples.dtype == np.float32 and value.samples.shape[0] == 2
            fine = fine and value.samples.size > 0 and bool(np.isfinite(value.samples).all())
        case "features":
            fine = value.dtype == np.float32 and value.shape == (4,)
            fine = fine and bool(np.isfinite(value).all())
        case "tabular":
            fine = any(one is not None for one in value.values())
            fine = fine and all(
                one is None or isinstance(one, str) or np.isfinite(np.float32(one))
                for one in value.values()
            )
        case "events":
            fine = bool(np.isfinite(value.times_s).all()) and bool(
                (np.diff(value.times_s) >= 0).all()
            )
            fine = fine and not np.isinf(value.values).any() and all(value.types)
            fine = fine and len(value.times_s) == len(value.types) == len(value.values)
        case _:
            return f"no check of {kind}"
    return None if fine else f"decoded to {value!r:.200}"


def examine(kind: str, modality: Modality[Any], folder: Path, cells: list[Any]) -> list[str | None]:
    """Decode accepted cells, show them as pages do, and augment them."""
    complaints = []
    for cell in cells:
        complaint = None
        try:
            value = modality.decode(cell, folder)
            complaint = complain(kind, value)
            modality.describe(value)
            copy = modality.render(value, modality.plan(np.random.default_rng(0)))
            complaint = complaint or complain(kind, copy)
        except BadSampleError as error:
            complaint = f"probed well, decoded to {error}"
        # Whatever it is, it is what is looked for: the test fails with it, after all other cases.
        except Exception as error:  # noqa: BLE001
            complaint = f"{type(error).__name__}: {error}"
        complaints.append(complaint)
    return complaints


def judge(kind: str, folder: Path, port: int) -> list[dict[str, Any]]:
    """Probe and decode all cases of one kind."""
    begun = time.perf_counter()
    cases = build(kind, folder, port)
    modality = load_modality(kind, KINDS[kind].options, {}, where=f"modalities.{kind}")
    samples = pd.DataFrame({"id": [f"{n}" for n in range(len(cases))]})
    samples[kind] = pd.Series([case.cell for case in cases], dtype=object)
    built_s = time.perf_counter() - begun
    measured, findings = probe_modality(
        samples,
        kind,
        modality,
        folder,
        workers=WORKERS,
        decode_s=DECODE_S,
        decode_megabytes=DECODE_MEGABYTES,
    )
    probed_s = time.perf_counter() - begun - built_s
    results: dict[int, dict[str, Any]] = {}
    for at, row in findings.iterrows():
        complaint = None
        if not re.fullmatch("[a-z]+(_[a-z]+)+", row["reason"]) or " at 0x" in row["detail"]:
            complaint = f"odd reason: {row['reason']}: {row['detail']}"
        if not 0 < len(row["detail"].encode()) < 2000:
            complaint = f"a detail of {len(row['detail'])} characters"
        results[at] = {"reason": row["reason"], "complaint": complaint}
    numbers = measured.select_dtypes("number")
    finite = np.isfinite(numbers.to_numpy(float)).all(axis=1)
    accepted = [samples[kind][at] for at in measured.index]
    look = partial(examine, kind, modality, folder)
    with DecodingPool(WORKERS, timeout_s=DECODE_S, memory_mb=DECODE_MEGABYTES) as pool:
        batches = [accepted[at : at + 16] for at in range(0, len(accepted), 16)]
        complaints: list[str | None] = []
        for _, found in pool.map(look, batches, ahead=8):
            complaints += [str(found)] if isinstance(found, BadSampleError) else found
    for at, is_finite, complaint in zip(measured.index, finite, complaints, strict=True):
        results[at] = {"reason": None, "complaint": complaint}
        if not is_finite:
            results[at]["complaint"] = f"measured {numbers.loc[at].to_dict()}"
    sys.stdout.write(
        f"{kind}: {len(cases)} cases, built in {built_s:.1f} s, probed in {probed_s:.1f} s, all in "
        f"{time.perf_counter() - begun:.1f} s\n"
    )
    return [
        {"kind": kind, "name": case.name, "expected": case.expected, **results[at]}
        for at, case in enumerate(cases)
    ]


def main() -> None:
    """Judge the kinds that are named, or all."""
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    kinds = sys.argv[3:] or list_kinds()
    found = [case for kind in kinds for case in judge(kind, root / "data", port)]
    (root / "result.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    import probe_corpus  # decoding processes cannot import functions of `__main__`

    probe_corpus.main()
