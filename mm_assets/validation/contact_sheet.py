"""A page of samples beside their renderings, for a check by eye."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mm_assets.modalities.base import Sketch

TEXT_WIDTH = 34  # characters a line
TEXT_LINES = 7
CELL_INCHES = 2.1
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52")  # of the first curves of one value


def draw_contact_sheet(
    path: Path, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Sketch | None]]]
) -> None:
    """Draw a grid of decoded values: pictures, curves, texts and the columns of rows.

    Args:
        path: A PNG file; equal values give equal bytes.
        titles: Of the columns.
        rows: A label and one value per column as `Modality.describe` gives it, or null where
            there is nothing to show.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (CELL_INCHES * len(titles), CELL_INCHES * max(len(rows), 1))
    figure = Figure(figsize=size, dpi=80, layout="constrained")
    grid = figure.subplots(max(len(rows), 1), len(titles), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for title, axes in zip(titles, grid[0], strict=True):
        axes.set_title(title, fontsize=9)
    for (label, sketches), line in zip(rows, grid, strict=False):
        for sketch, axes in zip(sketches, line, strict=True):
            _draw(axes, sketch)
        line[0].text(
            -0.04, 0.5, label, transform=line[0].transAxes, rotation=90, ha="right", va="center",
            fontsize=8, parse_math=False,
        )  # fmt: skip
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _draw(axes: Axes, sketch: Sketch | None) -> None:
    if sketch is None:
        return
    if sketch.fields is not None:
        text = "\n".join(
            textwrap.shorten(f"{name}: {value}", TEXT_WIDTH, placeholder=" …")
            for name, value in list(sketch.fields.items())[:TEXT_LINES]
        )
        axes.text(0, 0.5, text, va="center", fontsize=7, parse_math=False)
    elif sketch.picture is not None:
        axes.imshow(sketch.picture)
    elif sketch.curves is not None:
        for curve, colour in zip(sketch.curves, COLOURS, strict=False):
            axes.plot(curve, linewidth=0.5, color=colour)
    else:
        text = sketch.caption if sketch.text is None else sketch.text
        text = textwrap.fill(text, TEXT_WIDTH, max_lines=TEXT_LINES, placeholder=" …")
        axes.text(0, 0.5, text, va="center", fontsize=7, parse_math=False)
