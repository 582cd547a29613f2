"""Room on the disk, asked for before work, and clear words where it refuses in the middle."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from mm_assets.contracts.errors import DiskError

FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def require_space(folder: Path, needed_bytes: int, *, what: str) -> None:
    """Stop before any work where a disk has too little room for what is about to be written.

    Args:
        folder: Where it will be written; it need not exist yet.
        needed_bytes: How much will be written.
        what: Who asks, and for what, such as ``embed@text: vectors of 9000 rows``.

    Raises:
        DiskError: Fewer bytes are free for this user.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    with name_disk_errors(folder):
        free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise DiskError(
            f"{what} needs {format_bytes(needed_bytes)} in {folder}, but only "
            f"{format_bytes(free_bytes)} are free there; free some space, or put the project on a "
            "larger disk (MM_STORE moves the embedding store alone); nothing was written"
        )


@contextlib.contextmanager
def name_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or mounted disk, met while writing `path`, into a message about it.

    Args:
        path: The file or folder that is being written.

    Raises:
        DiskError: The disk is full, its folder must not be written to, or it is a disk of its own.
    """
    try:
        yield
    except DiskError:  # of a file inside this folder, already explained
        raise
    except Exception as error:
        # Of any type: safetensors and others wrap what the system said. What does not tell of the disk
        # is raised again as it is.
        code = _errno(error)
        if code in FULL:
            raise DiskError(
                f"the disk is full: {path} could not be written ({error}); free some space and run "
                "again; what was there before is untouched"
            ) from None
        if code in FORBIDDEN and _is_above(getattr(error, "filename", None), path):
            raise DiskError(
                f"{path.parent} cannot be written to ({error}); give this user the right to write "
                "there, or mount it read-write, and run again; nothing was changed"
            ) from None
        if code == errno.EBUSY and _is_above(getattr(error, "filename", None), path):
            raise DiskError(
                f"{path} cannot be replaced ({error}), since a disk is mounted there; mount it at a "
                "folder above, and run again; nothing was changed"
            ) from None
        raise


def format_bytes(count: int) -> str:
    """Write a number of bytes for a person, in powers of ten."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _is_above(named: object, path: Path) -> bool:
    """Tell whether an error is about making `path`, and not about a file read meanwhile."""
    return (
        not isinstance(named, str | Path)
        or Path(named).absolute().parent in path.absolute().parents
    )


def _errno(error: Exception) -> int | None:
    """Give the system's error number, also of a library that keeps only its text (safetensors)."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    for code in FULL | FORBIDDEN:
        if f"os error {code})" in text or f"[Errno {code}]" in text:
            return code
    return None
