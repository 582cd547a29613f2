"""A cell of the sample table as a person can judge it: a thumbnail, a curve, the text."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from mm_assets.contracts.errors import BadSampleError
from mm_assets.data.cells import write_values

if TYPE_CHECKING:
    from PIL import Image

    from mm_assets.modalities.base import Modality, Sketch

THUMBNAIL_PX = 96  # longest side
PLOT_PX = 1000  # longest side of a plot in a page
CURVE_PX = (160, 40)
CURVE_POINTS = 80
TEXT_CHARS = 160
MOST_CURVES = 4  # of one value


def preview(modality: Modality[Any], cell: object, folder: Path) -> Markup:
    """Show one cell, inside a page of ours.

    A picture becomes a small JPEG inside the page, a recording or a long vector a curve (inline
    SVG in the colour of the text), a text its beginning, a row of named values its names and
    values. A cell that cannot be used says why, beside what it holds.

    Args:
        modality: The cell's kind.
        cell: The table's cell; null for a missing modality.
        folder: The data folder.

    Returns:
        HTML that loads nothing from elsewhere, with all data escaped; equal cells (and files) give
        equal text.
    """
    if is_missing(cell):
        return Markup('<span class="none">missing</span>')
    try:
        value = modality.decode(cell, folder)
    except BadSampleError as error:
        held = "" if modality.is_file else escape(shorten(write_values(cell))) + Markup("<br>")
        return held + Markup('<span class="none">no preview: {}</span>').format(error.detail)
    return show_sketch(modality.describe(value))


def show_sketch(sketch: Sketch) -> Markup:
    """Show what `Modality.describe` gave; see `preview`."""
    if sketch.text is not None:
        return Markup("<span>{}</span>").format(shorten(sketch.text))
    if sketch.fields is not None:
        fields = (Markup("<b>{}</b>: {}").format(*field) for field in sketch.fields.items())
        return Markup("<br>").join(fields)
    if sketch.picture is not None:
        return _show_picture(sketch.picture, title=sketch.caption)
    if sketch.curves is None:
        return Markup("<span>{}</span>").format(sketch.caption)
    draw = _draw_waveform if sketch.oscillates else _draw_line
    curves = sketch.curves[:MOST_CURVES]
    return Markup("<br>").join(draw(curve, title=sketch.caption) for curve in curves)


def is_missing(cell: object) -> bool:
    """Tell whether a cell is null."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def shorten(text: str, chars: int = TEXT_CHARS) -> str:
    """Cut a text to its beginning, ending in an ellipsis where something was cut."""
    return text if len(text) <= chars else text[: chars - 2].rstrip() + " …"


def embed_picture(path: Path) -> str:
    """Turn a plot's file into a data URI; a picture of pixels is made smaller first."""
    from PIL import Image

    if path.suffix == ".svg":
        return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
    with Image.open(path) as image:
        image.thumbnail((PLOT_PX, PLOT_PX))
        return _encode_jpeg(image)


def _show_picture(image: Image.Image, *, title: str) -> Markup:
    small = image.copy()
    strip = image.width > 3 * image.height  # a video's frames side by side
    small.thumbnail((THUMBNAIL_PX * (4 if strip else 1), THUMBNAIL_PX))
    return Markup('<img alt="{}" width="{}" height="{}" src="{}">').format(
        title, *small.size, _encode_jpeg(small)
    )


def _encode_jpeg(image: Image.Image) -> str:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _draw_waveform(samples: np.ndarray, *, title: str) -> Markup:
    """Draw the range that the samples of each moment cover, as audio editors do."""
    width, height = CURVE_PX
    parts = np.array_split(samples, min(CURVE_POINTS, len(samples)))
    peak = max(float(np.abs(samples).max()), 1e-12)
    ranges = np.array([[part.max(), part.min()] for part in parts], dtype=np.float64)
    tops, bottoms = (height / 2 * (1 - ranges / peak)).T
    step = width / len(parts)
    bars = (
        f"M{(at + 0.5) * step:.1f} {top - 0.3:.1f}V{bottom + 0.3:.1f}"  # silence is a line
        for at, (top, bottom) in enumerate(zip(tops, bottoms, strict=True))
    )
    return _wrap_path("".join(bars), title=title)


def _draw_line(values: np.ndarray, *, title: str) -> Markup:
    width, height = CURVE_PX
    shown = values[np.linspace(0, len(values) - 1, min(len(values), 2 * CURVE_POINTS)).astype(int)]
    low, high = float(shown.min()), float(shown.max())
    scale = (height - 4) / ((high - low) or 1)
    points = (
        f"{at * width / (len(shown) - 1):.1f} {height - 2 - (float(value) - low) * scale:.1f}"
        for at, value in enumerate(shown)
    )
    return _wrap_path("M" + "L".join(points), title=f"{title}, {low:.4g} to {high:.4g}")


def _wrap_path(path: str, *, title: str) -> Markup:
    return Markup(
        '<svg role="img" width="{w}" height="{h}" viewBox="0 0 {w} {h}"><title>{title}</title>'
        '<path d="{path}" fill="none" stroke="currentColor"/></svg>'
    ).format(w=CURVE_PX[0], h=CURVE_PX[1], title=title, path=path)
