"""One plain value a topic: what is a reading, what is refused and in which words, and which routes can't work."""

import io
import json
import math
import re
import time
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.decoders.base import Reading, Refused, Skipped, Source
from bridge.decoders.value import MAX_BYTES, ValueDecoder
from headrace.config import Config
from headrace.config.routes import contract_problems
from headrace.contracts.files import find
from headrace.contracts.model import Contract, parse
from headrace.contracts.onevalue import problems
from headrace.errors import ConfigError, Reason
from headrace.operate import selftest
from tests.unit import payload_formats as pf
from tests.unit.intake_world import Packet, World, skipped

NOW = 1_700_000_000_123_456
BASE: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
]
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
HERE = Source({"device_id": "d-1"})


def contract(*fields: dict[str, Any]) -> Contract:
    return parse("r", json.dumps({"type": "record", "name": "r", "fields": [*BASE, *fields, QUALITY]}))


def row(it: Contract, value: bytes) -> dict[str, Any]:
    """What fastavro reads; `event_time` stays a number."""
    return read(
        {**it.schema, "fields": [BASE[0], {"name": "event_time", "type": "long"}, *it.schema["fields"][2:]]}, value
    )


def read(schema: Any, value: bytes) -> dict[str, Any]:
    body = io.BytesIO(value[5:])
    found = fastavro.schemaless_reader(body, fastavro.parse_schema(schema), None)
    assert not body.read()
    assert isinstance(found, dict)
    return found


def without_logical_types(schema: Any) -> Any:
    """A calendar and a decimal context have bounds that the bytes have not."""
    if isinstance(schema, dict):
        return {k: without_logical_types(v) for k, v in schema.items() if k != "logicalType"}
    return [without_logical_types(s) for s in schema] if isinstance(schema, list) else schema


def x(kind: Any, payload: bytes, **rules: Any) -> Any:
    """What the value of a field `x` becomes, or the reason of its refusal."""
    it = contract({"name": "x", "type": kind, **rules})
    (found,) = ValueDecoder(it, 7, ("device_id",), "x").decode(payload, HERE, NOW)
    if isinstance(found, Refused):
        assert found.original == payload
        return found.error.reason
    assert isinstance(found, Reading)
    assert found.device == "d-1"
    return row(it, found.value)["x"]


def words(kind: Any, payload: bytes) -> str:
    it = contract({"name": "x", "type": ["null", kind], "default": None})
    (found,) = ValueDecoder(it, 7, ("device_id",), "x").decode(payload, HERE, NOW)
    assert isinstance(found, Refused)
    return str(found.error)


TIME = {"type": "long", "logicalType": "timestamp-millis"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}
ENUM = {"type": "enum", "name": "e", "symbols": ["DRY", "WET"]}


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("double", b"21.5", 21.5), ("double", b"-3", -3.0), ("double", b"+.5e1", 5.0), ("double", b"7.", 7.0),
        ("double", b" 21.5\r\n", 21.5), ("double", b"21.5\0", 21.5), ("double", b"21.5\n\0\0", 21.5),
        ("double", b"\xef\xbb\xbf21.5", 21.5), ("double", b'"21.5"', 21.5), ("double", b"9" * 300, float("9" * 300)),
        ("double", b"1e999", Reason.WRONG_TYPE), ("double", b"9" * 400, Reason.WRONG_TYPE),
        ("double", b"21,5", Reason.WRONG_TYPE), ("double", b"21.5 C", Reason.WRONG_TYPE),
        ("double", b"1_000", Reason.WRONG_TYPE), ("double", "٣".encode(), Reason.WRONG_TYPE),
        ("double", b"true", Reason.WRONG_TYPE), ("double", b'{"x": 1}', Reason.WRONG_TYPE),
        ("double", b"0x10", Reason.WRONG_TYPE), ("double", b"1.2.3", Reason.WRONG_TYPE),
        ("double", b"NaN", Reason.NOT_FINITE), ("double", b"-Infinity", Reason.NOT_FINITE),
        ("double", b"inf", Reason.NOT_FINITE),
        ("double", b"", Reason.MISSING_FIELD), ("double", b" \0", Reason.MISSING_FIELD),
        ("double", b"\xff\xfe2\0", Reason.MALFORMED), ("double", b"1" * (MAX_BYTES + 1), Reason.TOO_LARGE),
        ("float", b"0.5", 0.5), ("float", b"1e39", Reason.WRONG_TYPE),
        ("int", b"42", 42), ("int", b"42.0", 42), ("int", b"42.5", Reason.WRONG_TYPE),
        ("int", b"2147483648", Reason.WRONG_TYPE), ("long", b"-9223372036854775808", -(2**63)),
        ("long", b"9" * 4000, Reason.WRONG_TYPE),
        ("boolean", b"true", True), ("boolean", b"OFF", False), ("boolean", b"1", True),
        ("boolean", b"yes", Reason.WRONG_TYPE),
        ("string", b"text", "text"), ("string", b'"text"', "text"), ("string", b'" a \\n"', " a \n"),
        ("string", b" two words \n", "two words"), ("string", b'"a" and "b"', '"a" and "b"'),
        ("string", b'"\\ud800"', '"\\ud800"'), ("string", b'"', '"'), ("string", "ü".encode(), "ü"),
        ("string", b"12", "12"), ("string", b"", Reason.MISSING_FIELD),
        (ENUM, b"WET", "WET"), (ENUM, b"wet", Reason.WRONG_TYPE),
        ("bytes", b"AAE=", b"\0\1"), ("bytes", b"?", Reason.WRONG_TYPE),
    ],
)  # fmt: skip
def test_values(kind: Any, payload: bytes, expected: Any) -> None:
    assert x(kind, payload) == expected


