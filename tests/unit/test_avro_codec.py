"""Batches in columns must say exactly what their messages say one by one."""

import datetime as dt
import io
import itertools
import math
import struct
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts import datum as strict
from headrace.contracts.avro import read_record
from headrace.errors import ConfigError, Reason
from headrace.protocol.wire import frame
from processors.avro.codec import Codec, Decoded
from processors.avro.container import long_bytes, plain
from processors.joined import Joined
from tests.profiles import examples

LONG = {"type": "long", "logicalType": "timestamp-micros"}


def record(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": n, "type": t} for n, t in fields]}


def one(schema: dict[str, Any], *bodies: bytes) -> Decoded:
    return Codec(schema).decode([frame(1, b) for b in bodies])


_names = itertools.count()  # a named type is defined once
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "string": st.text(max_size=80),
    "bytes": st.binary(max_size=80),
}


@st.composite
def typed(draw: st.DrawFn, depth: int = 0) -> tuple[Any, st.SearchStrategy[Any]]:
    """An Avro type and its values."""
    kinds = [*PRIMITIVES, "enum", "fixed", "array", "time", *(["record", "map"] if depth < 2 else [])]
    kind = draw(st.sampled_from(kinds))
    name = f"n{next(_names)}"
    schema: Any = kind
    values: st.SearchStrategy[Any]
    if kind == "enum":
        symbols = [f"S{i}" for i in range(draw(st.integers(1, 70)))]
        schema, values = {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
    elif kind == "fixed":
        size = draw(st.integers(1, 9))
        schema, values = {"type": "fixed", "name": name, "size": size}, st.binary(min_size=size, max_size=size)
    elif kind == "array":
        items = draw(st.sampled_from(sorted(PRIMITIVES)))
        schema, values = {"type": "array", "items": items}, st.lists(PRIMITIVES[items], max_size=5)
    elif kind == "map":
        schema, values = (
            {"type": "map", "values": "double"},
            st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
        )
    elif kind == "time":
        schema, values = LONG, st.integers(0, 2**50)
    elif kind == "record":
        parts = draw(st.lists(typed(depth=depth + 1), min_size=1, max_size=3))
        fields = [{"name": f"f{i}", "type": s} for i, (s, _) in enumerate(parts)]
        schema = {"type": "record", "name": name, "fields": fields}
        values = st.fixed_dictionaries({f"f{i}": v for i, (_, v) in enumerate(parts)})
    else:
        values = PRIMITIVES[kind]
    if draw(st.booleans()):
        return (["null", schema] if draw(st.booleans()) else [schema, "null"]), st.none() | values
    return schema, values


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    parts = draw(st.lists(typed(), min_size=1, max_size=5))
    schema = record(*((f"f{i}", s) for i, (s, _) in enumerate(parts)))
    row = st.fixed_dictionaries({f"f{i}": v for i, (_, v) in enumerate(parts)})
    return schema, draw(st.lists(row, min_size=1, max_size=6))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack(">d", a) == struct.pack(">d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict) and isinstance(b, list):  # a map's entries
        return same(sorted(a.items()), sorted((e["key"], e["value"]) for e in b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(b, dt.datetime):
        return bool(dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=a) == b)
    return bool(a == b)


@examples(1.5)
@given(batches())
def test_every_value_comes_back_exactly(batch: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    schema, rows = batch
    codec = Codec(schema)
    out = codec.decode([codec.write(3, row) for row in rows])
    assert out.bad == []
    assert out.good.all()
    for expected, got in zip(rows, out.frame.to_dicts(), strict=True):
        assert same(expected, got), (expected, got)


@examples(1.5)
@given(batches(), st.data())
def test_a_message_decodes_alike_whatever_it_shares_a_batch_with(
    batch: tuple[dict[str, Any], list[dict[str, Any]]], data: st.DataObject
) -> None:
    schema, rows = batch
    codec = Codec(schema)
    values = [codec.write(3, row) for row in rows]
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(st.integers(0, len(values) - 1))
        at = data.draw(st.integers(5, max(5, len(values[i]))))
        cut = data.draw(st.integers(0, 3))
        values[i] = values[i][:at] + data.draw(st.binary(max_size=3)) + values[i][at + cut :]
    together = codec.decode(values)
    alone = [codec.decode([v]) for v in values]
    assert together.good.tolist() == [bool(a.good[0]) for a in alone]
    for i, single in enumerate(alone):
        assert together.frame[i : i + 1].equals(single.frame)
    for value, good in zip(values, together.good, strict=True):
        node = read_record(schema)
        if good:  # what was taken is what an independent reader sees
            strict.check(value[5:], node)
            fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(plain(node)), None)


ROW = record(("a", "string"), ("t", LONG), ("x", "double"), ("y", ["null", "double"]))
GOOD = b"\x06dev" + long_bytes(1_700_000_000_000_000) + struct.pack("<d", 1.5) + b"\0"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOOD[:-1],
        GOOD[:-4],
        GOOD + b"\0",
        GOOD + GOOD,
        GOOD[:-1] + b"\x04",  # branch 2 of 2
        GOOD[:-1] + b"\x01",  # branch -1
        b"\x06\xff\xfev" + GOOD[4:],  # not UTF-8
        b"\x05dev" + GOOD[4:],  # a length of -3
        b"\x86\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00dev" + GOOD[4:],  # a number of 11 bytes
    ],
)
def test_a_bad_message_is_named_and_its_neighbours_stay(body: bytes) -> None:
    out = one(ROW, GOOD, body, GOOD)
    assert [i for i, _ in out.bad] == [1]
    assert out.bad[0][1].reason is Reason.MALFORMED
    assert out.frame["x"].to_list() == [1.5, None, 1.5]
    assert out.good.tolist() == [True, False, True]


def test_two_shifts_that_add_up_are_seen() -> None:
    """One message a byte too long, the next a byte too short: the block as a whole decodes, and is wrong."""
    schema = record(("a", "string"))
    out = one(schema, b"\x02ab", b"\x02", b"\x02c")
    assert [i for i, _ in out.bad] == [0, 1]
    assert out.frame["a"].to_list() == [None, None, "c"]


@pytest.mark.parametrize("count", [1 << 30, -(1 << 30), 1 << 62])
def test_absurd_counts_end_at_once(count: int) -> None:
    schema = record(("s", {"type": "array", "items": "float"}))
    out = one(schema, long_bytes(count), long_bytes(1) + struct.pack("<f", 2.5) + b"\0")
    assert out.good.tolist() == [False, True]
    assert out.frame["s"].to_list() == [None, [2.5]]


def test_arrays_in_several_blocks_are_taken() -> None:
    schema = record(("s", {"type": "array", "items": "float"}))
    f = struct.pack("<f", 2.5)
    sized = long_bytes(-1) + long_bytes(4) + f
    out = one(schema, long_bytes(1) + f + sized + b"\0", long_bytes(1) + f + b"\0")
    assert out.frame["s"].to_list() == [[2.5, 2.5], [2.5]]


def test_numbers_beyond_their_type_are_refused() -> None:
    out = one(record(("i", "int")), long_bytes(2**31 - 1), long_bytes(2**31), long_bytes(2**40))
    assert out.good.tolist() == [True, False, False]
    out = one(record(("i", "long")), long_bytes(-(2**63)), b"\xff" * 9 + b"\x02", b"\xff" * 9 + b"\x01")
    assert out.good.tolist() == [True, False, True]


def test_columns_have_the_types_that_the_schema_means() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
    fixed = {"type": "fixed", "name": "f", "size": 3}
    schema = {
        **record(("t", LONG), ("d", ["null", decimal]), ("e", {"type": "enum", "name": "e", "symbols": ["A", "B"]})),
        "namespace": "x",
    }
    schema["fields"] += [{"name": "f", "type": fixed}, {"name": "g", "type": "f"}, {"name": "h", "type": "x.f"}]
    body = long_bytes(1) + b"\x02\x04\x01\x00" + b"\x02" + b"abcdefghi"
    out = one(schema, body, body).frame
    assert out.schema["t"] == pl.Datetime("us", "UTC")
    assert out.row(0) == (
        dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC), Decimal("2.56"), "B", b"abc", b"def", b"ghi",
    )  # fmt: skip
    empty = Codec(schema).decode([])
    assert empty.frame.schema == out.schema
    assert empty.frame.height == 0
    assert Codec(schema).decode([frame(1, b"")]).frame.schema == out.schema


