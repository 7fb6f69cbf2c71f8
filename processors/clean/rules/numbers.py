"""A field's numbers and their bounds as its Avro type holds them, so that comparisons are exact."""

import math
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from headrace.contracts.model import Field
from headrace.contracts.written import number_kind

_INTEGERS = {"int": 2**31 - 1, "long": 2**63 - 1}
PER_SECOND = {"timestamp-millis": 1_000, "timestamp-micros": 1_000_000}
FLOATS = frozenset({"float", "double"})
_DTYPES: dict[str, pl.DataType] = {
    "int": pl.Int32(), "long": pl.Int64(), "float": pl.Float32(), "double": pl.Float64(),
}  # fmt: skip


class Limits(NamedTuple):
    """The valid range of a number, both ends valid; None: no end on that side."""

    low: Any
    high: Any

    def breaks(self, value: Any) -> str | None:
        """The limit that `value` breaks: "minimum", "maximum" or None. NaN breaks none: it is not finite."""
        if self.low is not None and value < self.low:
            return "minimum"
        return "maximum" if self.high is not None and value > self.high else None


def as_stored(kind: str, number: float) -> Any:
    """A float as a value of the type would hold it: 0.1 in a `float` is not above a maximum of 0.1."""
    return float(np.float32(number)) if kind == "float" else float(number)


def limits(field: Field) -> Limits:
    """The field's minimum and maximum; of whole numbers the nearest whole ones inside, without rounding above 2**53."""
    kind, low, high = number_kind(field.type), field.minimum, field.maximum
    if kind in _INTEGERS:
        top = _INTEGERS[kind]
        return Limits(
            None if low is None else max(math.ceil(low), -top - 1),
            None if high is None else min(math.floor(high), top),
        )
    return Limits(None if low is None else as_stored(kind, low), None if high is None else as_stored(kind, high))


def literal(kind: str, number: Any) -> pl.Expr:
    """A constant of the type."""
    return pl.lit(number, _DTYPES[kind])
