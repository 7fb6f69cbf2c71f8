"""Parsing a contract: what is taken, and what is refused with place and remedy."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.avro import Member, Node
from headrace.contracts.model import MAX_PROBLEMS, MAX_TEXT, Contract, parse
from headrace.errors import ConfigError
from headrace.protocol import provenance

DEVICE = {"name": "device_id", "type": "string"}
TIME: dict[str, Any] = {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}}
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}


def text(*fields: Any, **record: Any) -> str:
    return json.dumps({"type": "record", "name": "pump", "fields": [DEVICE, TIME, *fields, QUALITY], **record})


def contract(*fields: Any, **record: Any) -> Contract:
    return parse("pump", text(*fields, **record))


def refusal(*fields: Any, **record: Any) -> str:
    with pytest.raises(ConfigError) as e:
        parse("pump", text(*fields, **record), "pump.avsc")
    message = str(e.value)
    assert message.startswith("pump.avsc: ")
    return message


def test_every_attribute_of_a_field_is_read() -> None:
    field = {
        "name": "flow", "type": ["null", "double"], "default": None, "doc": "Flow.", "unit": "L/min", "minimum": 0,
        "maximum": 9.5, "sentinels": [-1, "NA"], "on_violation": "null", "aliases": ["Q"], "max_step": 2.5,
    }  # fmt: skip
    f = contract(field).field("flow")
    assert (f.kind, f.nullable, f.logical, f.items, f.max_items) == ("double", True, None, None, None)
    assert (f.unit, f.doc, f.minimum, f.maximum, f.max_step) == ("L/min", "Flow.", 0, 9.5, 2.5)
    assert (f.sentinels, f.on_violation["minimum"], f.aliases) == ((-1, "NA"), "null", ("Q",))
    assert f.type == Node("double", nullable=True, size=8)


def test_attributes_that_are_left_out_have_their_defaults() -> None:
    c = contract({"name": "x", "type": "double"})
    f, time = c.field("x"), c.field("event_time")
    assert (f.on_violation["minimum"], f.role, f.time_unit, f.max_ahead_seconds, f.sentinels) == (
        "reject",
        None,
        "us",
        None,
        (),
    )
    assert time.max_ahead_seconds == 86_400
    assert "x" in c
    assert "y" not in c
    assert c.text == text({"name": "x", "type": "double"})


KINDS: list[tuple[Any, str, str | None, str | None]] = [
    *((p, p, None, None) for p in ("double", "float", "int", "long", "string", "boolean", "bytes")),
    ({"type": "double"}, "double", None, None),
    ({"type": {"type": "double"}}, "double", None, None),
    ({"type": "long", "logicalType": "timestamp-millis"}, "long", "timestamp-millis", None),
    ({"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}, "bytes", "decimal", None),
    ({"type": "fixed", "name": "f", "size": 8}, "fixed", None, None),
    ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, "enum", None, None),
    ({"type": "array", "items": "float"}, "array", None, "float"),
    ({"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}, "array", None, "long"),
    ({"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "int"]}]}, "record", None, None),
]


@pytest.mark.parametrize(
    ("schema", "kind", "logical", "items", "nullable"),
    [(*k, nullable) for k in KINDS for nullable in (False, True) if not (nullable and k[1] == "enum")],
)
def test_every_type_that_a_contract_may_hold_is_read(
    schema: Any, kind: str, logical: str | None, items: str | None, nullable: bool
) -> None:
    field = {"name": "x", "type": ["null", schema] if nullable else schema, **({"max_items": 5} if items else {})}
    f = contract(field).field("x")
    assert (f.kind, f.logical, f.items, f.nullable) == (kind, logical, items, nullable)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "map", "values": "int"}, "a map is not supported. Use a record"),
        (["null", "int", "string"], "a union of several types is not supported"),
        (["int", "string"], "a union of several types is not supported"),
        (["double", "null"], "with null first"),
        (["null"], "a union must be"),
        (["double"], "a union must be"),
        ([], "a union must be"),
        (["null", ["null", "int"]], "a union inside a union"),
        (["null", {"type": "enum", "name": "e", "symbols": ["A"]}], "an optional enum"),
        ("null", "unknown type 'null'"),
        ("duoble", "unknown type 'duoble'"),
        (None, "a type is expected"),
        (7, "a type is expected"),
        ({}, "a type is expected"),
        ({"type": ["null", "int"]}, "a type inside a type"),
        ({"type": {"type": "int"}, "unit": "V"}, "a type inside a type"),
        ({"type": "int", "logicalType": "date"}, "logicalType 'date' on int"),
        ({"type": "int", "logicalType": "timestamp-micros"}, "on int is not supported"),
        ({"type": "string", "logicalType": "uuid"}, "logicalType 'uuid'"),
        ({"type": "long", "logicalType": ["x"]}, "logicalType ['x']"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 99}, "decimal needs a precision"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}, "decimal needs a precision"),
        ({"type": "fixed", "name": "f", "size": 0}, "fixed needs a size"),
        ({"type": "fixed", "size": 4}, "fixed needs a name"),
        ({"type": "enum", "name": "e", "symbols": []}, "enum needs symbols"),
        ({"type": "enum", "name": "e", "symbols": ["A", "A"]}, "occurs twice"),
        ({"type": "enum", "name": "e", "symbols": ["A B"]}, "enum needs symbols"),
        ({"type": "enum", "name": "e", "symbols": ["A"], "default": "B"}, "is not one of its symbols"),
        ({"type": "array", "items": {"type": "array", "items": "int"}}, "an array holds numbers"),
        ({"type": "array", "items": ["null", "int"]}, "can't be null"),
        ({"type": "array"}, "a type is expected"),
        ({"type": "record", "name": "r", "fields": []}, "a record needs fields"),
        ({"type": "record", "name": "r", "fields": [7]}, "a record needs fields"),
        ({"type": "record", "name": "r", "fields": [{"name": "a b", "type": "int"}]}, "can't name a field"),
        (
            {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "map", "values": "int"}}]},
            "field x.a: a map",
        ),
        (
            {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "A", "type": "int"}]},
            "the same name",
        ),
        (
            {"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]},
            "field x.a: an array needs a bound",
        ),
        ("pump", "contains itself"),
        ({"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "r"]}]}, "contains itself"),
        ({"type": "record", "name": "pump", "fields": [{"name": "a", "type": "int"}]}, "defined twice"),
    ],
)
def test_types_that_are_refused_with_place_and_remedy(schema: Any, words: str) -> None:
    message = refusal({"name": "x", "type": schema, "max_items": 5})
    assert words in message
    assert "field x" in message


@pytest.mark.parametrize(("alias", "words"), [(["b"], "x.a: the alias 'b' already feeds b"), ("b", "must be a list")])
def test_aliases_inside_a_record_that_are_refused(alias: Any, words: str) -> None:
    inner = [{"name": "a", "type": "int", "aliases": alias}, {"name": "b", "type": "int"}]
    assert words in refusal({"name": "x", "type": {"type": "record", "name": "r", "fields": inner}})


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"unit": 7}, "unit must be text"),
        ({"unit": ""}, "unit must be text"),
        ({"minimum": "0"}, "minimum must be a number"),
        ({"maximum": True}, "maximum must be a number"),
        ({"minimum": 2, "maximum": 2}, "is not below"),
        ({"sentinels": -1}, "sentinels must be a list"),
        ({"sentinels": [None]}, "a sentinel is a number or a text"),
        ({"sentinels": [True]}, "a sentinel is a number or a text"),
        ({"sentinels": list(range(99))}, "at most"),
        ({"on_violation": "drop"}, "it must be one of reject, null, clamp, flag"),
        ({"on_violation": "null"}, "on_violation null needs an optional field"),
        ({"on_violation": "clamp"}, "clamp needs a minimum or a maximum"),
        ({"role": "index"}, "it must be one of sequence, boot"),
        ({"role": "sequence"}, "belongs on a long"),
        ({"role": "boot"}, "belongs on a string or long"),
        ({"time_unit": "ms"}, "belongs on timestamps"),
        ({"max_ahead_seconds": 5}, "on a timestamp"),
        ({"max_step": "5"}, "max_step must be a number"),
        ({"max_step": True}, "max_step must be a number"),
        ({"max_step": 0}, "max_step 0 must be above 0"),
        ({"max_step": 5, "minimum": 0, "on_violation": "clamp"}, "clamp does not go with max_step"),
        ({"max_step": 5, "on_violation": "null"}, "on_violation null needs an optional field"),
        ({"minimum": 0, "max_step": 5, "on_violation": "clamp"}, '{"minimum": "clamp", "maximum": "clamp", "max_step"'),
        ({"on_violation": ["null"]}, 'or an object with one of them for each rule, such as {"not_finite": "flag"}'),
        ({"on_violation": {"maximun": "flag"}}, "no such rule; did you mean maximum?"),
        ({"on_violation": {"colour": "flag"}}, "no such rule; the rules are sentinel, not_finite"),
        ({"on_violation": {"maximum": "flag"}}, "the field has no such rule. It has not_finite"),
        ({"maximum": 5, "on_violation": {"maximum": "drop"}}, "'maximum' is 'drop'; it must be one of"),
        ({"maximum": 5, "on_violation": {"maximum": "null"}}, "on_violation null for maximum needs an optional"),
        ({"on_violation": {"not_finite": "clamp"}}, "only minimum and maximum have a bound to clamp to"),
        ({"allowed": [1]}, "allowed is for string, int and long, not for double. Use minimum"),
        ({"pattern": "a"}, "pattern is for string"),
        ({"max_behind_seconds": 5}, "on a timestamp"),
        ({"monotonic": "up"}, "it must be one of increasing, not_decreasing"),
        ({"monotonic": "increasing", "minimum": 0, "on_violation": "clamp"}, "clamp does not go with monotonic"),
        ({"max_stuck": 0}, "a whole number from 1 to"),
        ({"max_stuck": 1.5}, "a whole number from 1 to"),
        ({"max_stuck_seconds": 0}, "above 0"),
        ({"max_gap_seconds": 5}, "above 0, on event_time"),
        ({"aliases": "x"}, "aliases must be a list"),
        ({"aliases": [""]}, "aliases must be a list"),
        ({"aliases": ["device_id"]}, "already feeds the field device_id"),
        ({"default": "x"}, "the default 'x' must be a value of double"),
        ({"default": None}, "must be a value of double"),
    ],
)
def test_attributes_that_are_refused(attributes: dict[str, Any], words: str) -> None:
    assert words in refusal({"name": "x", "type": "double", **attributes})


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"name": "x", "type": "string", "minimum": 1}, "for numbers, not for string"),
        ({"name": "x", "type": "string", "max_step": 1}, "max_step is for single numbers, not for string"),
        (
            {"name": "x", "type": {"type": "array", "items": "int"}, "max_items": 3, "max_step": 1},
            "max_step is for single numbers, not for array",
        ),
        (
            {"name": "x", "type": {"type": "long", "logicalType": "timestamp-millis"}, "max_step": 1},
            "not for timestamp-millis",
        ),
        ({"name": "x", "type": "string", "monotonic": "increasing"}, "single numbers and timestamps, not for string"),
        ({"name": "x", "type": "string", "max_stuck": 3}, "max_stuck is for single numbers, not for string"),
        ({"name": "x", "type": "string", "allowed": []}, "a list of 1 to 1,000 values"),
        ({"name": "x", "type": "string", "allowed": "RUN"}, "a list of 1 to 1,000 values"),
        ({"name": "x", "type": "string", "allowed": [1]}, "allowed has 1, which no string can be"),
        ({"name": "x", "type": "int", "allowed": [2**31]}, "which no int can be"),
        ({"name": "x", "type": "int", "allowed": [True]}, "which no int can be"),
        ({"name": "x", "type": "string", "allowed": ["a", "b", "a"]}, "allowed has 'a' twice"),
        ({"name": "x", "type": {"type": "enum", "name": "e", "symbols": ["A"]}, "allowed": ["A"]}, "Its symbols are"),
        ({"name": "x", "type": "string", "pattern": ""}, "1 to 500 characters"),
        ({"name": "x", "type": "string", "pattern": "a" * 501}, "1 to 500 characters"),
        ({"name": "x", "type": "string", "pattern": "(?=a)"}, "looking around and back-references"),
        ({"name": "x", "type": "string", "pattern": r"(a)\1"}, "looking around and back-references"),
        ({"name": "x", "type": "int", "minimum": 2**31}, "no int is as large as the minimum 2147483648"),
        ({"name": "x", "type": "long", "maximum": -(2.0**64)}, "no long is as small as the maximum"),
        ({"name": "x", "type": "boolean", "sentinels": [1]}, "for numbers and strings"),
        (
            {"name": "x", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4}, "minimum": 1},
            "not for decimal",
        ),
        ({"name": "x", "type": {"type": "array", "items": "int"}}, "an array needs a bound"),
        ({"name": "x", "type": {"type": "array", "items": "int"}, "max_items": 0}, "an array needs a bound"),
        ({"name": "x", "type": {"type": "array", "items": "int"}, "max_items": 2_000_000}, "an array needs a bound"),
        ({"name": "x", "type": ["null", "int"], "default": 0}, "must be null"),
        ({"name": "x", "type": "int", "default": 2**31}, "must be a value of int"),
        ({"name": "x", "type": "long", "default": True}, "must be a value of long"),
        (
            {"name": "x", "type": {"type": "enum", "name": "e", "symbols": ["A"]}, "default": "B"},
            "must be a value of enum",
        ),
        ({"name": "x y", "type": "int"}, "can't name a field"),
        ({"name": "9x", "type": "int"}, "can't name a field"),
        ({"name": 'x"; drop', "type": "int"}, "can't name a field"),
        ({"type": "int"}, "can't name a field"),
        ({"name": "_x", "type": "int"}, "leading underscore"),
        *(({"name": name, "type": "int"}, "the lake has a column of that name") for name in provenance.RESERVED),
        ({"name": "Device_ID", "type": "int"}, "SQL does not tell small letters from capitals"),
        ({"name": "device_id", "type": "string"}, "Rename one"),
    ],
)
def test_fields_that_are_refused(field: dict[str, Any], words: str) -> None:
    assert words in refusal(field)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([TIME, QUALITY], "required field device_id"),
        ([DEVICE, QUALITY], "required field event_time"),
        ([{**DEVICE, "type": ["null", "string"]}, TIME, QUALITY], "required field device_id"),
        ([DEVICE, {"name": "event_time", "type": "long"}, QUALITY], "required field event_time"),
        ([DEVICE, TIME], "the last field must be _quality"),
        ([QUALITY, DEVICE, TIME], "the last field must be _quality"),
        ([DEVICE, TIME, {"name": "_quality", "type": "string"}], "the last field must be _quality"),
        ([DEVICE, {**TIME, "max_gap_seconds": 9, "on_violation": {"max_gap": "reject"}}, QUALITY], "can only be flag"),
        ([DEVICE, {**TIME, "max_gap_seconds": 0}, QUALITY], "above 0, on event_time"),
        ([DEVICE, {**TIME, "minimum": 1, "on_violation": "clamp"}, QUALITY], "on_violation must be reject"),
        (
            [DEVICE, {**TIME, "minimum": 1, "on_violation": {"minimum": "flag"}}, QUALITY],
            "Only max_behind and monotonic may be flag",
        ),
    ],
)
def test_a_contract_without_what_every_contract_has_is_refused(fields: list[Any], words: str) -> None:
    assert words in refusal(fields=fields)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"type": "enum"}, """type is 'enum'; a contract's must be "record\""""),
        ({"name": "a b"}, "name and namespace must consist of letters"),
        ({"name": 7.5}, "name and namespace must consist of letters"),
        ({"fields": {}}, "fields must be a list of objects"),
        ({"fields": [1]}, "fields must be a list of objects"),
    ],
)
def test_what_is_not_a_record_is_refused(record: dict[str, Any], words: str) -> None:
    assert words in refusal(**record)


