"""Reading media named by the sample table: inside the data folder, bounded in size."""

from __future__ import annotations

import functools
import ntpath
import os
import stat
import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from mm_assets.contracts.errors import BadSampleError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 4096  # characters of a path; Linux takes no more bytes
ABSOLUTE, NO_FOLDER = "/", ""  # what `find_missing_folders` calls absolute paths and bare names


def read_media(cell: object, folder: Path, *, max_megabytes: float) -> bytes:
    """Read the file that a cell names.

    Args:
        cell: A path relative to the data folder.
        folder: The data folder. Symbolic links are followed first and judged by where they lead.
        max_megabytes: Size limit, in 10^6 bytes.

    Returns:
        The whole file.

    Raises:
        BadSampleError: ``path_not_text``, ``path_absolute``, ``path_outside_data``,
            ``file_missing``, ``file_unreadable``, ``file_empty`` or ``file_too_large``.
    """
    if not isinstance(cell, str):
        raise BadSampleError(
            "path_not_text", f"the cell must hold a path as text, got {type(cell).__name__}"
        )
    if len(cell) > LONGEST:
        raise BadSampleError(
            "file_unreadable",
            f"{_show(cell)} cannot be read: a path of {len(cell)} characters is too long",
        )
    try:
        if _is_absolute(cell):
            raise BadSampleError("path_absolute", _advise_absolute(cell, folder))
        inside = os.path.realpath(folder)
        path = os.path.realpath(f"{inside}/{cell}")
        if path != inside and not path.startswith(inside.rstrip(os.sep) + os.sep):
            raise BadSampleError("path_outside_data", _advise_outside(cell))
        with _open_without_waiting(Path(path)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_megabytes * 1e6:
                raise BadSampleError(
                    "file_too_large",
                    f"{cell!r} has {size / 1e6:.1f} MB, the limit is {max_megabytes:g} MB",
                )
            data = file.read(size)  # no further, if it grows meanwhile
    except (FileNotFoundError, NotADirectoryError):
        raise BadSampleError(
            "file_missing",
            f"there is no file {cell!r} in the data folder{_advise_missing(cell, folder)}",
        ) from None
    except (OSError, ValueError) as error:  # no permission, NUL in it, a link loop
        why = getattr(error, "strerror", None) or "it is no legal path"
        raise BadSampleError("file_unreadable", f"{_show(cell)} cannot be read: {why}") from None
    if not data:
        raise BadSampleError("file_empty", f"{cell!r} has no bytes")
    return data


def _open_without_waiting(path: Path) -> BinaryIO:
    """Open a file, and wait for nobody who might write to a pipe.

    Raises:
        FileNotFoundError: It is not there, or a folder, device or pipe.
        OSError: It cannot be opened, or became a link.
    """
    unusual = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, os.O_RDONLY | unusual)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileNotFoundError(path)
    return os.fdopen(handle, "rb")


def find_missing_folders(cells: pd.Series, folder: Path) -> dict[str, int]:
    """Count the cells whose path cannot exist, by where it starts.

    Only what paths start with is looked at, so a million cells take a second.

    Args:
        cells: Paths; null and what is no text is passed over.
        folder: The data folder.

    Returns:
        Cells by the first folder of their path, for folders that are not there, most cells first;
        under ``/`` absolute paths, and under an empty name files that should lie in the data
        folder itself and do not.
    """
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    counts: Counter[str] = Counter()
    for cell in cells.tolist():
        if not isinstance(cell, str) or cell.partition("/")[0] in present:
            continue
        first, cut, _ = cell.replace("\\", "/").partition("/")
        if (cut and not first) or first[1:2] == ":":
            counts[ABSOLUTE] += 1
        elif first not in present and first not in (".", ".."):
            counts[first if cut else NO_FOLDER] += 1
    return dict(counts.most_common())


def find_alike(path: str, folder: Path) -> str | None:
    """Find the path that differs in upper and lower case alone, or in how accents are encoded.

    Args:
        path: Relative, cut by ``/``.
        folder: Where to look. Each folder is listed once.

    Returns:
        It as it is written on the disk, or null.
    """
    found: list[str] = []
    for part in PurePosixPath(path).parts:
        here = folder.joinpath(*found)
        if not here.is_dir():
            return None
        # A folder's time changes whenever a name in it does.
        name = _list_folded(here, here.stat().st_mtime_ns).get(_fold(part))
        if name is None:
            return None
        found.append(name)
    return "/".join(found)


@functools.lru_cache(maxsize=256)
def _list_folded(folder: Path, changed_ns: int) -> dict[str, str]:
    return {_fold(entry.name): entry.name for entry in folder.iterdir()}


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _show(cell: str) -> str:
    text = repr(cell)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _is_absolute(cell: str) -> bool:
    return cell.startswith(("/", "\\")) or bool(ntpath.splitdrive(cell)[0])


def _advise_absolute(cell: str, folder: Path) -> str:
    """Say how the path is written, if its end is one in the data folder."""
    parts = [part for part in cell.replace("\\", "/").split("/") if part]
    ends = ("/".join(parts[at:]) for at in range(len(parts)) if ".." not in parts[at:])
    found = next((end for end in ends if (folder / end).is_file()), None)
    return f"{cell!r} is an absolute path, which is another on every machine; " + (
        f"write {found!r}, relative to the data folder"
        if found
        else "make it relative to the data folder"
    )


def _advise_outside(cell: str) -> str:
    """Say how a path leaves the data folder: by its dots, or by a link on its way."""
    if ".." in PurePosixPath(cell).parts:
        return f"{cell!r} leads outside the data folder; give a path relative to it"
    return (
        f"{cell!r} is a link, or lies in one, that leads outside the data folder; put the file itself "
        "there, as `mm import FOLDER` does"
    )


def _advise_missing(cell: str, folder: Path) -> str:
    """Name the file that was probably meant."""
    slashed = cell.replace("\\", "/")
    if ".." in PurePosixPath(slashed).parts:
        return ""
    alike = find_alike(slashed, folder)
    if alike is None or not (folder / alike).is_file():
        return ""
    if alike == slashed:
        return f"; write it with forward slashes, {alike!r}"
    how = "how its accents are encoded" if _is_respelt(alike, slashed) else "upper and lower case"
    return f"; there is {alike!r}, which differs in {how}"


def _is_respelt(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
