"""Tables that are text, CSV and TSV: read fast, and a second time slowly only to say what is wrong."""

from __future__ import annotations

import codecs
import contextlib
import csv
import json
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

from mm_assets.contracts.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_DELIMITERS = {".csv": ",", ".tsv": "\t"}
DELIMITERS = (",", ";", "\t", "|")  # those that are suggested
LARGEST_BLOCK = 64 * 2**20  # bytes of a file that are parsed at once
SHOWN_CHARS = 60  # of a broken line
# Code pages that tables are commonly saved in. Western first: several others agree with it on
# most letters.
CODE_PAGES: tuple[str, ...] = ("cp1252", "cp1250", "gb18030", "big5", "cp932", "cp949", "cp1251")
CODE_PAGES += ("koi8_r", "cp1253", "cp1254", "cp1255", "cp1256")
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
GUESSED_FROM = 2**16  # bytes of lines beyond ASCII


def read_delimited(path: Path, *, encoding: str, delimiter: str | None) -> pa.Table:
    """Read a CSV or TSV file, every cell as text.

    Only an absent cell (``,,``) is null; a quoted empty one (``""``) stays an empty text.

    Args:
        path: The file, not empty.
        encoding: As Python names it; a byte-order mark of UTF-8 is no part of the first name.
        delimiter: One character; by default what the file's ending says.

    Returns:
        One string column per cell of the header.

    Raises:
        SourceError: The file is of another encoding or delimiter, has NUL bytes, a quote that is
            never closed, or a row with more or fewer cells than the header; names the line.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    delimiter = delimiter or DEFAULT_DELIMITERS[path.suffix.lower()]
    quotes = _require_text(path, encoding)
    names = _read_header(path, encoding, delimiter)
    try:
        table = arrow.read_csv(
            path,
            # A row must fit into a block.
            arrow.ReadOptions(
                encoding=encoding, block_size=min(path.stat().st_size, LARGEST_BLOCK)
            ),
            arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            arrow.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if undecodable := _explain_encoding(path, encoding):
            raise SourceError(undecodable) from None
        _require_rows(path, encoding, delimiter, width=len(names))
        raise SourceError(f"sample table {path.name} cannot be read: {error}") from None
    if quotes % 2:  # one more than there should be may have swallowed the rest of the file
        _require_rows(path, encoding, delimiter, width=len(names))
    return table


def decode_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield a text file's lines.

    Raises:
        SourceError: As `read_delimited`, as far as it is about encoding.
    """
    _require_text(path, encoding)
    try:
        with path.open(encoding=_without_mark(encoding)) as file:
            yield from file
    except UnicodeDecodeError:
        raise SourceError(_explain_encoding(path, encoding)) from None


def guess_encoding(path: Path) -> str | None:
    """Guess how a text is encoded: UTF-8 where it is, else by its mark or by charset-normalizer.

    Returns:
        A name for `data.encoding`, or null where nothing fits.
    """
    from charset_normalizer import from_bytes

    data = path.read_bytes()
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return name
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
    else:
        return "utf-8"
    lines = data[start : start + 64 * GUESSED_FROM].split(b"\n")
    beyond = b"\n".join(line for line in lines if not line.isascii())[:GUESSED_FROM]
    found = [match.encoding for match in from_bytes(beyond, cp_isolation=list(CODE_PAGES))]
    if found[:1] == ["cp1250"] and (
        "cp1252" in found or beyond.decode("cp1250") == beyond.decode("cp1252", errors="replace")
    ):
        return "cp1252"
    return found[0] if found else None


def read_first_line(path: Path, encoding: str) -> str:
    """Give the first line that is not blank, an empty text where there is none."""
    return next((line.strip("\r\n") for line in decode_lines(path, encoding) if line.strip()), "")


def guess_delimiter(header: str, *, given: str) -> str | None:
    """Find the character that cuts a header in most parts, where the given one does not cut it."""
    counts = {other: header.count(other) for other in DELIMITERS if other != given}
    best = max(counts, key=lambda other: counts[other])
    return best if given not in header and counts[best] else None


