"""Rows that are encoded in columns are, byte for byte, those that fastavro writes one by one."""

import io
import math
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts import avro, columnar
from headrace.errors import ConfigError

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "double": ("double", st.floats(allow_nan=False)),
    "float": ("float", st.floats(width=32, allow_nan=False)),
    "int": ("int", st.integers(-(2**31), 2**31 - 1)),
    "long": ("long", st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)),
    "time": ({"type": "long", "logicalType": "timestamp-micros"}, st.integers(0, 2**53)),
    "boolean": ("boolean", st.booleans()),
    "string": ("string", st.text(max_size=70)),
    "bytes": ("bytes", st.binary(max_size=70)),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}, st.sampled_from("ABC")),
    "floats": ({"type": "array", "items": "float"}, st.lists(st.floats(width=32, allow_nan=False), max_size=5)),
    "doubles": ({"type": "array", "items": "double"}, st.lists(st.floats(allow_nan=False), max_size=5)),
}


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": name, "type": kind} for name, kind in fields]}


def one_by_one(schema: dict[str, Any], rows: list[dict[str, Any]], prefix: bytes) -> list[bytes]:
    parsed = fastavro.parse_schema(schema)
    out = []
    for row in rows:
        datum = io.BytesIO()
        fastavro.schemaless_writer(datum, parsed, row)
        out.append(prefix + datum.getvalue())
    return out


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, list[Any]], int]:
    count = draw(st.integers(0, 12))
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6, unique=True))
    fields: list[tuple[str, Any]] = []
    columns: dict[str, list[Any]] = {}
    for name in names:
        kind, values = KINDS[name]
        nullable = draw(st.sampled_from(["", "first", "last"]))
        fields.append((name, {"": kind, "first": ["null", kind], "last": [kind, "null"]}[nullable]))
        cells = values | st.none() if nullable else values
        columns[name] = draw(st.lists(cells, min_size=count, max_size=count))
    return record(*fields), columns, count


@given(tables(), st.sampled_from([b"", b"\0\0\0\0\7"]), st.booleans())
def test_as_fastavro_writes_it(it: tuple[dict[str, Any], dict[str, list[Any]], int], prefix: bytes, cut: bool) -> None:
    schema, columns, count = it
    node = avro.read_record(schema)
    arrays = {m.name: pa.array(columns[m.name], columnar.arrow_type(m.type)) for m in node.members}
    if cut and count:  # a part of a longer column
        arrays, count = {name: a.slice(1) for name, a in arrays.items()}, count - 1
        columns = {name: cells[1:] for name, cells in columns.items()}
    found = columnar.encode(node, arrays, count, prefix)
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    assert [found.at(i) for i in range(len(found))] == one_by_one(schema, rows, prefix)


def test_not_a_number_is_a_value() -> None:
    schema = record(("x", ["null", "double"]))
    found = columnar.encode(avro.read_record(schema), {"x": pa.array([math.nan, None, -math.inf])}, 3)
    rows: list[dict[str, Any]] = [{"x": math.nan}, {"x": None}, {"x": -math.inf}]
    assert [found.at(i) for i in range(3)] == one_by_one(schema, rows, b"")


def test_what_has_no_column_is_null() -> None:
    node = avro.read_record(record(("a", "long"), ("b", ["null", "string"])))
    found = columnar.encode(node, {"a": pa.array([1, 2])}, 2)
    assert [found.at(i) for i in range(2)] == [b"\2\0", b"\4\0"]


@pytest.mark.parametrize(
    ("kind", "cells", "words"),
    [
        ("double", [1.0, None], "x: a row has no value"),
        ("int", [2**31], "x: Integer value 2147483648 not in range"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, ["A", "Z"], "x: 'Z' is none of A, B"),
        ({"type": "map", "values": "double"}, [1.0], "the Avro type map can't be filled"),
    ],
)
def test_what_does_not_fit_is_said(kind: Any, cells: list[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        columnar.encode(avro.read_record(record(("x", kind))), {"x": pa.array(cells)}, len(cells))
