"""Cells of a file as values of a contract's field, in columns. Which values are good, clean judges: not here."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.contracts import columnar, conversion
from headrace.contracts.kinds import NO_VALUE
from headrace.contracts.model import Field
from headrace.errors import ConfigError
from headrace.readers.textmarks import plain

Bools = npt.NDArray[np.bool_]
_WHOLE = r"^-?\d{1,19}(\.0*)?$"
_TRUE, _FALSE = pa.array(["true", "1", "yes"]), pa.array(["false", "0", "no"])
_RANGE = {"int": 2**31, "long": 2**63}


class Written(NamedTuple):
    """How cells are written."""

    decimal: str = "."
    thousands: str = ""
    nothing: frozenset[str] = NO_VALUE  # what stands where there is no number, or neither true nor false
    unit: str = ""  # of the numbers; "" where it is the field's
    sentinels: tuple[str | float, ...] = ()  # of the field, those that must be found before a conversion


class Cells(NamedTuple):
    """A column of values; null: nothing there, a sentinel, or `wrong`: the cell holds what the field can't be."""

    values: pa.Array
    wrong: Bools
    sentinel: Bools


def read(cells: pa.Array, field: Field, written: Written) -> Cells:
    """The cells as values of the field. ConfigError: it can't be filled from cells, or the unit not be converted."""
    kind = columnar.arrow_type(field.type)
    text = pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    sentinel = _sentinels(cells, written)
    if sentinel.any():
        cells = pc.if_else(pa.array(sentinel), pa.scalar(None, cells.type), cells)
    if text and field.kind not in {"string", "enum"}:
        cells = pc.if_else(pc.is_in(cells, pa.array(sorted(written.nothing))), pa.scalar(None, cells.type), cells)
    there = cells.is_valid()
    if field.kind in {"double", "float"}:
        values = _converted(_numbers(cells, written) if text else _cast(cells, pa.float64()), field, written)
        values = _cast(values, kind)
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, kind))
        if not text and field.nullable:  # NaN is how such a file says that there is none
            there = pc.and_(there, pc.fill_null(pc.is_finite(cells), fill_value=False))
    elif field.kind in _RANGE:
        values = _whole(cells, written, field.kind) if text else _cast(cells, kind)
    elif field.kind == "boolean":
        values = _truth(cells) if text else _cast(cells, kind)
    else:
        values = _cast(cells, kind)
        if field.kind == "enum":
            values = pc.if_else(pc.is_in(values, pa.array(field.type.symbols, kind)), values, pa.scalar(None, kind))
    wrong = pc.and_(there, values.is_null()).to_numpy(zero_copy_only=False)
    return Cells(values, wrong, sentinel)


def _sentinels(cells: pa.Array, written: Written) -> Bools:
    """Cells that hold one of these: a text as it is, a number however it is written."""
    out, sentinels = np.zeros(len(cells), np.bool_), written.sentinels
    if not sentinels:
        return out
    kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = [s for s in sentinels if isinstance(s, str)]
        if texts:
            out |= pc.is_in(cells, pa.array(texts, kind)).to_numpy(zero_copy_only=False)
        cells = plain(cells, written.decimal, written.thousands).cast(pa.float64())
    numbers = [float(s) for s in sentinels if not isinstance(s, str)]
    if numbers and (pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type)):
        out |= pc.is_in(cells.cast(pa.float64(), safe=False), pa.array(numbers)).to_numpy(zero_copy_only=False)
    return out


def _numbers(cells: pa.Array, written: Written) -> pa.Array:
    if written.decimal == "." and not written.thousands:  # most files; the same values in a third of the time
        try:
            values = cells.cast(pa.float64())
        except pa.ArrowInvalid:
            values = None
        if values is not None and pc.all(pc.is_finite(values)).as_py() is not False:  # nan is a number for Arrow
            return values
    return plain(cells, written.decimal, written.thousands).cast(pa.float64())


def _whole(cells: pa.Array, written: Written, kind: str) -> pa.Array:
    digits = plain(cells, written.decimal, written.thousands)
    digits = pc.if_else(pc.match_substring_regex(digits, _WHOLE), digits, pa.scalar(None, digits.type))
    return _cast(pc.replace_substring_regex(digits, r"\.0*$", ""), pa.int32() if kind == "int" else pa.int64())


def _cast(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Null where a cell can't be of the type."""
    try:
        return cells.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # does not say which cells
        return pa.array([_fitting(cell, kind) for cell in cells], kind)


def _fitting(cell: pa.Scalar, kind: pa.DataType) -> object:
    try:
        return cell.cast(kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _truth(cells: pa.Array) -> pa.Array:
    small = pc.utf8_lower(cells)
    yes, no = pc.is_in(small, _TRUE), pc.is_in(small, _FALSE)
    return pc.if_else(pc.or_(yes, no), yes, pa.scalar(None, pa.bool_()))


def _converted(values: pa.Array, field: Field, written: Written) -> pa.Array:
    if not written.unit or written.unit == field.unit:
        return values
    convert = conversion.convert(written.unit, field.unit or "")
    if convert is None:
        raise ConfigError(f"{field.name}: {next(conversion.problems(field, written.unit))}")
    there = values.is_valid().to_numpy(zero_copy_only=False)
    numbers = convert(values.fill_null(0.0).to_numpy())
    return pa.array(numbers, mask=~there)
