"""The bridge's encoder against fastavro, byte for byte."""

import io
import json
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.encode import encoder, long
from headrace.contracts.model import parse

FLOATS = st.floats(width=32, allow_nan=False)
LONGS = st.integers(-(2**63), 2**63 - 1)
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "d1": ("double", st.floats(allow_nan=False)),
    "d2": ("double", st.floats(allow_nan=False)),
    "dn": (["null", "double"], st.none() | st.floats(allow_nan=False)),
    "f": ("float", FLOATS),
    "fn": (["null", "float"], st.none() | FLOATS),
    "i": ("int", st.integers(-(2**31), 2**31 - 1)),
    "l": ("long", LONGS),
    "ln": (["null", "long"], st.none() | LONGS),
    "s": ("string", st.text(st.characters(exclude_categories=["Cs"]))),
    "b": ("boolean", st.booleans()),
    "y": ("bytes", st.binary(max_size=300)),
    "a": ({"type": "array", "items": "float"}, st.lists(FLOATS, max_size=200)),
    "t": ({"type": "array", "items": "long"}, st.lists(LONGS, max_size=5)),
}
BASE = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
]
FIELDS = [
    {"name": name, "type": kind, **({"max_items": 200} if name in "at" else {})} for name, (kind, _) in KINDS.items()
]
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
CONTRACT = parse("r", json.dumps({"type": "record", "name": "r", "fields": [*BASE, *FIELDS, QUALITY]}))
# Without the logical type fastavro takes the number itself.
PLAIN = fastavro.parse_schema(
    {"type": "record", "name": "r", "fields": [BASE[0], {"name": "event_time", "type": "long"}, *FIELDS, QUALITY]}
)
ROWS = st.fixed_dictionaries(
    {"device_id": st.text("abc-_09", min_size=1), "event_time": LONGS}
    | {name: values for name, (_, values) in KINDS.items()}
    | {"_quality": st.none() | st.just("x:sentinel:null")}
)


@given(ROWS)
def test_the_same_bytes_as_fastavro(row: dict[str, Any]) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PLAIN, row)
    assert encoder(CONTRACT, b"prefix")([row[f.name] for f in CONTRACT.fields]) == b"prefix" + out.getvalue()


@given(LONGS)
def test_longs(number: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    assert long(number) == out.getvalue()


def test_a_float_beyond_32_bits_is_an_error_and_never_infinity() -> None:
    values = [0.0] * 2 + [None, 1e39]
    fields = [{"name": n, "type": KINDS[n][0]} for n in ("d1", "d2", "dn", "f")]
    it = parse("r", json.dumps({"type": "record", "name": "r", "fields": [*BASE, *fields, QUALITY]}))
    with pytest.raises((OverflowError, struct.error)):
        encoder(it)(["d", 0, *values, None])


@pytest.mark.parametrize("kind", ["float", "double"])
def test_lists_of_numbers_are_little_endian_and_a_float_beyond_32_bits_is_an_error(kind: str) -> None:
    fields = [{"name": "a", "type": {"type": "array", "items": kind}, "max_items": 9}]
    encode = encoder(parse("r", json.dumps({"type": "record", "name": "r", "fields": [*BASE, *fields, QUALITY]})))
    for values in (
        [1.5, -2.25],
        [2.3418052e-38, 1.401298464324817e-45],
        [float("inf"), -float("inf")],
        [0.0, 2.350989e-38],
    ):
        body = struct.pack(f"<2{kind[0]}", *values)
        assert encode(["d", 0, values, None]) == b"\2d\0\4" + body + b"\0\0"
    for beyond in (1e39, -1e39):
        if kind == "float":
            with pytest.raises(OverflowError):
                encode(["d", 0, [1.0, beyond, 2.0], None])