@pytest.mark.parametrize(
    "kind",
    [
        ["null", "double", "string"],
        ["double"],
        "null",
        "r",
        "nowhere",
        {"type": "array", "items": {"type": "record", "name": "e", "fields": []}},
        {"type": "array", "items": {"type": "fixed", "name": "e", "size": 0}},
    ],
)
def test_what_no_table_may_hold_is_a_config_error(kind: Any) -> None:
    with pytest.raises(ConfigError):
        Codec(record(("a", kind))).decode([b"\0\0\0\0\1"])


def test_nesting_is_bounded() -> None:
    kind: Any = "double"
    for _ in range(2000):
        kind = {"type": "array", "items": kind}
    with pytest.raises(ConfigError, match="nested"):
        read_record(record(("a", kind)))


def test_a_waveform_is_read_in_columns() -> None:
    schema = record(("s", {"type": "array", "items": "float"}))
    wave = np.sin(np.arange(12_000)).astype("<f4")
    body = long_bytes(len(wave)) + wave.tobytes() + b"\0"
    codec = Codec(schema)
    assert codec._columns(Joined.of([frame(1, body)] * 3)) is not None
    assert np.array_equal(one(schema, body, body).frame["s"][1].to_numpy(), wave)


def test_one_bad_message_of_many_costs_only_itself() -> None:
    values = [frame(1, GOOD)] * 5000
    values[1234], values[4999] = values[0] + b"x", values[0][:-1]
    out = Codec(ROW).decode(values)
    assert [i for i, _ in out.bad] == [1234, 4999]
    assert np.flatnonzero(~out.good).tolist() == [1234, 4999]
    assert out.frame["x"].null_count() == 2
    assert out.frame.height == 5000
