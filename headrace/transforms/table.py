"""Rows as the pandas table that a transform is given, and its values back as they are stored.

A column's type depends on the contract alone, never on the values of a batch: text is pandas' `str`, an optional whole
number Int64 or Int32, an optional boolean `boolean`, a time a datetime64 in UTC; an optional float is NaN without a
value. A list is a NumPy array that can't be written to; bytes, decimals and records are Python objects.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from headrace.contracts.avro import Node
from headrace.contracts.model import Contract, Field
from headrace.protocol.names import DEVICE, QUALITY, TIME

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, Sequence[Any]]  # by field: each row's value as stored, lists of numbers also as arrays; or None

_DTYPES = {
    ("double", False): "float64", ("double", True): "float64", ("float", False): "float32", ("float", True): "float32",
    ("long", False): "int64", ("long", True): "Int64", ("int", False): "int32", ("int", True): "Int32",
    ("boolean", False): "bool", ("boolean", True): "boolean",
}  # fmt: skip
UNITS = {"timestamp-micros": "us", "timestamp-millis": "ms"}  # of times, in a table
_BITS = {"int": 31, "long": 63}
_ITEMS = {"double": "float64", "float": "float32", "long": "int64", "int": "int32", "boolean": "bool"}
_FIXED = {
    DEVICE: "it says whose row it is, and must stay: correct the route, or the device",
    TIME: "it says where the row is stored, and must stay: correct the route, or the device",
}


def fields_of(contract: Contract) -> list[Field]:
    """The fields that a transform sees: all but `_quality`."""
    return [f for f in contract.fields if f.name != QUALITY]


def table(fields: Sequence[Field], columns: Columns) -> "pd.DataFrame":
    """The n rows as a table, its index 0 to n - 1."""
    import pandas as pd

    return pd.DataFrame({f.name: _series(f, columns[f.name]) for f in fields})


def _series(f: Field, values: Sequence[Any]) -> "pd.Series[Any]":
    import numpy as np
    import pandas as pd

    if f.logical in UNITS:
        unit = UNITS[f.logical]
        nothing = np.iinfo(np.int64).min  # NaT
        numbers = np.array([nothing if v is None else v for v in values], np.int64)
        return pd.Series(numbers.view(f"datetime64[{unit}]")).dt.tz_localize("UTC")
    if f.kind in {"string", "enum"}:
        return pd.Series(list(values), dtype=pd.StringDtype("python", na_value=np.nan))
    dtype = _DTYPES.get((f.kind, f.nullable))
    if dtype is not None:
        return pd.Series(list(values), dtype=dtype)
    out = np.empty(len(values), dtype=object)
    for i, v in enumerate(values):
        out[i] = _sealed(v, f.items) if f.kind == "array" and v is not None else v
    return pd.Series(out, dtype=object)


def _sealed(items: Any, kind: str | None) -> Any:
    import numpy as np

    array = np.asarray(items, dtype=_ITEMS.get(kind or "", object))
    array.setflags(write=False)  # a change in place could not be told from none
    return array


class Wrong(ValueError):  # noqa: N818 - of one value: it becomes a failure of its row
    """A value that a row of the contract can't have: says so for people."""


def is_missing(value: Any) -> bool:
    """Whether a cell of a table has no value: None, NaN, NaT or NA."""
    import pandas as pd

    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)  # noqa: PLR0124


def differs(f: Field, old: Any, new: Any) -> bool:
    """Whether a cell no longer has the stored value `old`."""
    if f.kind == "record" or f.logical == "decimal":
        return bool(is_missing(new) != is_missing(old) or (old is not None and new != old))
    if f.kind == "array" and old is not None and not is_missing(new):
        return not _same_items(old, new)
    if is_missing(new):
        return not is_missing(old)
    if isinstance(old, float) and isinstance(new, float) and new == old:  # infinity too, which can't go back
        return False
    return old is None or back(f, new) != old


