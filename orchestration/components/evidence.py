"""What DVC declares as metrics and plots, as Dagster's metadata."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import dagster as dg

from mm_assets.contracts.errors import StageError
from orchestration.dvc_declared import DeclaredPlot, Series, lies_in
from orchestration.dvc_project import Record
from orchestration.dvc_stages import Stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PICTURE_BYTES = 500_000  # every event is kept in Dagster's database
MAX_POINTS = 1000  # of one line; a picture of 600 pixels shows no more
IMAGE_TYPES = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
}

Metadata = dict[str, dg.MetadataValue[Any]]
Row = Mapping[str, Any]


class EvidenceError(StageError):
    """A declared metrics file or plot cannot be shown; its stage is none the worse for it."""


def describe_metrics(stage: Stage, record: Record) -> Metadata:
    """Give every value of the stage's metrics files, nested names joined by dots.

    Dagster draws numbers over time. Where a stage has several metrics files, each name begins with
    its file's.
    """
    found: Metadata = {}
    for path in stage.metrics:
        if path not in record.evidence:
            continue
        prefix = f"{path.stem}." if len(stage.metrics) > 1 else ""
        try:
            values = _parse(record.evidence[path], path)
        except EvidenceError as error:
            found[str(path)] = dg.MetadataValue.text(str(error))
            continue
        named = values if isinstance(values, Mapping) else {path.stem: values}
        found |= {f"{prefix}{name}": _show_value(value) for name, value in _flatten(named)}
    return found


def describe_plots(root: Path, stage: Stage, record: Record) -> Metadata:
    """Draw the stage's plots; a plot that cannot be drawn says why in its place."""
    found: Metadata = {}
    for plot in stage.plots:
        for title, series in _part(plot, record.evidence):
            name = title if title not in found else f"{title} ({series[0].path})"
            try:
                found[name] = _show_plot(root, title, plot, series, record.evidence)
            except EvidenceError as error:
                found[name] = dg.MetadataValue.text(str(error))
    return found


def show_picture(title: str, kind: str, content: bytes) -> dg.MetadataValue[Any]:
    """Show a picture inside the page, its bytes in its address."""
    data = base64.b64encode(content).decode()
    return dg.MetadataValue.md(f"![{title}](data:{kind};base64,{data})")


def _parse(file: Path, path: PurePosixPath) -> object:
    """Parse a JSON, YAML or TOML file as DVC does; `path` tells which it is.

    Raises:
        EvidenceError: It is none.
    """
    from dvc.utils.serialize import PARSERS, ParseError

    try:
        return PARSERS[path.suffix.lower()](file.read_text(encoding="utf-8"), str(path))
    except (ParseError, UnicodeDecodeError, OSError) as error:
        raise EvidenceError(f"{path} cannot be read: {error}") from None


