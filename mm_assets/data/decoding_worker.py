"""A process that decodes what nobody vouches for; `DecodingPool` starts it and outlives it.

Only what decoding needs is imported here: each process pays for it.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from mm_assets.contracts.errors import BadSampleError, MMAssetsError

# The first word of each answer.
DONE, BAD, NO_MEMORY, RAISED = "done", "bad", "no memory", "raised"


def serve(handle: int, memory_mb: int) -> None:
    """Answer until the other end closes the connection.

    First comes a function, pickled to bytes, then lists that it is called with; another function
    may follow. Each is answered with a pair: ``(DONE, result)``, ``(BAD, BadSampleError)``,
    ``(NO_MEMORY, None)`` or ``(RAISED, exception)``.

    Args:
        handle: The connection's file descriptor.
        memory_mb: What calls may take beyond what imports took, in 2^20 bytes of address space.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file behind
    connection: Connection[Any, Any] = Connection(handle)
    function: Callable[[Any], Any] | None = None
    limit: int | None = None
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        try:
            value = ForkingPickler.loads(message)
            if isinstance(value, bytes):
                function = ForkingPickler.loads(value)
                limit = _measure_memory(memory_mb)  # after its imports
                gc.freeze()
                _silence()
                connection.send((DONE, None))
            else:
                assert function is not None, "a function comes first"
                with _limited(limit):
                    result = function(value)
                gc.collect()  # decoders hold native memory in cycles
                connection.send((DONE, result))
        except BadSampleError as error:
            connection.send((BAD, error))
        except MemoryError:
            connection.send((NO_MEMORY, None))
        except MMAssetsError as error:
            connection.send((RAISED, error))
        except Exception:  # noqa: BLE001 - the edge of a process: the one that asked raises it
            # Were a bug of ours to end this process, the file that it was at would be quarantined for
            # it. As text, since not every exception can be pickled.
            connection.send(
                (RAISED, RuntimeError(f"in a decoding process:\n{traceback.format_exc()}"))
            )


def _silence() -> None:
    """Drop what decoders write to standard error: it does not say which file it is about."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())


def _measure_memory(memory_mb: int) -> int | None:
    """Give what this process has, and so much beyond it, in bytes of address space; Linux only."""
    if sys.platform != "linux":
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize() + memory_mb * 2**20


@contextmanager
def _limited(most: int | None) -> Iterator[None]:
    """Take no more address space than `most` bytes; what the pool sends and gets is not bounded."""
    if most is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    others = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *others]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
