"""A page of samples beside their renderings, for a check by eye."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_assets.validation.previews import as_curve, describe_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT_WIDTH = 34  # characters a line
TEXT_LINES = 7
CELL_INCHES = 2.1


def draw_contact_sheet(
    path: Path, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Any]]]
) -> None:
    """Draw a grid of decoded values: pictures, curves, texts and the columns of rows.

    Args:
        path: A PNG file; equal values give equal bytes.
        titles: Of the columns.
        rows: A label and one value per column: a text, a mapping, a Pillow image, a
            waveform or an array of shape (steps,), or null where there is nothing to show.
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
    for (label, values), line in zip(rows, grid, strict=False):
        for value, axes in zip(values, line, strict=True):
            _draw(axes, value)
        line[0].text(
            -0.04, 0.5, label, transform=line[0].transAxes, rotation=90, ha="right", va="center",
            fontsize=8, parse_math=False,
        )  # fmt: skip
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _draw(axes: Axes, value: Any) -> None:  # noqa: ANN401 - a value of any kind of modality
    if value is None:
        return
    if isinstance(value, Mapping):  # a row's columns
        text = "\n".join(
            textwrap.shorten(f"{name}: {describe_cell(one)}", TEXT_WIDTH, placeholder=" …")
            for name, one in list(value.items())[:TEXT_LINES]
        )
        axes.text(0, 0.5, text, va="center", fontsize=7, parse_math=False)
    elif isinstance(value, str):
        text = textwrap.fill(value, TEXT_WIDTH, max_lines=TEXT_LINES, placeholder=" …")
        axes.text(0, 0.5, text, va="center", fontsize=7, parse_math=False)
    elif (curve := as_curve(value)) is not None:
        axes.plot(curve, linewidth=0.5, color="#4c72b0")
    else:
        axes.imshow(value)
