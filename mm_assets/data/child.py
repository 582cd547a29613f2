"""Python processes of our own, which end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

# No working directory on the path: a file `queue.py` in a project would be imported.
_COMMAND = (sys.executable, "-P", "-c")
_CODE = "from mm_assets.data.child import die_with; die_with({}); "
_PR_SET_PDEATHSIG = 1


def start_child(
    code: str,
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | None = None,
    handles: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start Python with what is on this one's path.

    It has no file open beside the standard ones and `handles`, and Ctrl-C in a terminal is left to
    this process.

    Args:
        code: What it runs.
        environment: Variables beside this process's own.
        stdin: As `subprocess.Popen` takes it.
        stdout: As `subprocess.Popen` takes it.
        handles: File descriptors that it shares.

    Raises:
        OSError: The system refuses.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [*_COMMAND, _CODE.format(os.getpid()) + code],
        stdin=stdin,
        stdout=stdout,
        pass_fds=handles,
        env={**os.environ, **(environment or {}), "PYTHONPATH": path},
        process_group=0,
    )


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it is gone; on Linux only.

    Source:
        https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the line above
        os._exit(1)
