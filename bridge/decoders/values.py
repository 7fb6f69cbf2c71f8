"""Values as payloads have them to the values of a contract's types, or a `PoisonError` that says which field and why.

A reader takes text, numbers, booleans, lists and dicts (never None), and returns what `bridge.encode` takes: text for
strings, floats, ints, booleans, microseconds or milliseconds for timestamps, a symbol's number for enums, bytes, and
lists and tuples.

What a reader changes it notes for `_quality`. A reader without a place for notes changes nothing: it refuses.
"""

import base64
import binascii
import decimal
import math
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import Any, NamedTuple

from bridge.decoders import numbers
from bridge.decoders.times import timestamp
from bridge.decoders.unknown import json_text
from bridge.decoders.wording import missing, number_hint, wrong
from headrace.contracts.avro import NUMBERS, Member, Node
from headrace.contracts.model import Field
from headrace.contracts.times import TICKS
from headrace.errors import PoisonError, Reason

Reader = Callable[[Any], Any]

_EXACT = 2**53  # whole numbers up to here survive in a float
_DECIMAL = decimal.Context(prec=decimal.MAX_PREC)  # the default context rounds to 28 digits
_FLOAT = struct.Struct("<f")
_BITS = {"int": 32, "long": 64}


class Texts(NamedTuple):
    """How text in payloads is read: the zone of times that name none, and the decimal mark of numbers.

    Without a mark, text is no number.
    """

    zone: tzinfo = UTC
    mark: str = ""


DEFAULT_TEXTS = Texts()


def field_reader(field: Field, notes: list[str] | None = None, texts: Texts = DEFAULT_TEXTS) -> Reader:
    """As `reader`, of a contract's own field."""
    unit, most = field.time_unit, field.max_items
    return reader(field.name, field.type, time_unit=unit, max_items=most, as_json=field.json, notes=notes, texts=texts)


def reader(
    name: str,
    node: Node,
    *,
    time_unit: str = "us",
    max_items: int | None = None,
    as_json: bool = False,
    notes: list[str] | None = None,
    texts: Texts = DEFAULT_TEXTS,
) -> Reader:
    """The reader of the field `name`, of the type `node`, for values that are not null.

    `as_json`: the field is text that holds any value as JSON.
    `notes`: where it writes what it changed. Then, too, keys of an object that the contract does not have are passed
    over (they are `unknown.unknown`'s), and NaN and the infinities are looked for, which only some formats have.
    """
    read = json_text if as_json else _reader(name, node, time_unit, max_items, notes, texts)
    return read if notes is None else lambda v: read(v) if type(v) is not float else read(finite(name, v))


def in_text(name: str, read: Reader, mark: str) -> Reader:
    """The same reader of a number, of one that is text too, with this decimal mark; any other text it sees as it is."""

    def inner(v: Any) -> Any:
        if type(v) is str:
            v = numbers.of_text(v, mark)
            if type(v) is float:
                finite(name, v)
        return read(v)

    return inner


def finite(name: str, v: float) -> float:
    """`v`; PoisonError where it is NaN or infinite."""
    if math.isfinite(v):
        return v
    words = f"{name}: {v} is no number, and the field must have one. Make it optional in the contract, for null instead"
    raise PoisonError(Reason.NOT_FINITE, words, field=name, value=str(v))


def _reader(
    name: str, node: Node, time_unit: str, max_items: int | None, notes: list[str] | None, texts: Texts
) -> Reader:
    kind = node.kind
    if texts.mark and kind in NUMBERS and node.logical is None:
        return in_text(name, _reader(name, node, time_unit, max_items, notes, Texts(texts.zone)), texts.mark)
    if node.logical in TICKS:
        return timestamp(name, time_unit, TICKS[node.logical], zone=texts.zone)
    if node.logical == "decimal":
        return _decimal(name, node)
    match kind:
        case "double":
            return lambda v: v if type(v) is float else _double(name, v, notes)
        case "float":
            return lambda v: _float(name, v)
        case "int" | "long":
            return lambda v: _whole(name, v, _BITS[kind])
        case "string":
            return lambda v: v if type(v) is str else wrong(name, "text", v)
        case "boolean":
            return lambda v: v if type(v) is bool else wrong(name, "true or false", v)
        case "enum":
            return _enum(name, node.symbols)
        case "bytes" | "fixed":
            return lambda v: _base64(name, v, None if kind == "bytes" else node.size)
        case "array":
            assert node.items is not None
            return _array(name, node.items, max_items, notes, texts)
        case _:
            return _record(name, node.members, notes, texts)


def _double(name: str, v: Any, notes: list[str] | None) -> float:
    if type(v) is not int:
        return v if type(v) is float else wrong(name, "a number", v, number_hint(v, inner="." in name))
    try:
        number = float(v)
    except OverflowError:
        wrong(name, "a number that a double holds", v)
    if number != v:
        if notes is None:
            wrong(name, "a whole number that a double holds exactly", v)
        notes.append(f"{name}:digits:round")
    return number


