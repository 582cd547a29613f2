"""Writing a few cells of the sample table anew; every other cell stays as it was.

In CSV, TSV and JSON Lines every other byte stays too. Parquet keeps its types and metadata; Excel
loses charts and pictures, which hold no sample.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_assets.contracts.errors import SourceError
from mm_assets.data.delimited import DEFAULT_DELIMITERS, walk_rows
from mm_assets.data.table import read_table

if TYPE_CHECKING:
    import pandas as pd

Changes = Mapping[int, Mapping[str, str | None]]  # by row (from 0) and column; null clears the cell
Cells = Mapping[int, Mapping[str, Any]]  # the same, in the column's type


def edit_table(
    path: Path,
    target: Path,
    changes: Changes,
    *,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    """Write a copy of a sample table in which some cells are other.

    Args:
        path: A table that `read_table` reads.
        target: The copy, a file of the same ending.
        changes: What the cells hold then, as a person writes it: in a column of numbers or lists
            (of JSON Lines, Parquet or Excel) as JSON.
        encoding: As for `read_table`.
        delimiter: Likewise.
        sheet: Likewise.

    Returns:
        The copy, as `read_table` reads it.

    Raises:
        SourceError: There is no such column, a value does not fit its column or encoding, or the
            file cannot be written without changing other cells.
    """
    reading: dict[str, Any] = {"encoding": encoding, "delimiter": delimiter, "sheet": sheet}
    before = read_table(path, **reading)
    for name in {name for cells in changes.values() for name in cells}:
        if name not in before:
            raise SourceError(
                f"sample table {path.name} has no column {name!r}; it has "
                f"{', '.join(map(str, before.columns))}"
            )
    suffix = path.suffix.lower()
    if suffix in DEFAULT_DELIMITERS:
        _edit_delimited(path, target, changes, encoding, delimiter or DEFAULT_DELIMITERS[suffix])
    else:
        typed = {
            row: {name: _read_value(before[name], text) for name, text in cells.items()}
            for row, cells in changes.items()
        }
        if suffix == ".parquet":
            _edit_parquet(path, target, typed)
        elif suffix == ".xlsx":
            _edit_workbook(path, target, typed, sheet)
        else:
            _edit_json_lines(path, target, typed, encoding)
    after = read_table(target, **reading)
    _require_others_unchanged(path, before, after, changes)
    return after


def _read_value(column: pd.Series, text: str | None) -> object:
    """Read what a person wrote as a value of the column's type: a text where it holds any."""
    known = column.dropna()
    if text is None or known.empty or known.map(lambda value: isinstance(value, str)).any():
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _edit_delimited(
    path: Path, target: Path, changes: Changes, encoding: str, delimiter: str
) -> None:
    """Replace cells in the text.

    Raises:
        SourceError: A value or the text cannot be written in the encoding.
    """
    text, encoding_kept = decode_text(path, encoding)
    parts, header, row = [text[: mark_length(text)]], None, -1
    for _, raw, cells in walk_rows(path, encoding, delimiter):
        if cells and header is None:
            header = cells
        elif cells and header is not None:
            row += 1
            if row in changes:
                named = {header.index(name): value for name, value in changes[row].items()}
                raw = _replace_cells(raw, named, delimiter)
        parts.append(raw)
    encode_text("".join(parts), target, path, encoding_kept)


def _replace_cells(raw: str, changes: Mapping[int, str | None], delimiter: str) -> str:
    """Replace cells of one row, by their place; all else keeps its quotes and spaces."""
    other = f"[^{re.escape(delimiter)}\r\n]*"
    cell = re.compile(f'"(?:[^"]|"")*"{other}|{other}')
    parts, done, start = [], 0, 0
    for place in range(max(changes) + 1):
        found = cell.match(raw, start)
        end = found.end() if found else start
        if place in changes:
            parts += [raw[done:start], quote_cell(changes[place], delimiter)]
            done = end
        start = end + 1
    return "".join([*parts, raw[done:]])


def quote_cell(value: str | None, delimiter: str) -> str:
    """Write a cell: null as nothing, quoted where it must be."""
    if value is None:
        return ""
    if value == "" or any(char in value for char in (delimiter, '"', "\r", "\n")):
        return '"' + value.replace('"', '""') + '"'
    return value


def _edit_json_lines(path: Path, target: Path, changes: Cells, encoding: str) -> None:
    """Replace values in the text.

    Raises:
        SourceError: A value or the text cannot be written in the encoding.
    """
    text, encoding_kept = decode_text(path, encoding)
    mark = text[: mark_length(text)]
    parts, row = [mark], -1
    for line in io.StringIO(text[len(mark) :], newline=""):  # as a file is split, not as texts are
        row += bool(line.strip())
        if line.strip() and row in changes:
            for key, value in changes[row].items():
                line = replace_value(line, key, json.dumps(value, ensure_ascii=False))
        parts.append(line)
    encode_text("".join(parts), target, path, encoding_kept)


