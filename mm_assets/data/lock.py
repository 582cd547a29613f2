"""One run at a time of what must not run twice at once."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from mm_assets.contracts.errors import StageError
from mm_assets.data.atomic import write_text
from mm_assets.data.disk import name_disk_errors


@contextlib.contextmanager
def hold_lock(path: Path, *, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock while the block runs; the system frees it when its process ends, however it ends.

    Args:
        path: The lock's file; its parents are made. Who holds it is written beside it.
        what: What must run alone, such as ``stage validate``.
        wait_s: How long to wait for another process that holds it.

    Raises:
        StageError: Another process still holds it; names that process.
        DiskError: The folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    holder = path.with_suffix(".holder")
    lock = FileLock(path)
    try:
        with name_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=wait_s)
    except Timeout:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise StageError(
            f"{what} is already running in this project ({who}); wait until it ends, or stop it, "
            "and run again"
        ) from None
    try:
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        write_text(holder, f"process {os.getpid()} on {platform.node()}, since {started}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
