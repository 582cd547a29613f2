"""How often batches that are like the training rows are called drifted, and such that are not found.

Each batch comes from customers who were never heard before. Some stay as they are; in others one
channel is disturbed, and that channel alone must be found. Run it in a project whose stages are up to
date; its batches are put into the drop folder, compared, and removed.

    python benchmarks/drift_draws.py [--root .] [--draws 20] [--rows 60] [--customers 20]
"""

import argparse
import csv
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import share_weights
from PIL import Image, ImageEnhance

from mm_assets.contracts.config import read_config
from mm_assets.contracts.workspace import Workspace
from mm_assets.drift.comparison import compare_batch
from mm_assets.drift.incoming import drop_folder
from mm_assets.modalities.audio import resample
from mm_assets.modalities.base import load_modality
from mm_assets.sources.sample.generate import generate_sample
from mm_assets.sources.sample.photo import write_photo
from mm_assets.sources.sample.voice import RATE_HZ, write_voice

FIRST_CUSTOMER = 200_000  # the sample's own customers have lower numbers


def main() -> None:
    """Print a line for each batch, and how many were called drifted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--customers", type=int, default=20)
    given = parser.parse_args()
    share_weights()
    root = given.root.resolve()
    workspace = Workspace(root)
    folder = drop_folder(workspace, read_config(workspace.params).drift)
    plain = {"": lambda batch: None}
    for batches, changes in ((given.draws, plain), (1, DISTURBED)):
        found = 0
        for draw in range(batches):
            for what, change in changes.items():
                batch = folder / f"bench-{draw:03d}{what}"
                first = FIRST_CUSTOMER + draw * given.customers
                found += compare(root, batch, change, first, given.rows, given.customers)
        print(f"{found} of {batches * len(changes)} called drifted", flush=True)


def compare(
    root: Path, batch: Path, change: Callable[[Path], None], first: int, rows: int, customers: int
) -> bool:
    """Make a batch, compare it, print what was found, and remove it."""
    shutil.rmtree(batch, ignore_errors=True)
    generate_sample(
        batch, rows=rows, customers=customers, seed=7, broken=False, first_customer=first
    )
    change(batch)
    started = time.perf_counter()
    report = compare_batch(root, batch.name)
    elapsed_s = time.perf_counter() - started
    vectors = [one for one in report.compared if one.kind == "vectors"]
    values = ", ".join(f"{one.name} {one.adjusted:.2g}" for one in vectors)
    print(f"{report.explain()}  [{values}]  {elapsed_s:.1f} s", flush=True)
    shutil.rmtree(batch)
    shutil.rmtree(Workspace(root).drift / batch.name)
    return bool(report.drifted)


def add_noise(batch: Path) -> None:
    """Put noise under every voice, 15 dB below it."""
    rng = np.random.default_rng(0)
    audio = load_modality("audio", {}, {}, where="benchmark")
    for path in sorted((batch / "voice").iterdir()):
        noisy = audio.corrupt(audio.decode(path.name, path.parent), 0.5, rng)
        write_voice(path, resample(noisy, RATE_HZ).samples)


def brighten(batch: Path) -> None:
    """Make every photo twice as bright."""
    for path in sorted((batch / "photo").iterdir()):
        with Image.open(path) as photo:
            write_photo(path, ImageEnhance.Brightness(photo.convert("RGB")).enhance(2.0))


def reword(batch: Path) -> None:
    """Put what another program writes before every message."""
    table = batch / "samples.csv"
    with table.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    place = names.index("message")
    for row in rows:
        row[place] = f"Forwarded ticket, see thread: {row[place]}" if row[place] else ""
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


DISTURBED = {"-noisy-audio": add_noise, "-bright-image": brighten, "-reworded-text": reword}


if __name__ == "__main__":
    main()