def _float(name: str, v: Any) -> float:
    number = _double(name, v, [])  # of 7 digits: whoever chooses it expects rounding
    try:
        _FLOAT.pack(number)
    except OverflowError:
        wrong(name, "a number that a float of 32 bits holds", v)
    return number


def _whole(name: str, v: Any, bits: int) -> int:
    if type(v) is float and v.is_integer() and -_EXACT <= v <= _EXACT:
        v = int(v)
    if type(v) is not int:
        hint = ". Make it a double in the contract" if type(v) is float else number_hint(v, inner="." in name)
        wrong(name, "a whole number", v, hint)
    if not -(1 << (bits - 1)) <= v < 1 << (bits - 1):
        wrong(name, f"a whole number of {bits} bits", v, ". Make it a decimal or text in the contract")
    return v


def _enum(name: str, symbols: Sequence[str]) -> Reader:
    numbers = {s: i for i, s in enumerate(symbols)}

    def read(v: Any) -> int:
        found = numbers.get(v) if type(v) is str else None
        return found if found is not None else wrong(name, f"one of {', '.join(symbols)[:200]}", v)

    return read


def _base64(name: str, v: Any, size: int | None) -> bytes:
    if type(v) is bytes:  # of a format that has them
        data = v
    elif type(v) is str:
        try:
            data = base64.b64decode(v, validate=True)
        except (binascii.Error, ValueError):
            wrong(name, "base64 text", v)
    else:
        wrong(name, "base64 text", v)
    if size is not None and len(data) != size:
        wrong(name, f"base64 text of {size} bytes", v)
    return data


def _decimal(name: str, node: Node) -> Reader:
    precision, scale, size = node.precision, node.scale, node.size

    def read(v: Any) -> bytes:
        if type(v) not in {int, float, str}:
            wrong(name, "a number, or text that is one", v)
        try:
            number = decimal.Decimal(v if type(v) is str else repr(v)).scaleb(scale, _DECIMAL)
            if number.is_finite() and number.adjusted() < precision and number == number.to_integral_value():
                unscaled = int(number)
                return unscaled.to_bytes(size or (unscaled.bit_length() // 8 + 1), "big", signed=True)
        except (decimal.DecimalException, ValueError, OverflowError):
            pass
        return wrong(name, f"a decimal of {precision} digits, {scale} of them after the point,", v)

    return read


def _array(name: str, items: Node, max_items: int | None, notes: list[str] | None, texts: Texts) -> Reader:
    item = reader(name, items, notes=notes, texts=texts)

    def read(v: Any) -> list[Any]:
        if type(v) is not list:
            wrong(name, "a list", v)
        if max_items is not None and len(v) > max_items:
            raise PoisonError(
                Reason.TOO_LARGE,
                f"{name}: {len(v):,} items, the contract allows {max_items:,} (max_items)",
                field=name,
                value=str(len(v)),
            )
        if None in v:
            raise missing(name, "holds null, and a list has a value in each place")
        return [item(x) for x in v]

    return read


def _record(name: str, of: Sequence[Member], notes: list[str] | None, texts: Texts) -> Reader:
    members = [(m.name, m.attributes.get("default"), _member(f"{name}.{m.name}", m, notes, texts)) for m in of]
    field_of = {key: m.name for m in of for key in (*m.attributes.get("aliases", ()), m.name)}

    def read(v: Any) -> tuple[Any, ...]:
        if type(v) is not dict:
            wrong(name, "an object", v)
        found: dict[str, Any] = {}
        for key, value in v.items():
            member = field_of.get(key)
            if member is None:
                if notes is not None:
                    continue
                raise PoisonError(Reason.UNKNOWN_FIELD, f"{name}: the contract has no {key[:80]!r} in it", field=name)
            if member in found:
                raise PoisonError(Reason.MALFORMED, f"{name}.{member}: given twice, once as {key[:80]}", field=name)
            found[member] = value
        return tuple(read_member(found.get(member, default)) for member, default, read_member in members)

    return read


def _member(name: str, member: Member, notes: list[str] | None, texts: Texts) -> Reader:
    nullable, rules = member.type.nullable, member.attributes
    unit, most = rules.get("time_unit", "us"), rules.get("max_items")
    as_json = rules.get("json", False)
    inner = reader(name, member.type, time_unit=unit, max_items=most, as_json=as_json, notes=notes, texts=texts)
    if notes is not None and nullable:
        inner = nulled(name, inner, notes)

    def read(v: Any) -> Any:
        if v is not None:
            return inner(v)
        if nullable:
            return None
        raise missing(name)

    return read


def nulled(name: str, read: Reader, notes: list[str]) -> Reader:
    """A reader of an optional field: null, with a note, where `read` finds NaN or an infinity."""

    def inner(v: Any) -> Any:
        try:
            return read(v)
        except PoisonError as e:
            if e.reason is not Reason.NOT_FINITE:
                raise
        notes.append(f"{name}:not_finite:null")
        return None

    return inner
