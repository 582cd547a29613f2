"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mm_assets.data.disk import name_disk_errors

UNFINISHED = ".mm-unfinished."  # then the folder's name, the writer's process id and a random part


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that replaces `path` when the block ends without an error.

    What a killed process left beside `path` is removed; a living one's is not.

    Args:
        path: The folder to replace; its parents are made.

    Yields:
        An empty folder beside `path`.

    Raises:
        DiskError: The disk is full, or the folder around `path` must not be written to.
    """
    with name_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f"{UNFINISHED}{path.name}.*/"):
            pid = leftover.name.removeprefix(f"{UNFINISHED}{path.name}.").partition(".")[0]
            if not _is_alive(pid):
                shutil.rmtree(leftover, ignore_errors=True)
        prefix = f"{UNFINISHED}{path.name}.{os.getpid()}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
        replaced = temporary.with_name(f"{temporary.name}.replaced")
        try:
            temporary.chmod(0o755)
            yield temporary
            # Moved aside in one step: deleting it first could stop half-way.
            if path.exists():
                path.replace(replaced)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path that replaces `path` when the block ends without an error.

    Args:
        path: The file to replace; its parents are made.

    Yields:
        An empty file beside `path`.

    Raises:
        DiskError: The disk is full, or the folder around `path` must not be written to.
    """
    with name_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            temporary.chmod(0o644)
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _is_alive(pid: str) -> bool:
    """Tell whether a process of this machine has that id; what is no id counts as alive."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True


def find_free_name(path: Path) -> Path:
    """Give the path, with the first free number from 2 on at its end where there is such a file."""
    taken = (path.with_name(f"{path.name}{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], taken) if not one.exists())
