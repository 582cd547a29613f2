"""Reading a matrix of numbers from a file's bytes, whatever the file claims about itself."""

from __future__ import annotations

import io
import itertools
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mm_assets.contracts.errors import BadSampleError

if TYPE_CHECKING:
    import pyarrow as pa

UNREADABLE = "array_unreadable"
TOO_LARGE = "array_too_large"
NO_COLUMNS = "array_columns"
NUMBERS = "biuf"  # NumPy's kinds of dtype; objects, texts, times and complex numbers are none
MARKS = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PAR1": "parquet"}
# What the readers below raise on bytes that are no such file.
_DAMAGED = (
    *(tokenize.TokenError, SyntaxError, ValueError, TypeError, OverflowError),  # an NPY's header
    *(zipfile.BadZipFile, zlib.error, EOFError, LookupError, AttributeError),  # an NPZ's members
    RuntimeError,  # an encrypted ZIP, a compression that Python lacks, nesting without end
    *(OSError, MemoryError),  # lengths that are lies, and were asked of the system
)


@dataclass(frozen=True)
class Matrix:
    """Numbers as a file holds them.

    Attributes:
        numbers: Of a real dtype, one or two axes; a missing cell of a table is NaN.
        is_table: Whether it came from rows and columns, as a CSV or Parquet file has them.
        names: Of its columns, where the file says them.
    """

    numbers: np.ndarray
    is_table: bool
    names: tuple[str, ...] = ()


def read_matrix(data: bytes, *, most: int, columns: Sequence[str] | None = None) -> Matrix:
    """Read NPY, NPZ (of one array), Parquet, or text (CSV, TSV); the bytes say which it is.

    Nothing is unpickled. What a header promises is compared with `most` and with the bytes that
    are there before anything is allocated for it.

    Args:
        data: A whole file.
        most: Largest number of numbers to read.
        columns: Which columns of a table are wanted, in this order; all by default.

    Raises:
        BadSampleError: ``array_unreadable``, ``array_too_large`` or ``array_columns``.
    """
    form = next((form for mark, form in MARKS.items() if data.startswith(mark)), "text")
    try:
        if form == "npy":
            found = Matrix(_read_npy(data, most), is_table=False)
        elif form == "npz":
            found = Matrix(_read_npy(_unzip(data, most), most), is_table=False)
        elif form == "parquet":
            found = _read_parquet(data, most, columns)
        else:
            found = _read_text(data, most, columns)
    except _DAMAGED as error:
        why = str(error).partition("\n")[0][:120] or type(error).__name__
        raise BadSampleError(UNREADABLE, f"it is no {form} file of numbers: {why}") from None
    if columns is not None and not found.is_table:
        raise BadSampleError(NO_COLUMNS, f"`columns` name columns of a table, but it is {form}")
    if found.numbers.ndim not in (1, 2) or not found.numbers.size:
        raise BadSampleError(
            UNREADABLE,
            f"an array of one or two axes is needed, got one of shape {found.numbers.shape}",
        )
    return found


def _read_npy(data: bytes, most: int) -> np.ndarray:
    """Read an NPY file without a copy.

    Raises:
        BadSampleError: Its header promises more than there is, or other things than numbers.
        ValueError: It has no header that NumPy knows.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, fortran, dtype = read(file)
    if dtype.kind not in NUMBERS:
        raise BadSampleError(
            UNREADABLE, f"its numbers must be real, got dtype {dtype}; nothing is unpickled"
        )
    count = 1
    for length in shape:
        count *= length
    _require_few(count, most)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - file.tell():
        raise BadSampleError(
            UNREADABLE,
            f"its header promises shape {shape} of {dtype}, which is {count * dtype.itemsize} "
            f"bytes, but {len(data) - file.tell()} follow",
        )
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _unzip(data: bytes, most: int) -> bytes:
    """Give the one file of an archive, no more than its numbers may take.

    Raises:
        BadSampleError: It holds several files, or unpacks to too much.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        inside = archive.infolist()
        if len(inside) != 1:
            raise BadSampleError(UNREADABLE, f"an NPZ must hold one array, got {len(inside)}")
        limit = 16 * most + 2**16  # the widest number, and a header
        with archive.open(inside[0]) as file:
            unpacked = file.read(limit + 1)
    if len(unpacked) > limit:
        raise BadSampleError(TOO_LARGE, f"it unpacks to more than {limit} bytes")
    return unpacked


