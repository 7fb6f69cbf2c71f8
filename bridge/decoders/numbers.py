"""Numbers that are written as text: `21.5`, or `21,5` where the decimal mark is a comma."""

import math
import re

MAX_DIGITS = 400  # characters of a number: a double has up to 309 digits before its point
# No digit can be matched in two ways: else 4 KB of digits and one letter took a second, and all messages waited for it.
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_COMMA = re.compile(r"([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)", re.ASCII)
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})


def with_point(text: str) -> str:
    """A number with a decimal comma as one with a point; any other text as it is."""
    found = _COMMA.fullmatch(text)
    return f"{found[1]}.{found[2]}" if found else text


def is_number(text: str) -> bool:
    """Whether the text is a number with a decimal point, or without one."""
    return _NUMBER.fullmatch(text) is not None


def is_not_finite(text: str) -> bool:
    """Whether the text says NaN or an infinity."""
    return text.lstrip("+-").lower() in _NOT_FINITE


def number(text: str) -> int | float:
    """The number that a text is, one of up to MAX_DIGITS characters. It may be infinite."""
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def of_text(text: str, mark: str) -> int | float | str:
    """The number that a text is, with this decimal mark, blanks around it or not; the text where it is none."""
    plain = text.strip()
    if mark == ",":
        plain = with_point(plain)
    if len(plain) > MAX_DIGITS:
        return text
    if is_number(plain):
        found = number(plain)
        return found if type(found) is int or math.isfinite(found) else text
    return math.nan if is_not_finite(plain) else text
