"""Rows put below a sample table; what it holds already stays as it was.

In CSV, TSV and JSON Lines every byte stays. Parquet keeps its types and metadata; Excel loses charts
and pictures, which hold no sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mm_assets.contracts.errors import SourceError
from mm_assets.data.delimited import DEFAULT_DELIMITERS, decode_lines
from mm_assets.data.editing import decode_text, encode_text, quote_cell, replace_value
from mm_assets.data.table import read_table

if TYPE_CHECKING:
    import pandas as pd

Paths = Mapping[int, Mapping[str, str]]  # by row (from 0) and column of the incoming table


def append_rows(
    path: Path,
    incoming: Path,
    target: Path,
    *,
    rows: Sequence[int],
    paths: Paths,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    sheet: str | None = None,
) -> None:
    """Write a copy of a sample table with rows of another one below its own.

    Args:
        path: A table that `read_table` reads.
        incoming: A table of the same format; its columns are among those of `path`, in any order,
            and what it lacks is null.
        target: The copy, a file of the same ending.
        rows: Which rows of `incoming` to take, counted from 0.
        paths: Cells that are other in the copy.
        encoding: As for `read_table`, of both tables.
        delimiter: Likewise.
        sheet: Likewise.

    Raises:
        SourceError: A value does not fit its column or encoding, or the file cannot be written
            without changing other cells.
    """
    reading: dict[str, Any] = {"encoding": encoding, "delimiter": delimiter, "sheet": sheet}
    before, new = read_table(path, **reading), read_table(incoming, **reading)
    suffix = path.suffix.lower()
    if suffix in DEFAULT_DELIMITERS:
        added = _fill(new, before, rows, paths)
        _append_delimited(path, target, added, encoding, delimiter or DEFAULT_DELIMITERS[suffix])
    elif suffix == ".parquet":
        _append_parquet(path, incoming, target, rows, paths)
    elif suffix == ".xlsx":
        _append_workbook(path, target, _fill(new, before, rows, paths), sheet)
    else:
        _append_json_lines(path, incoming, target, rows, paths, encoding)
    _require_appended(path, before, _fill(new, before, rows, paths), read_table(target, **reading))


def _fill(
    new: pd.DataFrame, before: pd.DataFrame, rows: Sequence[int], paths: Paths
) -> list[list[Any]]:
    """Give the chosen rows in the order of the table's columns, null as None."""
    known = new.astype("object").where(new.notna(), None)
    filled = []
    for row in rows:
        cells = {name: known[name].iat[row] for name in known.columns} | dict(paths.get(row, {}))
        filled.append([cells.get(name) for name in before.columns])
    return filled


def _append_delimited(
    path: Path, target: Path, rows: Sequence[Sequence[Any]], encoding: str, delimiter: str
) -> None:
    """Write lines below the text, which end as its own do.

    Raises:
        SourceError: A value cannot be written in the encoding.
    """
    text, encoding_kept = decode_text(path, encoding)
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if text.endswith(("\n", "\r")) else end
    lines = [delimiter.join(quote_cell(cell, delimiter) for cell in row) + end for row in rows]
    encode_text(text + gap + "".join(lines), target, path, encoding_kept)


def _append_json_lines(
    path: Path, incoming: Path, target: Path, rows: Sequence[int], paths: Paths, encoding: str
) -> None:
    """Write lines below the text, as they are but for their paths.

    Raises:
        SourceError: A value cannot be written in the encoding.
    """
    text, encoding_kept = decode_text(path, encoding)
    given = [line for line in decode_lines(incoming, encoding) if line.strip()]
    lines = []
    for row in rows:
        line = given[row].strip("\r\n")
        for name, value in paths.get(row, {}).items():
            line = replace_value(line, name, json.dumps(value, ensure_ascii=False))
        lines.append(line + "\n")
    gap = "" if text.endswith(("\n", "\r")) else "\n"
    encode_text(text + gap + "".join(lines), target, path, encoding_kept)


def _append_parquet(
    path: Path, incoming: Path, target: Path, rows: Sequence[int], paths: Paths
) -> None:
    """Put rows below, each column in the type that it has.

    Raises:
        SourceError: A column of the batch is of a type that cannot become that of the table.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    chosen = parquet.read_table(incoming).take(pa.array(rows, pa.int64()))
    columns = []
    for field in table.schema:
        if field.name not in chosen.column_names:
            columns.append(pa.nulls(len(rows), field.type))
            continue
        column = chosen[field.name]
        if any(field.name in cells for cells in paths.values()):
            values = [
                paths.get(row, {}).get(field.name, value)
                for row, value in zip(rows, column.to_pylist(), strict=True)
            ]
            column = pa.chunked_array([pa.array(values, column.type)])
        try:
            columns.append(column.cast(field.type))
        # A value that does not fit, other fields, no cast at all; not memory, which is no fault of it.
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"{incoming}: column {field.name!r} must hold {field.type}, as {path.name} of data/ "
                f"does, got {column.type} ({error}); write the batch with the same types"
            ) from None
    parquet.write_table(pa.concat_tables([table, pa.table(columns, table.schema)]), target)


def _append_workbook(
    path: Path, target: Path, rows: Sequence[Sequence[Any]], sheet: str | None
) -> None:
    """Put rows below those of one sheet.

    Raises:
        SourceError: The workbook has formulas, whose results would be lost.
    """
    import openpyxl

    book = openpyxl.load_workbook(path)
    if any(
        cell.data_type == "f" for one in book.worksheets for row in one.iter_rows() for cell in row
    ):
        raise SourceError(
            f"sample table {path.name} has formulas, whose results only Excel can write; put the "
            "batch's rows there by hand, or save the table as CSV"
        )
    page = book[sheet or book.sheetnames[0]]
    names = next(row for row in page.iter_rows() if any(cell.value is not None for cell in row))
    used = [row for row in page.iter_rows() if any(cell.value is not None for cell in row)]
    last = used[-1][0].row
    for place, row in enumerate(rows, start=1):
        for cell, value in zip(names, row, strict=False):
            page.cell(last + place, cell.column, value)
    book.save(target)


def _require_appended(
    path: Path, before: pd.DataFrame, added: Sequence[Sequence[Any]], after: pd.DataFrame
) -> None:
    """Compare the copy with what it was made of.

    Raises:
        SourceError: A cell is other than it was, or than it was in the batch.
    """
    same = list(after.columns) == list(before.columns) and len(after) == len(before) + len(added)
    for place, name in enumerate(before.columns if same else ()):
        known = after[name].iloc[: len(before)].reset_index(drop=True)
        new = after[name].iloc[len(before) :].tolist()
        # In a column of objects (or one that was all null) equal values may be of unlike types.
        same = same and (
            known.equals(before[name]) or list(known.dropna()) == list(before[name].dropna())
        )
        same = same and all(is_equal(one, row[place]) for one, row in zip(new, added, strict=True))
    if not same:
        raise SourceError(
            f"sample table {path.name} cannot be continued without changing cells; put the batch's "
            "rows there with the program that wrote it"
        )


def is_equal(one: object, other: object) -> bool:
    """Compare two cells; lists and arrays by what they hold, null with null."""
    one, other = _plain(one), _plain(other)
    return bool(one == other)


def _plain(value: object) -> object:
    """Give arrays as lists, and null as None."""
    import pandas as pd

    inner = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(inner, (list, tuple)):
        return [_plain(item) for item in inner]
    return None if pd.isna(cast("Any", inner)) is True else inner  # its stubs name some types alone
