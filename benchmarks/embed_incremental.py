"""What one changed row in a hundred costs the embed stage, against a full run; a renamed file nothing.

Sentences with `minilm` and photos with `efficientnet_lite0`, made anew in a temporary folder; each
run is `mm stage embed` as a process of its own, from its start to its end:

    python benchmarks/embed_incremental.py [--rows 5000] [--kind text|image]

It fails above 4 % of the full run plus 3 s.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import WORDS, make_project, run_mm, share_weights
from PIL import Image

from mm_assets.contracts.workspace import Workspace

SHARE, START_S = 0.04, 3.0
ENCODERS = {"text": "minilm", "image": "efficientnet_lite0"}


def write_cell(root: Path, kind: str, row: int, seed: int) -> str:
    """Make one cell, with its file where it has one."""
    rng = np.random.default_rng([seed, row])
    if kind == "text":
        return " ".join(rng.choice(WORDS.split(), rng.integers(4, 30))) + f" {seed}-{row}"
    pixels = rng.integers(0, 256, (160, 240, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / f"data/{row}.jpg", quality=85)
    return f"{row}.jpg"


def write_rows(root: Path, cells: list[str]) -> None:
    """Write the augmented table."""
    names = [f"s{row}" for row in range(len(cells))]
    folder = Workspace(root).augmented
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame({"id": names, "copy": 0, "split": "train", "group": names, "x": cells})
    rows.assign(render=None, y="a").to_parquet(folder / "samples.parquet")


def compare(kind: str, rows: int) -> bool:
    """Run in full, after changes and after renaming; tell whether both are within the limit."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_project(
            root,
            {
                "version": 2,
                "modalities": {
                    "x": {"kind": kind, "column": "x", "encoder": {"name": ENCODERS[kind]}}
                },
                "targets": {"y": {"kind": "multiclass", "column": "y"}},
            },
        )
        cells = [write_cell(root, kind, row, seed=0) for row in range(rows)]
        write_rows(root, cells)
        full = run_mm(root, "stage", "embed", "x").seconds
        for row in range(0, rows, 100):
            cells[row] = write_cell(root, kind, row, seed=1)
        write_rows(root, cells)
        changed = run_mm(root, "stage", "embed", "x").seconds
        if kind == "image":
            for row in range(rows):
                Path(root / f"data/{row}.jpg").rename(root / f"data/r{row}.jpg")
            cells = [f"r{cell}" for cell in cells]
        write_rows(root, cells)
        renamed = run_mm(root, "stage", "embed", "x").seconds
    limit = SHARE * full + START_S
    print(
        f"{kind} {rows} rows: full {full:.1f} s, one in a hundred changed {changed:.1f} s, renamed "
        f"{renamed:.1f} s, at most {limit:.1f} s"
    )
    return max(changed, renamed) <= limit


def main() -> None:
    """Compare each kind, and exit non-zero above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--kind", choices=list(ENCODERS), help="one of the two only")
    given = parser.parse_args()
    share_weights()
    os.environ.pop("MM_STORE", None)
    kinds = [given.kind] if given.kind else list(ENCODERS)
    fine = [compare(kind, given.rows) for kind in kinds]
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
