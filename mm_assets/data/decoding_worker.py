"""A process that decodes what nobody vouches for; `DecodingPool` starts it and outlives it.

Only what decoding needs is imported here: each process pays for it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from mm_assets.contracts.errors import BadSampleError

# The first word of each answer.
DONE, BAD, NO_MEMORY, RAISED = "done", "bad", "no memory", "raised"
_PR_SET_PDEATHSIG = 1


def serve(handle: int, parent: int, memory_mb: int) -> None:
    """Answer until the other end closes the connection.

    First comes a function, pickled to bytes, then lists that it is called with; another function
    may follow. Each is answered with a pair: ``(DONE, result)``, ``(BAD, BadSampleError)``,
    ``(NO_MEMORY, None)`` or ``(RAISED, exception)``.

    Args:
        handle: The connection's file descriptor.
        parent: Process id of the pool.
        memory_mb: What calls may take beyond what imports took, in 2^20 bytes of address space.
    """
    _die_with(parent)
    connection: Connection[Any, Any] = Connection(handle)
    function: Callable[[Any], Any] | None = None
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        try:
            value = ForkingPickler.loads(message)
            if isinstance(value, bytes):
                function = _load(value, memory_mb)
                connection.send((DONE, None))
            else:
                assert function is not None, "a function comes first"
                connection.send((DONE, function(value)))
        except BadSampleError as error:
            connection.send((BAD, error))
        except MemoryError:
            connection.send((NO_MEMORY, None))
        except Exception as error:  # noqa: BLE001 - raised again by the pool
            _send_error(connection, error)


def _load(pickled: bytes, memory_mb: int) -> Callable[[Any], Any]:
    """Import what a function needs, and only then limit the memory."""
    _limit_memory(None)
    function: Callable[[Any], Any] = ForkingPickler.loads(pickled)
    _limit_memory(memory_mb)
    return function


def _send_error(connection: Connection[Any, Any], error: Exception) -> None:
    error.add_note("In a decoding process:\n" + "".join(traceback.format_exception(error)))
    try:
        connection.send((RAISED, error))
    except Exception:  # noqa: BLE001 - whatever an exception that cannot be pickled raises
        connection.send((RAISED, RuntimeError("\n".join([repr(error), *error.__notes__]))))


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it is gone.

    Elsewhere than on Linux the process ends after the call it is busy with.

    Source:
        https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file behind
    if os.getppid() != parent:  # it went before the line above
        os._exit(1)


def _limit_memory(memory_mb: int | None) -> None:
    """Let this process take so much address space beyond what it has now; Linux only."""
    if sys.platform != "linux":
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    soft = most
    if memory_mb is not None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        soft = pages * resource.getpagesize() + memory_mb * 2**20
        soft = soft if most == resource.RLIM_INFINITY else min(soft, most)
    resource.setrlimit(resource.RLIMIT_AS, (soft, most))