def test_every_problem_is_told_at_once_but_not_without_end() -> None:
    message = refusal({"name": "a", "type": "x"}, {"name": "b", "type": "y"})
    assert "field a" in message
    assert "field b" in message
    many = refusal(*({"name": f"f{i}", "type": "x"} for i in range(500)))
    assert len(many.splitlines()) == MAX_PROBLEMS + 1
    assert "and 480 more" in many


def test_named_types_are_resolved() -> None:
    axis = {"type": "record", "name": "axis", "namespace": "acme", "fields": [{"name": "rms", "type": "double"}]}
    c = contract(
        {"name": "x", "type": axis}, {"name": "y", "type": ["null", "acme.axis"], "default": None}, namespace="acme"
    )
    resolved = Node("record", members=(Member("rms", Node("double", size=8), {}),))
    assert c.field("x").type == resolved
    assert c.field("y").type == replace(resolved, nullable=True)
    again = contract({"name": "x", "type": axis}, {"name": "y", "type": "axis"}, namespace="acme")
    assert again.field("y").type == resolved


@pytest.mark.parametrize(
    "hostile",
    [
        "", "{", "null", "[]", "7", '"x"', "NaN", "\ud800", "{}", "x" * (MAX_TEXT + 1), "[" * 500_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        text({"name": "x", "type": 7}).replace("7", '{"type":' * 5_000 + '"int"' + "}" * 5_000),
        text({"name": "x", "type": 7}).replace("7", '{"type":"array","items":' * 900 + '"int"' + "}" * 900),
        text({"name": "x", "type": 7}).replace(
            "7", '{"type":"record","name":"a","fields":[{"name":"a","type":' * 240 + '"int"' + "}]}" * 240
        ),
    ],
)  # fmt: skip
def test_hostile_text_is_a_config_error(hostile: str) -> None:
    with pytest.raises(ConfigError):
        parse("x", hostile)


