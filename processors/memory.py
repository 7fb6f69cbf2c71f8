"""How a process that works in large columns keeps its memory small: one heap, whose free parts go back."""

import ctypes
import os
from contextlib import suppress

# From glibc's malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD. By itself glibc makes an arena for each
# thread, and raises the threshold to the largest that was freed: each arena keeps what a batch has used at its largest.
_GLIBC = {-8: 1, -3: 128 * 1024, -1: 1024 * 1024}


def settle() -> None:
    """Call this before Arrow is imported and threads start.

    What was freed in one place is then used in another, and a column's memory goes back when it is freed. Where the C
    library is another one, Arrow alone is told: it would bring an allocator of its own.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with suppress(AttributeError, OSError):
        tell = ctypes.CDLL(None).mallopt
        for what, value in _GLIBC.items():
            tell(what, value)
