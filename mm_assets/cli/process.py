"""How Python and the C library manage memory in a process of `mm`."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys

# Python looks for cycles each time so many objects are new (by default 700). Torch and Great
# Expectations make a million on import, and keep them: with all those looks a command that computes
# little takes 1.3 s longer.
NEW_OBJECTS = 20_000
# The GNU C library gives a large block back to the system when it is freed. A network's next batch
# asks for it again, and to fill new pages with zeros took longer than to convolve the picture.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
KEPT_BYTES = 2**30  # a block up to this size, or so much at the end of the heap, is kept


def tune_process() -> None:
    """Set what holds for the whole process; call it before a second thread is started.

    Source:
        https://docs.python.org/3/library/gc.html;
        https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # nor is there anything to look for at the end
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)  # else each thread keeps what others could use
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
