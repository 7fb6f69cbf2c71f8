"""Which changes of a contract old readings survive, and the words for those they don't."""

import io
import json
from typing import Any

import fastavro
import pytest

from headrace.contracts.avro import Node
from headrace.contracts.compat import incompatibilities
from headrace.contracts.model import Contract, parse

DEVICE = {"name": "device_id", "type": "string"}
TIME = {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}}
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}


def contract(*fields: Any, name: str = "pump") -> Contract:
    return parse(name, json.dumps({"type": "record", "name": name, "fields": [DEVICE, TIME, *fields, QUALITY]}))


def x(schema: Any, **more: Any) -> dict[str, Any]:
    return {"name": "x", "type": schema, **more}


def record(*fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": list(fields)}


A, B = {"name": "a", "type": "double"}, {"name": "b", "type": "double"}
ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
ARRAY = {"type": "array", "items": "float"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}
FIXED = {"type": "fixed", "name": "f", "size": 4}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([], []),
        ([], [x(["null", "double"], default=None)]),
        ([], [x("double", default=0)]),
        ([x("double")], []),
        ([x("int")], [x("long")]),
        ([x("int")], [x("double")]),
        ([x("float")], [x("double")]),
        ([x("double")], [x(["null", "double"], default=None)]),
        ([x("double", unit="V")], [x("double", unit="A", minimum=0, doc="other")]),
        ([x({"type": "double"})], [x("double")]),
        ([x(ENUM)], [x({**ENUM, "symbols": ["A", "B", "C"]})]),
        ([x(ENUM)], [x({**ENUM, "symbols": ["A"], "default": "A"})]),
        ([x(ARRAY, max_items=3)], [x({**ARRAY, "items": "double"}, max_items=9)]),
        ([x(record(A))], [x(record(A, {**B, "default": 0}))]),
        ([x(record(A, B))], [x(record(A))]),
        ([x("double")], [{"name": "y", "type": "double", "aliases": ["x"]}]),
    ],
)
def test_changes_that_old_readings_survive(old: list[Any], new: list[Any]) -> None:
    before, after = contract(*old), contract(*new)
    assert incompatibilities(before.schema, after) == []
    # As Avro has it: what was written with the old one is read with the new one.
    values = {"int": 1, "double": 1.0, "float": 1.0}
    row: dict[str, Any] = {"device_id": "d", "event_time": 0, "_quality": None}
    for f in before.fields:
        if f.name not in row:
            row[f.name] = _value(f.type, values)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(before.schema), row)
    out.seek(0)
    read = fastavro.schemaless_reader(out, fastavro.parse_schema(before.schema), fastavro.parse_schema(after.schema))
    assert set(read) == {f.name for f in after.fields}  # type: ignore[arg-type]


def _value(node: Node, values: dict[str, Any]) -> Any:
    match node.kind:
        case "enum":
            return "A"
        case "array":
            return [1.0]
        case "record":
            return {m.name: 1.0 for m in node.members}
        case other:
            return values[other]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ([x("double")], [x("string")], "field x changed from double to string. Keep the type, and add a new field"),
        ([x("double")], [x("float")], "field x changed from double to float"),
        ([x("long")], [x("int")], "field x changed from long to int"),
        ([], [x("double")], 'but older readings lack it. Make it optional: "type": ["null", "double"]'),
        ([], [x(ARRAY, max_items=5)], "field x is new and required"),
        ([x(["null", "double"])], [x("double")], "was optional and is now required"),
        ([x(["null", "double"])], [x(["null", "string"])], "field x changed from optional double to optional string"),
        ([x(ENUM)], [x({**ENUM, "symbols": ["A"]})], "field x no longer has B"),
        ([x(ARRAY, max_items=5)], [x({**ARRAY, "items": "int"}, max_items=5)], "from an array of float to an array of"),
        ([x(FIXED)], [x({**FIXED, "size": 8})], "from 4 to 8 bytes"),
        ([x(DECIMAL)], [x({**DECIMAL, "scale": 3})], "precision or scale"),
        ([x("bytes")], [x(DECIMAL)], "field x changed from bytes to bytes (decimal)"),
        (
            [x({"type": "long", "logicalType": "timestamp-millis"})],
            [x({"type": "long", "logicalType": "timestamp-micros"})],
            "older values would be read as others",
        ),
        ([x(record(A))], [x(record(A, B))], "field x.b is new and required"),
        ([x(record(A))], [x(record({**A, "type": "string"}))], "field x.a changed from double to string"),
        ([x(["null", record(record_a := {"name": "a", "type": record(A) | {"name": "s"}})])],
         [x(["null", record({**record_a, "type": record({**A, "type": "string"}) | {"name": "s"}})])],
         "field x.a.a changed from double to string"),
    ],
)  # fmt: skip
def test_changes_that_lose_old_readings(old: list[Any], new: list[Any], words: str) -> None:
    found = incompatibilities(contract(*old).schema, contract(*new))
    assert len(found) == 1
    assert words in found[0]


def test_a_renamed_record_loses_old_readings() -> None:
    found = incompatibilities(contract().schema, contract(name="motor"))
    assert found == ["the record was called pump and is now called motor. Keep the name"]


def test_schemas_of_others_are_left_to_the_registry() -> None:
    strange = {"type": "record", "name": "pump", "fields": [DEVICE, TIME, x({"type": "map", "values": "int"}), QUALITY]}
    assert incompatibilities(strange, contract()) == []
    assert len(incompatibilities({"type": "string"}, contract())) > 0


def test_a_named_type_may_be_used_twice_inside_a_record() -> None:
    inner = {"type": "record", "name": "s", "fields": [A]}
    twice = contract(x(record({"name": "p", "type": inner}, {"name": "q", "type": "s"})))
    assert incompatibilities(twice.schema, twice) == []
