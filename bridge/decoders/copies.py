"""How much a payload may become: each of its readings has a copy of what the payload says once."""

from typing import Any

from headrace.errors import PoisonError, Reason

MAX_ELEMENTS = 10_000  # of one payload: its readings, or dead letters, are all in memory at once
MAX_BYTES = 64 * 1024 * 1024  # of all readings and dead letters of one payload, and of the objects they are made of
_ENTRY = 64  # bytes of a key's place in an object


def too_much() -> PoisonError:
    """The refusal of a payload that becomes more."""
    words = f"more than {MAX_ELEMENTS:,} readings, or {MAX_BYTES:,} bytes of them: send fewer at once"
    return PoisonError(Reason.TOO_LARGE, words)


def weight(value: Any) -> int:
    """About how many bytes a copy of a value has, however deeply it is nested."""
    total, left = 0, [value]
    while left:
        one = left.pop()
        total += 8
        if isinstance(one, dict):
            total += sum(len(key) + _ENTRY for key in one)
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str | bytes):
            total += len(one)
    return total