def _flatten(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _show_value(value: object) -> dg.MetadataValue[Any]:
    """Show a number as a number; one that is none (NaN, infinite) as the text that it is."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float) and math.isfinite(value):
        return dg.MetadataValue.float(value)
    return dg.MetadataValue.text(
        value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    )


def _part(
    plot: DeclaredPlot, evidence: Mapping[PurePosixPath, Path]
) -> Iterator[tuple[str, list[Series]]]:
    """Give one drawing per plot, and one per file where the plot names a folder, as DVC does."""
    if whole := [series for series in plot.series if series.path in evidence]:
        yield plot.title, whole
    folders = [series for series in plot.series if series.path not in evidence]
    for file in evidence:
        inside = [series for series in folders if lies_in(file, [series.path])]
        if inside:
            name = file.relative_to(inside[0].path).with_suffix("")
            yield f"{plot.title}/{name}", [Series(file, one.x, one.y) for one in inside]


def _show_plot(
    root: Path,
    title: str,
    plot: DeclaredPlot,
    series: list[Series],
    evidence: Mapping[PurePosixPath, Path],
) -> dg.MetadataValue[Any]:
    path = series[0].path
    if kind := IMAGE_TYPES.get(path.suffix.lower()):
        content = evidence[path].read_bytes()
    else:
        kind = IMAGE_TYPES[".svg"]
        content = draw(plot, [_read_line(evidence[one.path], one) for one in series])
    if len(content) > MAX_PICTURE_BYTES:
        return dg.MetadataValue.path(root / path)
    return show_picture(title, kind, content)


@dataclass(frozen=True)
class Line:
    """What is drawn of one series: numbers, or names of categories, of equal length."""

    label: str
    x: list[Any]
    y: list[Any]
    x_name: str
    y_name: str


def _read_line(file: Path, series: Series) -> Line:
    """Read a series from a table; without columns named, row numbers and the last column.

    Raises:
        EvidenceError: There are no rows, or no such column.
    """
    rows = _read_rows(file, series.path)
    columns = list(rows[0]) if rows else []
    y_name = series.y or (columns[-1] if columns else "")
    for name in (series.x, y_name):
        if name is not None and name not in columns:
            raise EvidenceError(
                f"{series.path} has no column {name!r}, which `plots` of dvc.yaml names; it has "
                f"{', '.join(columns) or 'no rows'}"
            )
    y = _read_column(rows, y_name)
    x = _read_column(rows, series.x) if series.x else [float(at) for at in range(len(rows))]
    return Line(y_name, x, y, series.x or "step", y_name)


def _read_rows(file: Path, path: PurePosixPath) -> list[Row]:
    """Read a table: CSV or TSV with a header, else the first list of rows in a JSON or YAML file.

    Raises:
        EvidenceError: There is none.
    """
    suffix = path.suffix.lower()
    if suffix in {".csv", ".tsv"}:
        try:
            text = io.StringIO(file.read_text(encoding="utf-8-sig"))
            return list(csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else ","))
        except (UnicodeDecodeError, OSError, csv.Error) as error:
            raise EvidenceError(f"{path} cannot be read: {error}") from None
    found = next(_find_rows(_parse(file, path)), None)
    if found is None:
        raise EvidenceError(f"{path} is declared as a plot, but has no list of rows to draw")
    return found


def _find_rows(content: object) -> Iterator[list[Row]]:
    if isinstance(content, list) and content and all(isinstance(row, Mapping) for row in content):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _find_rows(value)


def _read_column(rows: list[Row], name: str) -> list[Any]:
    """Give a column as numbers where all of it are, else as text."""
    cells = [row.get(name) for row in rows]
    try:
        return [math.nan if cell in {None, ""} else float(cell) for cell in cells]
    except (TypeError, ValueError):
        return [str(cell) for cell in cells]


def draw(plot: DeclaredPlot, lines: list[Line]) -> bytes:
    """Draw a plot as SVG, equal bytes for equal rows.

    DVC's templates that are bars, points or a confusion matrix are drawn as such, others as lines.

    Raises:
        EvidenceError: A line would need numbers and has none.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    if plot.template.startswith("confusion"):
        _draw_confusion(axes, lines[0])
    elif plot.template.startswith("bar_horizontal"):
        _require_numbers(lines, "x")
        for line in lines:
            axes.barh([str(name) for name in line.y], line.x)
        axes.invert_yaxis()
    else:
        _require_numbers(lines, "y")
        points = plot.template.startswith("scatter")
        for line in lines:
            step = math.ceil(len(line.y) / MAX_POINTS)
            axes.plot(
                line.x[::step],
                line.y[::step],
                label=line.label,
                marker="." if points or len(line.y) == 1 else "",
                linestyle="" if points else "-",
            )
        if len(lines) > 1:
            axes.legend()
    axes.set_xlabel(plot.x_label or lines[0].x_name)
    axes.set_ylabel(plot.y_label or (lines[0].y_name if len(lines) == 1 else ""))
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "dvc", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _require_numbers(lines: Iterable[Line], axis: str) -> None:
    for line in lines:
        values, name = (line.x, line.x_name) if axis == "x" else (line.y, line.y_name)
        if any(isinstance(value, str) for value in values):
            raise EvidenceError(
                f"column {name!r} is drawn along {axis} and must hold numbers, but has "
                f"{next(value for value in values if isinstance(value, str))!r}"
            )


def _draw_confusion(axes: Axes, line: Line) -> None:
    """Count each pair of predicted (along x) and true class."""
    x, y = [str(name) for name in line.x], [str(name) for name in line.y]
    names = sorted({*x, *y})
    counts = Counter(zip(y, x, strict=True))
    axes.imshow([[counts[row, column] for column in names] for row in names], cmap="Blues")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in counts.items():
        axes.text(names.index(column), names.index(row), str(count), ha="center", va="center")