def test_times_and_exact_numbers() -> None:
    assert x(TIME, b"2023-11-14T22:13:20Z").isoformat() == "2023-11-14T22:13:20+00:00"
    assert x(TIME, b"1700000000", time_unit="s").isoformat() == "2023-11-14T22:13:20+00:00"
    assert x(TIME, b"yesterday") == Reason.WRONG_TYPE
    assert str(x(DECIMAL, b"1234567890123456789012345.67")) == "1234567890123456789012345.67"
    assert x(DECIMAL, b"1.234") == x(DECIMAL, b"1_0") == Reason.WRONG_TYPE


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21,5", "x: a number expected, not '21,5'. Send 21.5: with a decimal point"),
        (b"21.5 C", "x: a number expected, not '21.5 C'. Send the number alone, without a unit"),
        (
            b"-",
            (
                "x: a number expected, not '-'. If it means that there is no value, "
                "add it to the field's sentinels in the contract"
            ),
        ),
        (b"nan", "x: nan is not a value. If the device means that it has none, add it to the field's sentinels"),
        (b"", "x: the field is empty: a value is expected, such as 21.5 or true"),
        (b"x" * 5000, "5,000 bytes: a plain value has up to 4,096. Is it another format?"),
        (b"\xff", "a plain value is text in UTF-8, such as 21.5, and these bytes are not"),
    ],
)
def test_a_refusal_says_what_to_do(payload: bytes, expected: str) -> None:
    assert words("double", payload) == expected


def test_a_reading_has_the_time_of_its_arrival_the_topic_s_names_and_defaults_and_is_not_identified() -> None:
    it = contract(
        {"name": "room", "type": "string"},
        {"name": "floor", "type": "string", "default": "ground"},
        {"name": "heat", "type": ["null", "double"], "default": None},
        {"name": "count", "type": ["null", "long"], "default": None},
    )
    decoder = ValueDecoder(it, 7, ("device_id", "room"), "heat")
    source = Source({"device_id": "d-1", "room": "attic"})
    (found,) = decoder.decode(b"20", source, NOW)
    assert isinstance(found, Reading)
    assert (found.identified, found.value[:5]) == (False, b"\0\0\0\0\7")
    assert row(it, found.value) == {
        "device_id": "d-1", "event_time": NOW, "room": "attic", "floor": "ground", "heat": 20.0, "count": None,
        "_quality": None,
    }  # fmt: skip
    assert decoder.element(b"20", 0) == b"20"
    assert decoder.marks(b"20") == {}


def test_a_time_that_names_no_zone_is_in_the_route_s() -> None:
    it = pf.contract(at={"type": "long", "logicalType": "timestamp-millis"})
    decoder = pf.decoder(it, format="value", field="at", time_zone="Asia/Tokyo")
    (found,) = decoder.decode(b"2026-03-01T10:00:00", HERE, NOW)
    assert isinstance(found, Reading)
    assert read(without_logical_types(it.schema), found.value)["at"] == 1_772_326_800_000


