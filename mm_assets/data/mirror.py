"""A folder kept equal to another by copying what differs."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from mm_assets.contracts.errors import SourceError
from mm_assets.data.atomic import atomic_file
from mm_assets.data.disk import name_disk_errors, require_space

TRIES = 3


def sign_folder(folder: Path) -> str | None:
    """Tell a folder's state from number, total size and latest change of its files, unread.

    Returns:
        None where there is no such folder.
    """
    if not folder.is_dir():
        return None
    stats = _list_files(folder).values()
    newest_ns = max((stat.st_mtime_ns for stat in stats), default=0)
    return f"{len(stats)} files, {sum(stat.st_size for stat in stats)} bytes, {newest_ns} ns"


def mirror_folder(source: Path, target: Path) -> int:
    """Make a folder's files those of another: by size and time of change, which copies keep.

    A file that differs is replaced, never written into: it may be a link into DVC's cache.

    Args:
        source: It stays as it is.
        target: It loses what the other does not have.

    Returns:
        How many files were copied or deleted.

    Raises:
        SourceError: The source keeps changing.
        DiskError: The disk has too little room, or must not be written to.
    """
    changed = 0
    for _ in range(TRIES):
        before = sign_folder(source)
        changed += _copy_changed(source, target)
        if sign_folder(source) == before:
            return changed
    raise SourceError(
        f"{source} must keep still while it is copied to {target}, and was changed {TRIES} times "
        "meanwhile; start again when nobody writes to it"
    )


def _copy_changed(source: Path, target: Path) -> int:
    wanted, found = _list_files(source), _list_files(target)
    with name_disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        surplus = found.keys() - wanted.keys()
        for name in surplus:
            (target / name).unlink()
        for at, _, _ in os.walk(target, topdown=False):
            if Path(at) != target and not any(Path(at).iterdir()):
                Path(at).rmdir()
        stale = [name for name, stat in wanted.items() if not _is_alike(stat, found.get(name))]
        size = sum(wanted[name].st_size for name in stale)
        require_space(target, size, what=f"copying {len(stale)} files of {source}")
        for name in stale:
            # One that is deleted this moment: the state differs afterwards.
            with contextlib.suppress(FileNotFoundError), atomic_file(target / name) as temporary:
                shutil.copy2(source / name, temporary)
    return len(surplus) + len(stale)


def _is_alike(one: os.stat_result, other: os.stat_result | None) -> bool:
    return other is not None and (one.st_size, one.st_mtime_ns) == (
        other.st_size,
        other.st_mtime_ns,
    )


def _list_files(folder: Path) -> dict[str, os.stat_result]:
    """Give the state of every file below a folder, by its path in it."""
    found = {}
    start = len(str(folder)) + 1
    waiting = [str(folder)]
    while waiting:
        # Gone this moment, or a link that leads nowhere.
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:  # a path object each would take most of the time
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_dir():
                    with contextlib.suppress(FileNotFoundError):
                        found[entry.path[start:]] = entry.stat()
    return found
