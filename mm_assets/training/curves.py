"""Learning curves as a table that DVC plots, also while training runs, and as a picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from mm_assets.data.atomic import atomic_file
from mm_assets.training.loop import Epoch
from mm_assets.training.saved import CONFIG_FILE

CURVES_FILE, CURVES_PLOT = "curves.csv", "curves.svg"
EVERY_S = 1.0  # between two writes while training runs


def write_live(folder: Path) -> Callable[[Epoch], None]:
    """Make a `watch` of training that keeps `curves.csv` of a folder up to date, whole at any time.

    DVC has deleted the folder before its stage runs. One that still holds a model is left alone.
    """
    known: list[Epoch] = []
    written_s = 0.0

    def watch(epoch: Epoch) -> None:
        nonlocal written_s
        known.append(epoch)
        now = time.monotonic()
        if now - written_s >= EVERY_S and not (folder / CONFIG_FILE).exists():
            with atomic_file(folder / CURVES_FILE) as temporary:
                _tabulate(known).to_csv(temporary, index=False, float_format="%.6g")
            written_s = now

    return watch


def write_curves(curve: Sequence[Epoch], folder: Path) -> None:
    """Write `curves.csv` and `curves.svg`; the picture marks the epoch that was kept."""
    frame = _tabulate(curve)
    frame.to_csv(folder / CURVES_FILE, index=False, float_format="%.6g")
    kept = min(curve, key=lambda epoch: epoch.validation_loss)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(frame["epoch"], frame["train_loss"], label="training rows")
    axes.plot(frame["epoch"], frame["validation_loss"], label="validation rows")
    axes.axvline(kept.epoch, color="0.6", linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel="loss, nats", title="Learning curves")
    axes.legend()
    save_svg(figure, folder / CURVES_PLOT)


def _tabulate(curve: Sequence[Epoch]) -> pd.DataFrame:
    return pd.DataFrame([asdict(epoch) for epoch in curve])


def save_svg(figure: Figure, path: Path) -> None:
    """Write a picture with selectable text, byte for byte the same for equal content."""
    with mpl.rc_context({"svg.hashsalt": "mm_assets", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
