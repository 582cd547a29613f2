"""Peak memory of the embed stage's process tree: ten times the rows against a tenth of them.

Sentences with `hashed_ngrams`, fitted on a thousand training rows, and small photos with
`efficientnet_lite0` on a small square:

    python benchmarks/embed_memory.py [--rows 50000] [--kind text|image]

It fails above 1.2 times.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import WORDS, make_project, run_mm, share_weights
from PIL import Image

from mm_assets.contracts.workspace import Workspace

MOST = 1.2
TRAINING = 1000
ENCODERS: dict[str, dict[str, Any]] = {
    "text": {"name": "hashed_ngrams"},
    "image": {"name": "efficientnet_lite0", "size_px": 64},
}


def measure(kind: str, rows: int) -> float:
    """Embed that many rows; returns the peak in GB."""
    with tempfile.TemporaryDirectory() as name:
        root, rng = Path(name), np.random.default_rng(0)
        make_project(
            root,
            {
                "version": 2,
                "modalities": {"x": {"kind": kind, "column": "x", "encoder": ENCODERS[kind]}},
                "targets": {"y": {"kind": "multiclass", "column": "y"}},
            },
        )
        if kind == "text":
            cells = [f"{row} " + " ".join(rng.choice(WORDS.split(), 15)) for row in range(rows)]
        else:
            cells = [f"{row}.png" for row in range(rows)]
            for cell in cells:
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "data" / cell, compress_level=1)
        names = [f"s{row}" for row in range(rows)]
        split = ["train"] * TRAINING + ["test"] * (rows - TRAINING)
        folder = Workspace(root).augmented
        folder.mkdir(parents=True)
        table = pd.DataFrame({"id": names, "copy": 0, "split": split, "group": names, "x": cells})
        table.assign(render=None, y="a").to_parquet(folder / "samples.parquet")
        cost = run_mm(root, "stage", "embed", "x")
    print(f"{kind} {rows} rows: {cost.peak_gb:.3f} GB in {cost.seconds:.0f} s", flush=True)
    return cost.peak_gb


def main() -> None:
    """Compare, and exit non-zero above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--kind", choices=list(ENCODERS), help="one of the two only")
    given = parser.parse_args()
    share_weights()
    os.environ.pop("MM_STORE", None)
    fine = True
    for kind in [given.kind] if given.kind else list(ENCODERS):
        few, many = (measure(kind, rows) for rows in (given.rows // 10, given.rows))
        print(f"{kind}: {many / few:.2f} times the memory (at most {MOST})")
        fine &= many <= MOST * few
    sys.exit(not fine)


if __name__ == "__main__":
    main()