def _require_text(path: Path, encoding: str) -> int:
    """Refuse what shows in the bytes alone, and count the double quotes.

    Raises:
        SourceError: An unknown encoding, the mark of another, or a NUL byte.
    """
    try:
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    except LookupError:
        raise SourceError(
            f"`data.encoding` {encoding!r} is no encoding that Python knows; common ones are utf-8, "
            f"utf-16, {', '.join(CODE_PAGES[:5])}"
        ) from None
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        head = data[:4]
        for mark, name in MARKS.items():
            if head.startswith(mark) and not wide:
                raise SourceError(
                    f"sample table {path.name} starts with the byte-order mark of {name.upper()}, "
                    f"but `data.encoding` is {encoding}; set `data.encoding: {name}` in params.yaml"
                )
        at = -1 if wide else data.find(b"\0")
        if at >= 0:
            line = _count(data, b"\n", at) + 1
            raise SourceError(
                f"sample table {path.name} has a NUL byte in line {line}: the file is damaged, is "
                "no text, or is UTF-16 without its mark (then set `data.encoding: utf-16-le` in "
                "params.yaml)"
            )
        return _count(data, b'"', len(data))


def _count(data: mmap, wanted: bytes, end: int) -> int:
    """Count a byte in a memory map, in pieces that fit a small machine."""
    piece = 2**24
    view = memoryview(data)
    try:
        return sum(
            bytes(view[at : min(at + piece, end)]).count(wanted) for at in range(0, end, piece)
        )
    finally:
        view.release()


def _read_header(path: Path, encoding: str, delimiter: str) -> list[str]:
    """Give the column names.

    Raises:
        SourceError: The header cannot be decoded, is absent or was written with another delimiter.
    """
    try:
        header = next(
            (cells for _, _, cells in walk_rows(path, encoding, delimiter) if cells), None
        )
    except UnicodeDecodeError:
        raise SourceError(_explain_encoding(path, encoding)) from None
    if header is None:
        raise SourceError(f"sample table {path.name} is empty: it holds blank lines alone")
    if len(header) == 1 and (found := guess_delimiter(header[0], given=delimiter)):
        raise SourceError(
            f"sample table {path.name} has one column, named {header[0][:SHOWN_CHARS]!r}, when "
            f"cells are separated by {delimiter!r}; set `data.delimiter: {json.dumps(found)}` in "
            "params.yaml"
        )
    return header


def _explain_encoding(path: Path, encoding: str) -> str:
    """Name the first byte that does not decode; an empty text where all do."""
    data = path.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        guess = guess_encoding(path)
        advice = (
            f"it looks like {guess}: set `data.encoding: {guess}` in params.yaml"
            if guess and codecs.lookup(guess) != codecs.lookup(encoding)
            else "set `data.encoding` in params.yaml to what it was saved in, or save it as UTF-8"
        )
        return (
            f"sample table {path.name} is not {encoding} text: byte 0x{data[error.start]:02x} in "
            f"line {line} does not decode; {advice}"
        )
    return ""


def _require_rows(path: Path, encoding: str, delimiter: str, *, width: int) -> None:
    """Name the first row that does not fit, if there is one.

    Raises:
        SourceError: There is.
    """
    odd: tuple[int, str, int] | None = None
    line, text = 1, ""
    for line, text, cells in walk_rows(path, encoding, delimiter):
        if odd is None and cells and len(cells) != width:
            odd = line, text, len(cells)
    try:
        list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise SourceError(
                f"sample table {path.name}: a double quote that opens in line {line} is never "
                f"closed, so all that follows is one cell: {_shorten(text)}; close it, or write a "
                'quote inside a quoted cell as ""'
            ) from None
    if odd:
        line, text, count = odd
        raise SourceError(
            f"sample table {path.name}: line {line} has {count} cell{'s' * (count > 1)}, the header "
            f"has {width}: {_shorten(text)}; put a cell that holds {delimiter!r} or a line break in "
            "double quotes, or mend the line"
        )


def walk_rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each row's first line (from 1), its text and its cells; the texts are the whole file.

    A byte-order mark is left out; a blank line has no cells.
    """
    lines: list[str] = []
    with path.open(encoding=_without_mark(encoding), newline="") as file, _any_cell_size():

        def remember() -> Iterator[str]:
            for line in file:
                lines.append(line)
                yield line

        first = 1
        for cells in csv.reader(remember(), delimiter=delimiter):
            yield first, "".join(lines), cells
            first += len(lines)
            lines.clear()


def _without_mark(encoding: str) -> str:
    """Name the encoding that leaves a byte-order mark out."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


@contextlib.contextmanager
def _any_cell_size() -> Iterator[None]:
    """Lift the csv module's limit on a cell (it is the process's)."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _shorten(text: str) -> str:
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…")
