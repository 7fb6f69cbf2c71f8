"""What a codec makes of bytes to objects as every format gives them: text keys, and values that a reader knows."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.wording import TOO_DEEP, kind
from headrace.errors import PoisonError, Reason

_DEPTH = 32  # objects and lists in one another
_BITS = 1024  # of a whole number: more do not fit a double
_MAX_VALUES = 500_000  # of one payload
_AS_IT_IS = frozenset({str, float, bool, bytes, type(None)})


def objects(found: Any, codec: str) -> list[dict[str, Any]]:
    """The objects of a payload: of a list each, else the one that it is. PoisonError where it is neither.

    `codec`: the format's name in messages.
    """
    elements = found if isinstance(found, list) else [found]
    if len(elements) > MAX_ELEMENTS:
        words = f"a list of {len(elements):,} readings, and a message may have {MAX_ELEMENTS:,}: send them in several"
        raise PoisonError(Reason.TOO_LARGE, words)
    for one in elements:
        if not isinstance(one, Mapping):
            words = f"{codec}: an object expected, or a list of objects, not {kind(one)}"
            raise PoisonError(Reason.MALFORMED, words)
    count = Count()
    return [plain(one, count) for one in elements]


class Count:
    """How many values were met. A message of many small ones would hold up all others."""

    def __init__(self) -> None:
        self.met = 0

    def more(self, values: int) -> None:
        """PoisonError where that is too many."""
        self.met += values
        if self.met > _MAX_VALUES:
            words = f"more than {_MAX_VALUES:,} values in one message: send them in several"
            raise PoisonError(Reason.TOO_LARGE, words)


def plain(value: Any, count: Count, name: str = "", depth: int = 0) -> Any:
    """A value of these kinds alone: text, bytes, numbers, booleans, None, times with a zone, lists, and dicts of them.

    Their keys are text: numbers as keys become text. PoisonError for a value of another kind, and for one that is
    nested too deeply or has too many values.
    """
    kind_of = type(value)
    if kind_of in _AS_IT_IS:
        return value
    if kind_of is int:
        return (
            value
            if value.bit_length() <= _BITS
            else _refuse(name, "a number of hundreds of digits. Have the device send fewer, or text")
        )
    if depth > _DEPTH:
        raise PoisonError(Reason.MALFORMED, TOO_DEEP)
    if kind_of is list or kind_of is tuple:
        count.more(len(value))
        return [plain(v, count, name, depth + 1) for v in value]
    if isinstance(value, Mapping):
        count.more(len(value))
        out = {_key(k, name): plain(v, count, k if type(k) is str else name, depth + 1) for k, v in value.items()}
        twice = "a key twice, as a number and as text. Have the device send one of them"
        return out if len(out) == len(value) else _refuse(name, twice)
    return _other(value, name)


def _key(key: Any, name: str) -> str:
    if type(key) is str:
        return key
    if type(key) is int and key.bit_length() <= 64:
        return str(key)
    return _refuse(name, f"a key that is {kind(key)}. Have the device send text")


def _other(value: Any, name: str) -> Any:
    match value:
        case datetime() if value.tzinfo is not None:
            return value
        case date():
            return value.isoformat()
        case Decimal() if value.is_finite() and abs(value.adjusted()) < _BITS:
            return float(value)
        case UUID():
            return str(value)
    return _refuse(name, "a value of a kind that no field has. Have the device send it as text, or as a number")


def _refuse(name: str, what: str) -> NoReturn:
    words = f"{name[:80]}: {what}" if name else what
    raise PoisonError(Reason.WRONG_TYPE, words, field=name[:80])
