"""How much of what the cores can do the embed stage gets: small photos, 12-megapixel ones, 10 s clips.

What the cores can do is cores / (CPU seconds of decoding and encoding a row), which are taken in the
run itself: cores that work at once slow each other down, by how much depends on the machine, and no
pipeline can do better than that. The run's time is that of computing vectors, as the stage does it,
without the start of Python and of Great Expectations:

    python benchmarks/embed_throughput.py [--case photos|large|clips] [--rows N]

It fails below 0.9.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import pandas as pd
from measure import share_weights
from PIL import Image
from timed import watch

from mm_assets.cli.process import tune_process
from mm_assets.contracts.config import parse_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.embedding.cells import Cells
from mm_assets.embedding.encoding import encode
from mm_assets.embedding.shares import open_shares
from mm_assets.embedding.states import fit_states
from mm_assets.stages.project import Project, build_project

LEAST = 0.9
CASES = {  # kind, encoder, rows
    "photos": ("image", "efficientnet_lite0", 3000),
    "large": ("image", "efficientnet_lite0", 500),
    "clips": ("audio", "voice_functionals", 1500),
}


def write_file(path: Path, case: str, rng: np.random.Generator) -> None:
    """Make a photo with some structure, or a clip of noise that swells."""
    if case == "clips":
        swell = np.sin(np.linspace(0, 30, 160_000)) * rng.normal(0, 6000, 160_000)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(swell.clip(-32768, 32767).astype("<i2").tobytes())
        return
    coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    size = (4000, 3000) if case == "large" else (320, 240)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def make(root: Path, case: str, rows: int) -> Project:
    """Make a project of that many files."""
    kind, encoder, _ = CASES[case]
    config = {
        "version": 2,
        "modalities": {"x": {"kind": kind, "column": "x", "encoder": {"name": encoder}}},
        "targets": {"y": {"kind": "multiclass", "column": "y"}},
        "compute": {"device": "cpu"},
    }
    project = build_project(parse_config(config), Workspace(root))
    project.workspace.data.mkdir()
    rng, suffix = np.random.default_rng(0), "wav" if kind == "audio" else "jpg"
    cells = [f"{row}.{suffix}" for row in range(rows)]
    for cell in cells:
        write_file(root / "data" / cell, case, rng)
    table = pd.DataFrame({"id": cells, "copy": 0, "split": "test", "group": cells, "x": cells})
    project.workspace.augmented.mkdir(parents=True)
    table.assign(render=None).to_parquet(project.workspace.augmented / "samples.parquet")
    return project


def measure_cpu() -> float:
    """Give CPU seconds of this process and of those it started that have ended."""
    spans = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(span.ru_utime + span.ru_stime for span in spans)


def compare(case: str, rows: int) -> bool:
    """Run the stage's computation; tell whether it is fast enough."""
    with tempfile.TemporaryDirectory() as name:
        project = make(Path(name), case, rows)
        table = pd.read_parquet(project.workspace.augmented / "samples.parquet")
        cells = Cells(
            "x",
            table,
            modality=project.modalities["x"],
            encoder=project.encoders["x"],
            folder=project.workspace.data,
            compute=project.config.compute,
        )
        times = watch(cells)
        states = fit_states(cells, project.workspace, supervision=None, seed=0)
        (share,) = open_shares(cells, states, project.workspace)
        for _ in encode(cells, share, np.arange(10)):  # imports, and memory that is asked for first
            pass
        times.decoding = times.encoding = 0
        started, spent = time.perf_counter(), measure_cpu()
        for _ in encode(cells, share, np.arange(rows)):
            pass
        seconds, spent = time.perf_counter() - started, measure_cpu() - spent
    cores = os.cpu_count() or 1
    useful = times.decoding + times.encoding
    got = useful / (cores * seconds)
    print(
        f"{case} {rows} rows: {rows / seconds:.1f} a second; {cores} cores can do "
        f"{cores * rows / useful:.1f} ({times.decoding / rows * 1e3:.1f} CPU ms a row to decode, "
        f"{times.encoding / rows * 1e3:.1f} to encode, {spent / rows * 1e3:.1f} in all): {got:.2f}",
        flush=True,
    )
    return got >= LEAST


def main() -> None:
    """Compare each case, and exit non-zero below the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=list(CASES), help="one of the three only")
    parser.add_argument("--rows", type=int)
    given = parser.parse_args()
    tune_process()  # as the stage's own is
    share_weights()
    cases = [given.case] if given.case else list(CASES)
    fine = [compare(case, given.rows or CASES[case][2]) for case in cases]
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
