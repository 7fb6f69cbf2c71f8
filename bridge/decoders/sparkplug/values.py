"""The values of Sparkplug B's metrics: numbers with their signs, times, lists, tables and templates."""

import struct
from typing import Any

from bridge.decoders import times
from headrace.config.formats import SPARKPLUG_TYPES
from headrace.errors import PoisonError, Reason

TYPES: dict[int, str] = {number: name for name, number in SPARKPLUG_TYPES.items()} | {16: "DataSet", 19: "Template"}
_SIGNED = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
_WHOLE = frozenset({"int_value", "long_value"})
# Of arrays, which are bytes, little-endian: the code of `struct`, and the bytes of an element.
_ARRAYS = {
    "Int8Array": "b", "Int16Array": "h", "Int32Array": "i", "Int64Array": "q", "UInt8Array": "B", "UInt16Array": "H",
    "UInt32Array": "I", "UInt64Array": "Q", "FloatArray": "f", "DoubleArray": "d", "DateTimeArray": "q",
}  # fmt: skip
_MAX_ITEMS = 1_000_000  # of one array
_MAX_PARTS = 100_000  # cells of the tables, and members of the templates, of one message


class Values:
    """Reads the values of one message's metrics, and of no more parts than a message may have."""

    def __init__(self) -> None:
        self._left = _MAX_PARTS

    def of(self, metric: Any, field: str, kind: str, said_as: str) -> Any:
        """The value of a metric. PoisonError: none can be read.

        `field`: what it is called. `kind`: its type; empty where nobody says it. `said_as`: its key in the route.
        """
        which = metric.WhichOneof("value")
        if which is None:
            raise PoisonError(Reason.MISSING_FIELD, f"{field}: no value that can be read", field=field)
        value = getattr(metric, which)
        if which == "dataset_value":
            return self._table(value, field)
        if which == "template_value":
            return self._template(value, field)
        if which == "bytes_value" and kind.endswith("Array"):
            return _array(value, kind, field)
        if which in _WHOLE and not kind:
            words = (
                f"{field}: a whole number without its type may be negative or not. Say the type in the route: "
                f"`sparkplug: {{metrics: {{{said_as}: {{field: {field}, type: Int32}}}}}}`"
            )
            raise PoisonError(Reason.WRONG_TYPE, words, field=field)
        return _number(value, kind) if which in _WHOLE else value

    def _table(self, table: Any, field: str) -> list[dict[str, Any]]:
        """An object for each row."""
        columns, types = list(table.columns), [TYPES.get(n, "") for n in table.types]
        rows = []
        for row in table.rows:
            if not len(row.elements) == len(columns) == len(types):
                words = f"{field}: a DataSet whose rows, columns and types are not equally many"
                raise PoisonError(Reason.MALFORMED, words, field=field)
            self._take(len(columns) + 1, field)
            rows.append(dict(zip(columns, map(_cell, row.elements, types), strict=True)))
        return rows

    def _template(self, template: Any, field: str) -> dict[str, Any]:
        """An object with its members."""
        self._take(len(template.metrics), field)
        found = {}
        for metric in template.metrics:
            if not isinstance(metric.name, str) or not metric.name:
                words = f"{field}: a member of the template has no name. Have the device send names in templates"
                raise PoisonError(Reason.MALFORMED, words, field=field)
            kind = TYPES.get(metric.datatype, "")
            inner = f"{field}.{metric.name}"[:80]
            found[metric.name] = None if metric.is_null else self.of(metric, inner, kind, metric.name[:80])
        return found

    def _take(self, parts: int, field: str) -> None:
        self._left -= parts
        if self._left < 0:
            words = (
                f"{field}: DataSets and templates with more than {_MAX_PARTS:,} values. Send them in several messages"
            )
            raise PoisonError(Reason.TOO_LARGE, words, field=field)


def _cell(cell: Any, kind: str) -> Any:
    which = cell.WhichOneof("value")
    if which is None:
        return None
    value = getattr(cell, which)
    return _number(value, kind) if which in _WHOLE else value


def _number(value: int, kind: str) -> Any:
    if kind == "DateTime":
        return times.at([value * 1_000])[0]
    bits = _SIGNED.get(kind)
    if bits is None:
        return value
    low = value & ((1 << bits) - 1)  # senders extend the sign to 32 bits, or do not
    return low - (1 << bits) if low >> (bits - 1) else low


def _array(data: bytes, kind: str, field: str) -> list[Any]:
    """The elements of an array."""
    code = _ARRAYS.get(kind)
    if code is not None:
        size = struct.calcsize(f"<{code}")
        count, odd = divmod(len(data), size)
        _check(count, odd == 0, kind, field)
        found = list(struct.unpack(f"<{count}{code}", data))
        return times.at([n * 1_000 for n in found]) if kind == "DateTimeArray" else found
    if kind == "BooleanArray":  # how many there are, then a bit each, the highest first
        count = int.from_bytes(data[:4], "little")
        _check(count, len(data) == 4 + (count + 7) // 8, kind, field)
        return [bool(data[4 + i // 8] & 0x80 >> i % 8) for i in range(count)]
    _check(data.count(b"\0"), not data or data.endswith(b"\0"), kind, field)  # texts, each with a NUL behind it
    try:
        return data.decode().split("\0")[:-1]
    except UnicodeDecodeError:
        raise PoisonError(
            Reason.MALFORMED, f"{field}: no text in UTF-8. Have the device send UTF-8", field=field
        ) from None


def _check(count: int, whole: bool, kind: str, field: str) -> None:
    if not whole:
        words = f"{field}: not the bytes of a {kind}. Correct the type, or what the device sends"
        raise PoisonError(Reason.MALFORMED, words, field=field)
    if count > _MAX_ITEMS:
        words = f"{field}: {count:,} elements, and an array may have {_MAX_ITEMS:,}: send them in several messages"
        raise PoisonError(Reason.TOO_LARGE, words, field=field)