def chained(records: int, references: int) -> list[dict[str, Any]]:
    """Fields of records, each of which refers so many times to the one before it."""
    fields: list[dict[str, Any]] = []
    for i in range(records):
        inner = (
            [{"name": f"a{j}", "type": f"R{i - 1}"} for j in range(references)] if i else [{"name": "a", "type": "int"}]
        )
        fields.append({"name": f"f{i}", "type": {"type": "record", "name": f"R{i}", "fields": inner}})
    return fields


def test_named_types_do_not_explode() -> None:
    assert "more than 5000 types" in refusal(*chained(8, 30))


def test_references_count_as_depth() -> None:
    assert "nested more than" in refusal(*chained(12, 1))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    ["int", "double", "null", "record", "array", "enum", "fixed", "map", "x", "pump", "", "timestamp-micros", "decimal"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["type", "name", "items", "fields", "symbols", "size", "logicalType", "precision", "default", "minimum",
     "sentinels", "aliases", "namespace", "max_items", "values", "unit", "role"]
)  # fmt: skip
JSON = st.recursive(LEAVES, lambda j: st.lists(j, max_size=3) | st.dictionaries(KEYS, j, max_size=4), max_leaves=20)


@given(JSON, st.dictionaries(KEYS, JSON, max_size=4))
def test_any_schema_is_a_contract_or_a_config_error(schema: Any, attributes: dict[str, Any]) -> None:
    try:
        c = parse("pump", text({**attributes, "name": "x", "type": schema}))
    except ConfigError:
        return
    assert c.field("x").kind in {k[1] for k in KINDS}
