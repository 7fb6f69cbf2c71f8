"""How a process that works in large columns keeps its memory small: one heap, whose free parts go back; no pandas."""

import ctypes
import os
import sys
from collections.abc import Sequence
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


class _Hidden:
    """Python finds no pandas while this is the first of sys.meta_path."""

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None = None, _target: object = None) -> None:
        """Find nothing; ModuleNotFoundError for pandas."""
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def without_pandas() -> None:
    """Let Arrow believe that there is no pandas. Everybody else may import it.

    Arrow imports it for its first scalar or array, asks it whether that is pandas' own, and remembers it for good.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _Hidden)
    try:
        pa.scalar("")
    finally:
        sys.meta_path.remove(_Hidden)
