"""A hundred thousand rows of vectors through stage `train`, ten epochs: seconds, and peak memory.

Texts of 384 numbers, images of 1280 and voices of 73, each present in nine rows of ten, and three
classes. A class moves each modality's vector along a direction of its own in Gaussian noise, so the
best possible answer is known (a linear one, by Bayes' rule) and stands beside the model's. The
training rows are drawn anew in a temporary folder, and beside them a tenth as many validation and
test rows; the fusion and its training are the defaults, but for the epochs:

    python benchmarks/train_scale.py [--rows 100000] [--threads 2]

It fails above 60 s or 2 GB, the limits for a hundred thousand rows on two cores, and where the
model is more than a point below the best possible.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import judge, make_project, run_mm

from mm_assets.contracts.workspace import Workspace
from mm_assets.data.table import read_augmented
from mm_assets.data.vectors import MatrixFile, read_embeddings, write_rows

EPOCHS, CLASSES, PRESENT = 10, ["a", "b", "c"], 0.9
DIMS = {"text": 384, "image": 1280, "audio": 73}
MOVED = {"text": 1.6, "image": 1.3, "audio": 1.0}  # by its class, in deviations of the noise
MOST_S, MOST_GB, MOST_POINTS = 60, 2.0, 1.0
DRAWN = 10_000  # rows that are drawn at a time


def make_params(threads: int | None) -> dict[str, Any]:
    """Give the configuration: what has no default, and the epochs."""
    return {
        "version": 2,
        "modalities": {
            key: {
                "kind": "features",
                "column": key,
                "options": {"dim": dim},
                "encoder": {"name": "standardized"},
            }
            for key, dim in DIMS.items()
        },
        "targets": {"y": {"kind": "multiclass", "column": "y", "classes": CLASSES}},
        "train": {"epochs": EPOCHS, "patience": EPOCHS},
        "compute": {"device": "cpu", "threads": threads},
    }


def write_inputs(workspace: Workspace, rows: int) -> np.ndarray:
    """Write what stages `augment` and `embed` would have; gives the best answers, (row,)."""
    rng = np.random.default_rng(0)
    split = np.repeat(["train", "validation", "test"], [rows, rows // 10, rows // 10])
    truth = rng.integers(len(CLASSES), size=len(split))
    ids = np.char.add("r", np.arange(len(split)).astype(str))
    evidence = np.zeros((len(split), len(CLASSES)))
    presence = rng.random((len(DIMS), len(split))) < PRESENT
    presence[0] |= ~presence.any(axis=0)
    for present, (key, dim) in zip(presence, DIMS.items(), strict=True):
        folder = workspace.embeddings(key)
        folder.mkdir(parents=True)
        steps = np.ones(int(present.sum()), np.int64)
        with MatrixFile(folder, len(steps), dim) as file:
            start = 0
            for vectors, found in draw_vectors(rng, truth[present], dim, MOVED[key]):
                file.put(start, vectors)
                evidence[np.flatnonzero(present)[start : start + len(vectors)]] += found
                start += len(vectors)
        encoder = {"name": "standardized", "version": 1, "dim": dim}
        write_rows(folder, ids[present], 0 * steps, steps, encoder, {})
    table = pd.DataFrame({"id": ids, "copy": 0, "split": split, "group": ids, "render": None})
    cells = {key: pd.Series([None] * len(table), dtype="str") for key in DIMS}
    workspace.augmented.mkdir()
    labels = np.array(CLASSES)[truth]
    table.assign(**cells, y=labels).to_parquet(workspace.augmented / "samples.parquet")
    return np.array(CLASSES)[evidence.argmax(axis=1)]


def draw_vectors(
    rng: np.random.Generator, truth: np.ndarray, dim: int, moved: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw one modality's vectors some thousand at a time, each with what speaks for each class.

    The directions are orthonormal, so that is each class's log-likelihood but for a constant. At
    last every number is brought to a scale and an offset of its own.
    """
    directions = np.linalg.qr(rng.normal(size=(dim, len(CLASSES))))[0].T  # (class, dim)
    scale, offset = np.exp(rng.normal(size=dim)), rng.normal(size=dim)
    for at in range(0, len(truth), DRAWN):
        chosen = truth[at : at + DRAWN]
        vectors = rng.normal(size=(len(chosen), dim)) + moved * directions[chosen]
        yield (vectors * scale + offset).astype(np.float32), moved * vectors @ directions.T


def answer(workspace: Workspace, rows: pd.DataFrame) -> np.ndarray:
    """Ask the trained model for each row's class."""
    from mm_assets.training.examples import gather_examples
    from mm_assets.training.model import load_model
    from mm_assets.training.scoring import predict_logits

    model = load_model(workspace.model)
    embeddings = {key: read_embeddings(workspace.embeddings(key)) for key in DIMS}
    logits = predict_logits(model, gather_examples(rows, embeddings, model.targets))["y"]
    return np.array(CLASSES)[logits.argmax(dim=1).numpy()]


def main() -> None:
    """Print time, memory and accuracy, and exit non-zero beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--threads", type=int, help="the train stage's default if left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace(Path(name))
        make_project(workspace.root, make_params(given.threads))
        best = write_inputs(workspace, given.rows)
        cost = run_mm(workspace.root, "stage", "train")
        report = json.loads(workspace.report("train").read_text())
        rows = read_augmented(workspace.augmented, splits=["test"])
        truth = rows["y"].to_numpy()
        reached = 100 * float((answer(workspace, rows) == truth).mean())
    possible = 100 * float((best[-len(rows) :] == truth).mean())
    fine = judge(cost, what=f"train, {given.rows} rows", most_s=MOST_S, most_gb=MOST_GB)
    near = possible - reached <= MOST_POINTS
    print(
        f"{report['metrics']['epochs']} epochs; on {len(rows)} test rows {reached:.1f} %, "
        f"best possible {possible:.1f} % (at most {MOST_POINTS:g} below)  {'ok' if near else 'TOO LOW'}"
    )
    sys.exit(not (fine and near))


if __name__ == "__main__":
    main()
