"""Mending the lock file in which DVC writes which paths are being read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def heal_rwlock(folder: Path, *, hardlink: bool = False) -> None:
    """Mend an `rwlock` file that a killed DVC left behind, and only such a one.

    DVC truncates and writes that file under a guard; whoever holds the guard and finds it cut off
    knows that its writer is dead. Entries of processes that have ended DVC takes out by itself, but
    it takes one for alive that is a zombie, as in a container whose first process reaps none, or
    whose number another process has by now.

    With `core.hardlink_lock` the guard and DVC's other lock outlive a killed process for a year, and
    nothing in them tells whose they were: those a person must delete.

    Args:
        folder: `.dvc/tmp`.
        hardlink: DVC's `core.hardlink_lock`.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    file = folder / RWLOCK_FILE
    if _read_living(file) is None:
        return
    guard = make_lock(
        str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=hardlink, wait=True
    )
    with guard:
        living = _read_living(file)
        if living:
            file.write_text(json.dumps(living), encoding="utf-8")
        elif living is not None:
            file.unlink()


def _read_living(file: Path) -> dict[str, Any] | None:
    """Give what an `rwlock` file should hold, or none where it holds just that."""
    try:
        text, written_s = file.read_text(encoding="utf-8"), file.stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        held = json.loads(text)
    except json.JSONDecodeError:
        return {}
    living = {
        "read": {
            path: kept
            for path, holders in held.get("read", {}).items()
            if (kept := [one for one in holders if not _is_ghost(one["pid"], written_s)])
        },
        "write": {
            path: one
            for path, one in held.get("write", {}).items()
            if not _is_ghost(one["pid"], written_s)
        },
    }
    return None if living == {"read": {}, "write": {}, **held} else living


def _is_ghost(pid: int, written_s: float) -> bool:
    """Whether a process that DVC takes for alive cannot have written a file at that time."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        # Clocks are set now and then, so that the time alone would not do.
        return process.create_time() > written_s + 1 and "dvc" not in " ".join(process.cmdline())
    except psutil.Error:  # it has ended, which DVC sees, or is not ours to look at
        return False