def test_sentinels_in_words_become_null_with_a_note_or_are_refused_where_a_value_must_be() -> None:
    it = contract({"name": "x", "type": ["null", "double"], "default": None, "sentinels": ["nan", "", -200]})
    for payload in (b"nan", b"", b" \n", b'""'):
        (found,) = ValueDecoder(it, 1, ("device_id",), "x").decode(payload, HERE, NOW)
        assert isinstance(found, Reading)
        assert row(it, found.value) | {"event_time": 0} == {
            "device_id": "d-1", "event_time": 0, "x": None, "_quality": "x:sentinel:null",
        }  # fmt: skip
    assert x("double", b"-200", sentinels=[-200]) == -200, "numbers are clean's to judge"
    needed = contract({"name": "x", "type": "double", "sentinels": ["nan"]})
    (found,) = ValueDecoder(needed, 1, ("device_id",), "x").decode(b"nan", HERE, NOW)
    assert isinstance(found, Refused)
    assert found.error.reason is Reason.SENTINEL


def test_the_topic_may_name_the_field_by_its_name_or_an_alias() -> None:
    it = contract(
        {"name": "heat", "type": ["null", "double"], "default": None, "aliases": ["temp"]},
        {"name": "on", "type": ["null", "boolean"], "default": None},
        {"name": "list", "type": ["null", {"type": "array", "items": "int"}], "default": None, "max_items": 2},
    )
    decoder = ValueDecoder(it, 1, ("device_id",))

    def named(field: str, payload: bytes, unknown: Any = "refuse") -> Any:
        (found,) = decoder.decode(payload, Source({"device_id": "d-1", "field": field}, unknown), NOW)
        return row(it, found.value) if isinstance(found, Reading) else found

    assert named("heat", b"1")["heat"] == named("temp", b"1")["heat"] == 1.0
    assert named("on", b"on")["on"] is True
    for other in ("humidity", "list", "device_id", "event_time", "_quality", "$state"):
        refused = named(other, b"1")
        assert isinstance(refused, Refused)
        assert (refused.error.reason, refused.error.field) == (Reason.UNKNOWN_FIELD, other)
        assert named(other, b"1", "ignore") == Skipped("ignored")
    assert decoder.ignored == 6


EVERY = contract(
    *({"name": f"f{i}", "type": ["null", kind], "default": None} for i, kind in enumerate(
        ["double", "float", "int", "long", "boolean", "string", "bytes", TIME, DECIMAL,
         {"type": "fixed", "name": "fx", "size": 2}]
    )),
    {"name": "e", "type": ENUM, "default": "DRY"},
)  # fmt: skip
NAMES = [f.name for f in EVERY.fields if f.name.startswith(("f", "e")) and f.name != "event_time"]


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=40).map(lambda t: t.encode(errors="replace")),
        st.from_regex(re.compile(r'[ "]?[+-]?[0-9.,eE]{0,40}[ "\0]?', re.ASCII), fullmatch=True).map(str.encode),
    ),
    st.sampled_from([*NAMES, "other", ""]),
)
@example(b"1" * MAX_BYTES, "f2")
@example(b"1e" + b"9" * (MAX_BYTES - 2), "f8")
def test_no_payload_raises_and_what_is_read_is_finite(payload: bytes, name: str) -> None:
    decoder = ValueDecoder(EVERY, 1, ("device_id",))
    (found,) = decoder.decode(payload, Source({"device_id": "d-1", "field": name}), NOW)
    if isinstance(found, Reading):
        values = read(without_logical_types(EVERY.schema), found.value)
        assert values[name] is not None
        assert all(math.isfinite(v) for v in values.values() if isinstance(v, float))
    else:
        assert isinstance(found, Refused)
        assert found.original == payload


def test_a_payload_that_looks_like_a_number_to_its_last_byte_does_not_hold_up_the_others() -> None:
    """It took a second of the one thread that reads: any device could stop the bridge for all others."""
    decoder = ValueDecoder(contract({"name": "x", "type": "double"}), 1, ("device_id",), "x")
    began = time.process_time()
    (found,) = decoder.decode(b"1" * (MAX_BYTES - 1) + b"x", HERE, NOW)
    assert time.process_time() - began < 0.1
    assert isinstance(found, Refused)


ENVIRONMENT = find("environment")


@pytest.mark.parametrize(
    ("captures", "field", "expected"),
    [
        (["device_id"], "", "nothing says which field the value is for. Add `field`, such as temperature, humidity, "),
        (["device_id", "field"], "noise", "both `field` and {field} say which field"),
        (["field"], "", "Write {device_id} for the level of the topic"),
        (
            ["device_id"],
            "temp",
            "the contract environment has no field temp that one value can fill. It has temperature",
        ),
        (["device_id"], "event_time", "no field event_time that one value can fill"),
        (["device_id"], "device_id", "no field device_id that one value can fill"),
        (["device_id", "boot_id"], "boot_id", "the topic fills it already, by {boot_id}"),
    ],
)
def test_a_route_that_can_not_work_is_told_what_is_missing(captures: list[str], field: str, expected: str) -> None:
    (problem,) = problems(ENVIRONMENT, captures, field)
    assert expected in problem


