"""Asking a server that a fault has just taken down, and that may not be up again yet."""

import time
from collections.abc import Callable
from typing import TypeVar

from headrace.errors import TransientError

T = TypeVar("T")
ANSWER_SECONDS = 120.0
_PAUSE = 0.2


def answered(call: Callable[[], T], seconds: float = ANSWER_SECONDS) -> T:
    """What `call` returns, called again while it raises TransientError; that error when `seconds` are over."""
    until = time.monotonic() + seconds
    while True:
        try:
            return call()
        except TransientError:
            if time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)