def replace_value(line: str, key: str, written: str) -> str:
    """Replace one value of a JSON object's text, or add the key at its end."""
    end = line.index("{") + 1
    for name, start, end in _walk_object(line):
        if name == key:
            return line[:start] + written + line[end:]
    comma = ", " if json.loads(line) else ""
    return f"{line[:end]}{comma}{json.dumps(key, ensure_ascii=False)}: {written}{line[end:]}"


def _walk_object(line: str) -> Iterator[tuple[str, int, int]]:
    """Yield each key of a JSON object's text, with where its value starts and ends."""
    decoder, space = json.JSONDecoder(), re.compile(r"[\s,:]*")

    def skip(at: int) -> int:
        found = space.match(line, at)
        return found.end() if found else at

    at = skip(line.index("{") + 1)
    while line[at] != "}":
        name, at = decoder.raw_decode(line, at)
        start = skip(at)
        _, end = decoder.raw_decode(line, start)
        yield name, start, end
        at = skip(end)


def _edit_parquet(path: Path, target: Path, changes: Cells) -> None:
    """Replace values, each column's type kept.

    Raises:
        SourceError: A value is not of its column's type.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    for row, cells in changes.items():
        for name, value in cells.items():
            place = table.column_names.index(name)
            field, column = table.schema.field(place), table.column(place)
            try:
                new = pa.array([value], type=field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise SourceError(
                    f"sample table {path.name}: column {name!r} holds {field.type}, and {value!r} "
                    f"is none: {error}"
                ) from None
            chunks = [*column.slice(0, row).chunks, new, *column.slice(row + 1).chunks]
            table = table.set_column(place, field, pa.chunked_array(chunks, type=field.type))
    parquet.write_table(table, target)


def _edit_workbook(path: Path, target: Path, changes: Cells, sheet: str | None) -> None:
    """Replace values in one sheet.

    Raises:
        SourceError: The workbook has formulas, whose results would be lost.
    """
    import openpyxl

    book = openpyxl.load_workbook(path)
    for one in book.worksheets:
        for row in one.iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    raise SourceError(
                        f"sample table {path.name} has formulas (the first in sheet "
                        f"{one.title!r}, {cell.coordinate}), whose results only Excel can write; "
                        "mend the row there, then run this again without --set"
                    )
    page = book[sheet or book.sheetnames[0]]
    rows = [row for row in page.iter_rows() if any(cell.value is not None for cell in row)]
    names = ["" if cell.value is None else str(cell.value) for cell in rows[0]]
    for row, cells in changes.items():
        for name, value in cells.items():
            rows[row + 1][names.index(name)].value = value
    book.save(target)


def _require_others_unchanged(
    path: Path, before: pd.DataFrame, after: pd.DataFrame, changes: Changes
) -> None:
    """Compare all but the changed cells of a table with its copy.

    Raises:
        SourceError: One differs.
    """
    same = list(before.columns) == list(after.columns) and len(before) == len(after)
    for name in before.columns if same else ():
        changed = [row for row, cells in changes.items() if name in cells]
        one, other = before[name].drop(changed), after[name].drop(changed)
        # In a column of objects (or one that was all null) equal values may be of unlike types.
        same = same and (one.equals(other) or list(one.dropna()) == list(other.dropna()))
    if not same:
        raise SourceError(
            f"sample table {path.name} cannot be edited without changing other cells; mend the row "
            "in the program that wrote it, then run this again without --set"
        )


def mark_length(text: str) -> int:
    """Count the characters of a byte-order mark: one, or none."""
    return int(text.startswith("\ufeff"))


def decode_text(path: Path, encoding: str) -> tuple[str, str]:
    """Give the whole text, a byte-order mark as its first character, and how to write it again."""
    data, name = path.read_bytes(), codecs.lookup(encoding).name
    if name in {"utf-16", "utf-32", "utf-8-sig"}:  # these write a mark of their own
        wide = name.removesuffix("-sig")
        big = data.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
        name = wide if wide == "utf-8" else f"{wide}-{'be' if big else 'le'}"
    return data.decode(name), name


def encode_text(text: str, target: Path, path: Path, encoding: str) -> None:
    """Write text.

    Raises:
        SourceError: A character does not exist in the encoding.
    """
    try:
        target.write_bytes(text.encode(encoding))
    except UnicodeEncodeError as error:
        raise SourceError(
            f"sample table {path.name} is {encoding} text, which has no "
            f"{error.object[error.start : error.end]!r}; save it as UTF-8 and set `data.encoding` "
            "in params.yaml"
        ) from None
