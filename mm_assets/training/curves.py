"""Learning curves as a table that DVC plots, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from mm_assets.training.loop import Epoch

CURVES_FILE, CURVES_PLOT = "curves.csv", "curves.svg"


def write_curves(curve: Sequence[Epoch], folder: Path) -> None:
    """Write `curves.csv` and `curves.svg`; the picture marks the epoch that was kept."""
    frame = pd.DataFrame([asdict(epoch) for epoch in curve])
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


def save_svg(figure: Figure, path: Path) -> None:
    """Write a picture with selectable text, byte for byte the same for equal content."""
    with mpl.rc_context({"svg.hashsalt": "mm_assets", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
