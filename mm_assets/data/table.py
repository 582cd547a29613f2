"""The sample table: reading it from `data/`, and reading rows of later stages by split.

One row per sample: an id, optionally a group and a split, one column per modality, one per
target. A missing modality is a null, never a made-up value.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mm_assets.contracts.errors import DataContractError, SourceError
from mm_assets.data.delimited import DEFAULT_DELIMITERS, decode_lines, read_delimited

if TYPE_CHECKING:
    import pandas as pd
    from openpyxl import Workbook

    from mm_assets.contracts.config import Split

# Columns of `augmented/samples.parquet` beside the user's own.
ID, COPY, SPLIT, GROUP, RENDER = "id", "copy", "split", "group", "render"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".parquet")
ADVICE = {  # for endings that are nearly one of these
    ".xls": "save the old workbook as .xlsx",
    ".json": "write one object per line and call it .jsonl",
    ".txt": "call it .csv, or .tsv where tabs separate its cells",
}


def read_table(
    path: Path, *, encoding: str = "utf-8", delimiter: str | None = None, sheet: str | None = None
) -> pd.DataFrame:
    """Read the raw sample table, every column as it stands.

    CSV and TSV cells stay text (an id `007` keeps its zeros); only an absent cell (``,,``) is
    null, while a quoted empty one (``""``) stays an empty text. JSON Lines, Excel and Parquet keep
    their types, and a list stays a list.

    Args:
        path: A `.csv`, `.tsv`, `.jsonl` (or `.ndjson`), `.xlsx` or `.parquet` file.
        encoding: `data.encoding`, of CSV, TSV and JSON Lines.
        delimiter: `data.delimiter`, of CSV and TSV; by default a comma or a tab.
        sheet: `data.sheet`, of Excel; by default the first.

    Returns:
        One row per sample, index 0..n-1.

    Raises:
        SourceError: The file is absent, empty, unreadable or of another format, or a column has
            no name or that of another.
    """
    import pandas as pd

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SourceError(
            f"sample table {path.name} must be one of {', '.join(SUFFIXES)}; "
            + ADVICE.get(suffix, "convert it")
        )
    if not path.is_file():
        raise SourceError(_advise_absent(path))
    if path.stat().st_size == 0:
        raise SourceError(f"sample table {path.name} is empty: it has no bytes; fill it")
    if suffix in DEFAULT_DELIMITERS:
        table = read_delimited(path, encoding=encoding, delimiter=delimiter)
        _require_names(path, table.column_names)
        return pd.DataFrame(table.to_pandas())
    if suffix == ".parquet":
        return _read_parquet(path)
    columns = _read_workbook(path, sheet) if suffix == ".xlsx" else _read_json_lines(path, encoding)
    return pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})


def list_tables(folder: Path) -> list[Path]:
    """List the files of a folder (not those below it) that `read_table` reads, by name."""
    return sorted(
        path for path in folder.glob("[!.~]*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def _advise_absent(path: Path) -> str:
    """Say which tables lie there instead."""
    present = [other.name for other in list_tables(path.parent)] if path.parent.is_dir() else []
    folded = {name.casefold(): name for name in present}
    close = difflib.get_close_matches(path.name.casefold(), list(folded), n=1)
    if close:
        hint = f"did you mean {folded[close[0]]!r}? set `data.table` in params.yaml"
    elif present:
        hint = f"set `data.table` in params.yaml to one that is there: {', '.join(present[:5])}"
    else:
        hint = (
            "set `data.table` in params.yaml to the table's name, or fill data/ with "
            "`mm import FOLDER` or `mm use sample`"
        )
    return f"sample table {path.name} not found in {path.parent}; {hint}"


def _require_names(path: Path, names: Sequence[object]) -> None:
    """Require that every column has a name of its own.

    Raises:
        SourceError: One has not.
    """
    unnamed = [at for at, name in enumerate(names, start=1) if not str(name or "").strip()]
    if unnamed:
        cause = (
            "the usual cause is an index that pandas wrote along: write the table with "
            "`index=False`, or name the column"
            if unnamed == [1]
            else "name them in the header, or take them out"
        )
        shown = ", ".join(map(str, unnamed[:5]))
        raise SourceError(
            f"sample table {path.name} has no name for column{'s' * (len(unnamed) > 1)} {shown} of "
            f"{len(names)}; {cause}"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SourceError(
            f"sample table {path.name} has two columns named {twice[0]!r}; rename one"
        )


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read Parquet; an index with a name is a column too.

    Raises:
        SourceError: It is no Parquet, or two columns have one name.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(
            f"sample table {path.name} cannot be read as Parquet: {error}; write or fetch it anew"
        ) from None
    _require_names(path, table.column_names)
    return pd.DataFrame(table.to_pandas(ignore_metadata=True))


def _read_json_lines(path: Path, encoding: str) -> dict[str, list[object]]:
    """Read one object per line; a key that a line lacks is null there.

    Raises:
        SourceError: A line is no JSON object or does not decode; names it.
    """
    columns: dict[str, list[object]] = {}
    count = 0
    for number, line in enumerate(decode_lines(path, encoding), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if "\\ud" in line.lower():
                # Half a character, of a text that was cut within an emoji, is no Unicode text.
                whole = json.dumps(record, ensure_ascii=False).encode("utf-16", "surrogatepass")
                record = json.loads(whole.decode("utf-16", "replace"))
        except ValueError as error:
            raise SourceError(
                f"sample table {path.name}: line {number} is no JSON ({error}); each line must "
                'hold one object, such as {"id": "a", "text": "hello"}'
            ) from None
        if not isinstance(record, dict):
            raise SourceError(
                f"sample table {path.name}: line {number} must hold an object, got "
                f"{type(record).__name__}; write one object per line, with the columns as its keys"
            )
        for key, value in record.items():
            column = columns.setdefault(key, [])
            column.extend([None] * (count - len(column)))
            column.append(value)
        count += 1
    if not count:
        raise SourceError(f"sample table {path.name} is empty: it holds blank lines alone")
    for column in columns.values():
        column.extend([None] * (count - len(column)))
    _require_names(path, list(columns))
    return columns


def count_sheet_rows(path: Path) -> dict[str, int]:
    """Name a workbook's sheets in their order, each with the number of its last row.

    Raises:
        SourceError: It is no workbook.
    """
    with _open_workbook(path) as book:
        return {page.title: getattr(page, "max_row", 0) or 0 for page in book}


@contextlib.contextmanager
def _open_workbook(path: Path) -> Iterator[Workbook]:
    """Open a workbook for reading, formulas as the values that were saved with them.

    Raises:
        SourceError: It is no workbook, or is damaged where it is read.
    """
    import warnings
    import zipfile
    from xml.etree.ElementTree import ParseError

    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of openpyxl on formatting it drops
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            yield book
            book.close()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, ParseError) as error:
        raise SourceError(
            f"sample table {path.name} cannot be read as an Excel workbook: {error}; save it anew "
            "as .xlsx, without a password"
        ) from None


def _read_workbook(path: Path, sheet: str | None) -> dict[str, list[object]]:
    """Read one sheet of a workbook.

    Rows and columns at the end that hold nothing are formatting, and left out.

    Raises:
        SourceError: It is no workbook, has no such sheet, or the sheet is empty.
    """
    with _open_workbook(path) as book:
        titles = book.sheetnames
        title = titles[0] if sheet is None else sheet
        if title not in titles:
            raise SourceError(
                f"sample table {path.name} has no sheet {title!r}; set `data.sheet` in params.yaml "
                f"to one of: {', '.join(titles)}"
            )
        page = book[title]
        page.reset_dimensions()  # some programs write wrong ones
        rows = [row for row in page.iter_rows(values_only=True) if any(v is not None for v in row)]
    if not rows:
        raise SourceError(
            f"sample table {path.name} is empty: sheet {title!r} has no cell; there are sheets "
            f"{', '.join(titles)}, choose with `data.sheet` in params.yaml"
        )
    width = max(at for row in rows for at, value in enumerate(row, start=1) if value is not None)
    header, *body = [(*row, *[None] * (width - len(row)))[:width] for row in rows]
    names = ["" if name is None else str(name) for name in header]
    _require_names(path, names)
    cells = list(zip(*body, strict=True)) if body else [()] * width
    return {name: list(values) for name, values in zip(names, cells, strict=True)}


def as_text(values: pd.Series) -> pd.Series:
    """Write values as text: 7 and 7.0 both as ``7`` (a null makes pandas read integers as floats)."""
    return values.convert_dtypes().astype("str").where(values.notna(), None)


def clear_blanks(values: pd.Series) -> pd.Series:
    """Make null of cells that hold nothing but white space, as exports write a missing value."""
    if values.dtype != object and str(values.dtype) not in ("str", "string"):
        return values
    return values.mask(values.str.strip() == "", None)


def read_augmented(
    folder: Path, *, splits: Collection[Split], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read rows of `artifacts/augmented/samples.parquet` that belong to the named splits.

    Naming splits and columns at every call is what keeps the test rows closed: only `evaluate`
    reads labels of ``test``.

    Args:
        folder: The augment stage's out.
        splits: One or more of train, validation, test.
        columns: Modalities and targets to read; all of them where null.

    Returns:
        Columns ``id``, ``copy`` (0 for the sample itself), ``split``, ``group``, ``render`` (JSON
        text, null for copy 0), then the modality and target columns under their keys of
        `params.yaml`.

    Raises:
        DataContractError: No split was named.
    """
    import pandas as pd

    if not splits:
        raise DataContractError("read_augmented needs at least one split, got none")
    frame = pd.read_parquet(
        folder / "samples.parquet",
        columns=None if columns is None else [ID, COPY, SPLIT, GROUP, RENDER, *columns],
        filters=[(SPLIT, "in", sorted(splits))],
    )
    return frame.reset_index(drop=True)