def _same_items(old: Sequence[Any], new: Any) -> bool:
    import numpy as np

    try:
        one, other = np.asarray(new), np.asarray(old)
        reals = one.dtype.kind == other.dtype.kind == "f"
        return len(new) == len(old) and bool(np.array_equal(one, other, equal_nan=reals))
    except (TypeError, ValueError):
        return False


def back(f: Field, value: Any) -> Any:
    """A cell's value as it is stored. Wrong, with the remedy, if the contract has no place for it."""
    if is_missing(value):
        if f.nullable:
            return None
        raise Wrong("it has no value, and the field must have one: make it optional in the contract, or fill it")
    if f.kind == "array":
        return _list(f, value)
    return _scalar(f.type, value)


def forbidden(f: Field) -> str | None:
    """Why a transform may not change the field; None if it may."""
    if f.kind == "record" or f.logical == "decimal":
        return f"a {'record' if f.kind == 'record' else 'decimal'} can be read by a transform, and not changed"
    return _FIXED.get(f.name)


def _list(f: Field, value: Any) -> list[Any]:
    try:
        items = list(value)
    except TypeError:
        raise Wrong(f"{value!r:.60} is no list") from None
    if isinstance(value, str | bytes):
        raise Wrong(f"{value!r:.60} is no list")
    if f.max_items is not None and len(items) > f.max_items:
        raise Wrong(f"it has {len(items):,} items, and the contract allows {f.max_items:,}")
    assert f.type.items is not None
    if any(is_missing(v) for v in items):
        raise Wrong("an item of the list has no value: leave it out")
    node, number = f.type.items, replace(f.type.items, logical=None)
    # Times in a list are numbers for pandas, times for polars.
    return [_scalar(number if isinstance(v, Integral) else node, v) for v in items]


def _scalar(node: Node, value: Any) -> Any:
    import numpy as np

    value = value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
    if node.logical in UNITS:
        return _ticks(value, UNITS[node.logical])
    match node.kind:
        case "double" | "float":
            return _real(value, single=node.kind == "float")
        case "long" | "int":
            return _whole(value, _BITS[node.kind])
        case "boolean" if isinstance(value, bool):
            return value
        case "string" if isinstance(value, str):
            return _text(value)
        case "enum" if value in node.symbols:
            return value
        case "enum":
            raise Wrong(f"{value!r:.60} is none of {', '.join(node.symbols)}")
        case "bytes" | "fixed" if isinstance(value, bytes) and (not node.size or len(value) == node.size):
            return value
    raise Wrong(f"{value!r:.60} is not of the contract's type {node.kind}")


def _real(value: Any, *, single: bool) -> float:
    import numpy as np

    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{value!r:.60} is no number")
    with np.errstate(over="ignore"):
        number = _float(value)
        number = float(np.float32(number)) if single else number
    if not math.isfinite(number):
        raise Wrong(f"{value} is not finite: guard the division, or set it to None where the field is optional")
    return number


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _whole(value: Any, bits: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_whole(value):
        raise Wrong(f"{value!r:.60} is no whole number: round it, or give the field the type double in the contract")
    if not -(2**bits) <= value < 2**bits:
        raise Wrong(f"{value!r:.60} is beyond the whole numbers of {bits + 1} bits")
    return int(value)


def _is_whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Wrong("it has half of a character (a lone surrogate)") from None
    return value


def _ticks(value: Any, unit: str) -> int:
    import pandas as pd

    try:
        time = pd.Timestamp(value) if not isinstance(value, int | float | str) else None
    except (TypeError, ValueError):
        time = None
    if time is None:
        raise Wrong(f"{shown(value)} is no time")
    if time.tzinfo is None:
        raise Wrong(f"the time {time} names no zone: tz_localize it")
    try:
        return int(time.as_unit(unit).to_numpy().astype("int64"))  # type: ignore[arg-type]
    except ValueError:
        raise Wrong(f"the time {time} is too far away for the unit {unit}") from None


def shown(value: Any) -> str:
    """A value for people, cut to 60 characters: whatever it is, this raises nothing."""
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001 - of pandas too: it can't show a time after the year 9999
        return f"a value of type {type(value).__name__}"