def _read_parquet(data: bytes, most: int, columns: Sequence[str] | None) -> Matrix:
    """Read a table whose columns are numbers.

    Raises:
        BadSampleError: It has too many rows, a column that is absent, or one of other things.
        ValueError: Arrow cannot read it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
        names = _choose(schema.names, columns)
        odd = [name for name in names if not _is_number(schema.field(name).type)]
        if odd:
            raise BadSampleError(
                NO_COLUMNS,
                f"column {odd[0]!r} is {schema.field(odd[0]).type}; all must be numbers: name those "
                "that are wanted in `columns`",
            )
        _require_few(file.metadata.num_rows * len(names), most)
        table = file.read(columns=names, use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    arrays = [table[name].to_numpy().astype(np.float64) for name in names]
    return Matrix(np.stack(arrays, axis=1), is_table=True, names=tuple(names))


def _is_number(dtype: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype)
    )


def _read_text(data: bytes, most: int, columns: Sequence[str] | None) -> Matrix:
    """Read rows of numbers; cut by tab, semicolon, comma or else spaces, with a header or none.

    Blank lines and lines that start with ``#`` are passed over; a cell that is blank or reads
    NaN, NA, null or None is missing.

    Raises:
        BadSampleError: It has too many numbers, or a column that is absent.
        ValueError: A cell is no number, or rows differ in length.
    """
    lines = _walk_lines(data)
    first = next(lines, None)
    if first is None:
        raise ValueError("it holds blank lines alone")
    delimiter = next((one for one in "\t;," if one in first), None)
    width = first.count(delimiter) + 1 if delimiter else len(first.split())
    _require_few(width, most)
    header: list[str] = []
    if _is_numeric(first, delimiter):
        lines = itertools.chain([first], lines)
    else:
        text = first.encode("latin-1").decode("utf-8")
        header = [cell.strip(" \"'\r") for cell in text.split(delimiter)]
    if columns is not None and not header:
        raise BadSampleError(NO_COLUMNS, "`columns` name columns, but the file has no header")
    second = next(lines, None)
    if second is None:
        raise ValueError("it holds a header alone")
    names = header if columns is None else _choose(header, columns)
    read = len(names) or width
    numbers = np.loadtxt(
        _fill_missing(itertools.chain([second], lines), delimiter),
        delimiter=delimiter,
        comments=None,
        quotechar='"',
        ndmin=2,
        max_rows=most // read + 1,  # one more than there may be
        usecols=None if columns is None else [header.index(name) for name in names],
    )
    _require_few(numbers.size, most)
    return Matrix(numbers, is_table=True, names=tuple(names))


def _walk_lines(data: bytes) -> Iterator[str]:
    """Yield the lines that say something, one at a time.

    Any byte is a Latin-1 character and numbers are ASCII, so that nothing fails to decode here.
    """
    for line in io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")):
        for text in line.decode("latin-1").split("\r"):
            if text.strip() and not text.startswith("#"):
                yield text.strip("\n")


def _is_numeric(line: str, delimiter: str | None) -> bool:
    """Tell whether every cell is a number or missing, so that the line is no header."""
    (filled,) = _fill_missing(iter([line]), delimiter)
    try:
        for cell in filled.split(delimiter):
            float(cell.strip().strip('"'))
    except ValueError:
        return False
    return True


def _fill_missing(lines: Iterator[str], delimiter: str | None) -> Iterator[str]:
    """Write missing cells as NumPy reads them."""
    cut = re.escape(delimiter) if delimiter else r"\s"
    words = r"na|n/a|null|none|\"\""
    blank = rf"(?:{words})?" if delimiter else f"(?:{words})"
    missing = re.compile(rf"(^|{cut})[ ]*{blank}[ ]*(?={cut}|$)", re.IGNORECASE)
    for line in lines:
        yield missing.sub(r"\1nan", line)


def _choose(present: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """Give the names of the columns that are read.

    Raises:
        BadSampleError: One is absent, or two have one name.
    """
    wanted = list(present if columns is None else columns)
    for name in wanted:
        if list(present).count(name) != 1:
            shown = ", ".join(map(repr, present[:20]))
            raise BadSampleError(
                NO_COLUMNS,
                f"one column {name!r} is needed, got {list(present).count(name)}; it has {shown}",
            )
    return wanted


def _require_few(count: int, most: int) -> None:
    """Stop before more is read than allowed.

    Raises:
        BadSampleError: ``array_too_large``.
    """
    if count > most:
        raise BadSampleError(TOO_LARGE, f"it has at least {count} numbers, {most} is most")