def test_a_contract_that_needs_more_than_one_value_is_refused_unless_the_topic_has_the_rest() -> None:
    it = contract(
        {"name": "room", "type": "string"}, {"name": "heat", "type": "double"}, {"name": "damp", "type": "double"},
        {"name": "floor", "type": "string", "default": "ground"},
    )  # fmt: skip
    (problem,) = problems(it, ["device_id"], "heat")
    assert "every reading of the contract r needs room, damp." in problem
    (problem,) = problems(it, ["device_id", "room", "field"], "")
    assert "needs heat, damp." in problem
    alone = contract({"name": "room", "type": "string"}, {"name": "heat", "type": "double"})
    assert list(problems(alone, ["device_id", "room"], "heat")) == []


def route_problems(**route: str) -> list[str]:
    return list(contract_problems(Config.model_validate({"streams": {"environment": {"routes": [route]}}})))


def test_the_configuration_check_knows_the_routes_of_plain_values() -> None:
    assert route_problems(filter="{device_id}/temperature", format="value", field="temperature") == []
    assert route_problems(filter="{device_id}/{field}", format="value") == []
    (problem,) = route_problems(filter="{device_id}/t", format="value")
    assert problem.startswith("streams.environment.routes[0]: format value: nothing says")
    (problem,) = route_problems(filter="{device_id}/t", field="temperature")
    assert problem.startswith("streams.environment.routes[0].field: only a route with `format: value`")
    (problem,) = route_problems(filter="{device_id}/{field}")
    assert "{field} is not a text field" in problem, "a JSON payload names its fields itself"
    with pytest.raises(ValueError, match="'json', 'value'"):
        route_problems(filter="{device_id}/t", format="xml")


NAMED = {"filter": "env/{device_id}/{field}", "format": "value"}


def world(**route: str) -> World:
    return World((), streams={"environment": {"routes": [route]}})


def test_the_bridge_takes_plain_values_and_can_not_tell_copies() -> None:
    it = world(filter="{device_id}/temperature", format="value", field="temperature")
    a, b, letter = it.take(
        Packet("d-1/temperature", b"21.5\n"), Packet("d-1/temperature", b"21.5\n"), Packet("d-1/temperature", b"21,5")
    )
    assert (a.topic, a.key) == (b.topic, b.key) == ("environment.raw", b"d-1")
    assert a.headers["event-id"] != b.headers["event-id"]
    assert (letter.topic, letter.value, letter.headers["field"]) == ("dead-letters", b"21,5", b"temperature")


def test_topics_that_name_no_field_are_dead_letters_or_ignored_and_answered() -> None:
    it = world(**NAMED)
    (letter,) = it.take(Packet("env/d-1/$state", b"ready"))
    assert (letter.headers["reason"], letter.headers["field"]) == (b"unknown_field", b"$state")
    it = world(**NAMED, unknown_fields="ignore")
    before = skipped("ignored")
    assert it.take(Packet("env/d-1/$state", b"ready", response_topic="receipts/d-1")) == []
    assert skipped("ignored") == before + 1
    assert it.wire.acknowledged == [1]
    assert b'"status":"skipped","readings":0,"dead_letters":0,"reason":"ignored"' in it.wire.sent[0]


def test_a_name_that_is_not_allowed_is_never_part_of_a_receipt_s_topic() -> None:
    it = world(**NAMED, unknown_fields="ignore", receipt="receipts/{device_id}/{field}")
    it.take(Packet("env/d-1/$state", b"ready"))
    assert it.wire.sent == []
    it.take(Packet("env/d-1/state", b"ready", packet_id=2))
    assert b"receipts/d-1/state" in it.wire.sent[0]


def test_headrace_itself_publishes_json_by_the_first_route_for_it() -> None:
    plain = {"filter": "env/{device_id}/{field}", "format": "value"}
    config = Config.model_validate({"streams": {"environment": {"routes": [plain, "sensors/{device_id}/air"]}}})
    assert selftest.message(config, "environment").topic.endswith("/air")
    only = Config.model_validate({"streams": {"environment": {"routes": [plain]}}})
    with pytest.raises(ConfigError, match="no route for JSON"):
        selftest.message(only, "environment")
