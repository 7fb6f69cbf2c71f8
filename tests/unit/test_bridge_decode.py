"""Payloads to readings: the fast way and the exact way agree, and what can't be a reading says why."""

import io
import json
import math
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading, Refused, Skipped, Source
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.json import elements
from bridge.decoders.json.decoder import JsonDecoder
from headrace.contracts.files import find
from headrace.contracts.model import Contract, parse
from headrace.errors import Reason

NOW = 1_700_000_000_000_000
TOPIC = Source({"device_id": "d-1"})
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
BASE: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
]
IMU = find("imu")
GOOD = {"event_time": NOW, "ax": 0.5, "ay": 1, "az": 9.8, "gx": 0, "gy": 0, "gz": 0}


def contract(*fields: dict[str, Any]) -> Contract:
    return parse("r", json.dumps({"type": "record", "name": "r", "fields": [*BASE, *fields, QUALITY]}))


def read(it: Contract, value: bytes) -> dict[str, Any]:
    """What fastavro reads from a framed value; times stay numbers."""
    names = [f for f in it.schema["fields"] if f["name"] == "event_time"]
    plain = {**it.schema, "fields": [{**f, "type": "long"} if f in names else f for f in it.schema["fields"]]}
    body = io.BytesIO(value[5:])
    found = fastavro.schemaless_reader(body, fastavro.parse_schema(plain), None)
    assert not body.read()
    assert isinstance(found, dict)
    return found


def one(it: Contract, payload: Any, source: Source = TOPIC) -> Any:
    """The row that a payload becomes, or the reason and field of its refusal."""
    text = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    (found,) = JsonDecoder(it, 7, tuple(source.captures)).decode(text, source, NOW)
    if isinstance(found, Refused):
        assert found.original == text
        return found.error.reason, found.error.field
    assert isinstance(found, Reading)
    assert found.value[:5] == b"\0\0\0\0\7"
    return read(it, found.value)


def x(kind: Any, value: Any, **rules: Any) -> Any:
    """What the value of a field `x` becomes."""
    found = one(contract({"name": "x", "type": kind, **rules}), {"x": value})
    return found["x"] if isinstance(found, dict) else found


WRONG = (Reason.WRONG_TYPE, "x")
TIME = {"type": "long", "logicalType": "timestamp-micros"}
ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"]}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("double", 1, 1.0), ("double", -(2**53), -float(2**53)),
        ("double", 2**53, float(2**53)), ("double", "1", WRONG), ("double", True, WRONG),
        ("double", [1], WRONG), ("double", {"a": 1}, WRONG), ("double", None, (Reason.MISSING_FIELD, "x")),
        ("float", 0.5, 0.5), ("float", 3.4e38, pytest.approx(3.4e38, rel=1e-6)), ("float", 1e39, WRONG),
        ("float", -1e39, WRONG), ("float", True, WRONG),
        ("int", 2**31 - 1, 2**31 - 1), ("int", -(2**31), -(2**31)), ("int", 2**31, WRONG), ("int", 1.0, 1),
        ("int", 1.5, WRONG), ("int", "1", WRONG), ("int", False, WRONG),
        ("long", 2**63 - 1, 2**63 - 1), ("long", -(2**63), -(2**63)), ("long", 2**63, WRONG), ("long", 1e18, WRONG),
        ("string", "ü", "ü"), ("string", "", ""), ("string", 1, WRONG), ("string", True, WRONG),
        ("boolean", True, True), ("boolean", 1, WRONG), ("boolean", "true", WRONG),
        ("bytes", "AAE=", b"\0\1"), ("bytes", "?", WRONG), ("bytes", 1, WRONG),
        (ENUM, "B", "B"), (ENUM, "C", WRONG), (ENUM, 0, WRONG),
        (["null", "double"], None, (Reason.MISSING_FIELD, "")), (["null", "double"], "high", WRONG),
        ({"type": "fixed", "name": "f", "size": 2}, "AAE=", b"\0\1"),
        ({"type": "fixed", "name": "f", "size": 3}, "AAE=", WRONG),
    ],
)  # fmt: skip
def test_types(kind: Any, value: Any, expected: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        payload = json.dumps({"x": value}).encode()
        found = one(contract({"name": "x", "type": kind}), payload)
        assert (found["x"] if isinstance(found, dict) else found) == expected
        return
    assert x(kind, value) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (NOW, "us", NOW), (NOW // 1000, "ms", NOW), (NOW // 10**6, "s", NOW), (NOW * 1000 + 999, "ns", NOW),
        (1_700_000_000.123456, "s", 1_700_000_000_123_456),
        ("2023-11-14T22:13:20Z", "s", NOW), ("2023-11-14T22:13:20", "us", NOW),
        ("2023-11-14T23:13:20+01:00", "us", NOW), ("1969-12-31T23:59:59.999999Z", "us", -1),
        ("yesterday", "us", WRONG), (True, "us", WRONG), ([], "us", WRONG), (1e300, "us", (Reason.OUT_OF_RANGE, "")),
        ("0001-01-01T00:00:00+23:59", "us", -62_135_683_140_000_000),
    ],
)  # fmt: skip
def test_times(value: Any, unit: str, expected: Any) -> None:
    fields = [BASE[0], {**BASE[1], "time_unit": unit}, QUALITY]
    it = parse("r", json.dumps({"type": "record", "name": "r", "fields": fields}))
    found = one(it, {"event_time": value})
    if isinstance(expected, tuple):
        assert found == (expected[0], "event_time")
    else:
        assert found["event_time"] == expected


def test_text_sentinels_become_null_with_a_note_and_are_refused_where_a_value_must_be() -> None:
    it = contract({"name": "x", "type": ["null", "double"], "default": None, "sentinels": ["NA", -200]})
    assert one(it, {"x": "NA"}) == {"device_id": "d-1", "event_time": NOW, "x": None, "_quality": "x:sentinel:null"}
    assert one(it, {"x": -200})["_quality"] is None, "numbers are clean's to judge"
    assert one(it, {"x": "na"}) == WRONG
    assert x("double", "NA", sentinels=["NA"]) == (Reason.SENTINEL, "x")
    assert x("string", "NA", sentinels=["NA"]) == (Reason.SENTINEL, "x")


def test_aliases_and_fields_given_twice() -> None:
    it = contract({"name": "x", "type": "double", "aliases": ["x_acc"]})
    assert one(it, {"x_acc": 2})["x"] == 2
    assert one(it, {"x": 1, "x_acc": 2}) == (Reason.MALFORMED, "x")
    assert one(it, b'{"x": 1, "x": 2}')["x"] == 2, "of equal keys the last counts"


def test_aliases_inside_an_object() -> None:
    inner = [{"name": "t", "type": "double", "aliases": ["temp(°C)"]}, {"name": "u", "type": ["null", "int"]}]
    air = {"type": "record", "name": "air", "fields": inner}
    assert x(air, {"temp(°C)": 7.5, "u": 1}) == {"t": 7.5, "u": 1}
    assert x(air, {"t": 7.5}) == {"t": 7.5, "u": None}
    assert x(air, {"temp(°C)": 7.5, "t": 7.5}) == (Reason.MALFORMED, "x")
    assert x(air, {"temp": 7.5}) == (Reason.UNKNOWN_FIELD, "x.temp")


def test_unknown_fields_are_refused_or_ignored() -> None:
    it = contract({"name": "x", "type": "double"})
    assert one(it, {"x": 1, "y": 2}) == (Reason.UNKNOWN_FIELD, "y")
    assert one(it, {"x": 1, "y": 2}, Source(TOPIC.captures, "ignore"))["x"] == 1
    assert one(it, {"x": 1, "_quality": "fine"}) == (Reason.UNKNOWN_FIELD, "_quality")


def test_arrays() -> None:
    it = contract({"name": "x", "type": {"type": "array", "items": "float"}, "max_items": 3})
    assert one(it, {"x": [1, 2.5]})["x"] == [1.0, 2.5]
    assert one(it, {"x": []})["x"] == []
    assert one(it, {"x": [1, 2, 3, 4]}) == (Reason.TOO_LARGE, "x")
    assert one(it, {"x": [1, None]}) == (Reason.MISSING_FIELD, "x")
    assert one(it, {"x": [1, "2"]}) == WRONG
    assert one(it, {"x": [1e39]}) == WRONG
    assert one(it, {"x": 1}) == WRONG


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [("12345678901234567890123456789012345.67", 2, True),
     ("1.234", 2, False), ("NaN", 2, False), ("1e9999999", 2, False)],
)  # fmt: skip
def test_decimals_are_exact_or_refused(text: str, scale: int, expected: bool) -> None:
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": scale}
    found = x(kind, text)
    assert (str(found) == text) if expected else (found == WRONG)


@pytest.mark.parametrize(
    "payload",
    [b"", b" ", b"42", b"null", b'"text"', b"{", b'{"ax": "NaN}', b'{"ax": nanny}', b'{"ax": 1e999}', b"\xff\xfe",
     b'{"label": "\\ud800"}', b'{"label": "\xff"}', b"[" * 100_000, b"{}{}", b'{"ax": 1' + b"0" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_not_json_is_malformed(payload: bytes) -> None:
    assert one(IMU, payload)[0] is Reason.MALFORMED


def test_devices() -> None:
    assert one(IMU, {**GOOD, "device_id": "d-2"}) == (Reason.DEVICE_MISMATCH, "device_id")
    assert one(IMU, {**GOOD, "device_id": "d-1"})["device_id"] == "d-1"
    assert one(IMU, {**GOOD, "device_id": "../x"}, Source()) == (Reason.BAD_NAME, "device_id")
    assert one(IMU, {**GOOD, "device_id": "d-9"}, Source())["device_id"] == "d-9"
    assert one(IMU, GOOD, Source()) == (Reason.MISSING_FIELD, "device_id")


def test_what_identifies_a_reading() -> None:
    def identified(**more: Any) -> bool:
        payload = orjson.dumps({k: v for k, v in {**GOOD, **more}.items() if v != "absent"})
        (found,) = JsonDecoder(IMU, 1, ("device_id",)).decode(payload, TOPIC, NOW)
        assert isinstance(found, Reading)
        return found.identified

    assert identified()
    assert not identified(event_time="absent")
    assert not identified(event_time=None)
    assert not identified(event_time="absent", sequence=1)
    assert identified(event_time="absent", sequence=1, boot_id="b")


def test_an_array_keeps_its_order_and_each_bad_element_is_refused_alone() -> None:
    rows = [{**GOOD, "ax": float(i)} for i in range(4)]
    rows[2]["ax"] = "high"  # type: ignore[assignment]
    found = JsonDecoder(IMU, 1, ("device_id",)).decode(orjson.dumps(rows), TOPIC, NOW)
    assert [read(IMU, f.value)["ax"] for f in found if isinstance(f, Reading)] == [0.0, 1.0, 3.0]
    (refused,) = [f for f in found if isinstance(f, Refused)]
    assert found.index(refused) == 2
    assert refused.original == orjson.dumps(rows[2])


def test_an_empty_array_is_skipped() -> None:
    assert JsonDecoder(IMU, 1).decode(b" [] ", TOPIC, NOW) == [Skipped("empty")]


def test_an_array_of_too_many_elements_is_one_dead_letter() -> None:
    many = b"[" + b"{}, " * MAX_ELEMENTS + b"{}]"
    (found,) = JsonDecoder(IMU, 1).decode(many, TOPIC, NOW)
    assert isinstance(found, Refused)
    assert (found.error.reason, found.original) == (Reason.TOO_LARGE, many)
    assert not elements.too_many(b"[" + b"{}, " * (MAX_ELEMENTS - 1) + b"{}]")
    assert not elements.too_many(b'[{"x":[' + b"1," * MAX_ELEMENTS * 2 + b"1]}]"), "items of one element"
    assert not elements.too_many(b'{"x":[' + b"1," * MAX_ELEMENTS * 2 + b"1]}")


NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.just("NA")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)
MIXED = contract(
    {"name": "d", "type": ["null", "double"], "default": None},
    {"name": "f", "type": ["null", "float"], "default": None},
    {"name": "i", "type": ["null", "int"], "default": None},
    {"name": "l", "type": ["null", "long"], "default": None},
    {"name": "s", "type": ["null", "string"], "default": None, "sentinels": ["NA"]},
    {"name": "b", "type": ["null", "boolean"], "default": None},
    {"name": "a", "type": ["null", {"type": "array", "items": "double"}], "default": None, "max_items": 2},
)


@given(st.dictionaries(st.sampled_from(["device_id", "event_time", "d", "f", "i", "l", "s", "b", "a", "zz"]), ANY))
def test_the_fast_way_and_the_exact_way_agree_and_raise_nothing(row: dict[str, Any]) -> None:
    payload = orjson.dumps(row)
    decoder = JsonDecoder(MIXED, 1, ("device_id",))
    fast = decoder.decode(payload, TOPIC, NOW)
    exact = decoder._decode_exactly(payload, TOPIC, NOW)
    if isinstance(fast[0], Reading):
        assert fast == exact
        assert all(math.isfinite(v) for v in read(MIXED, fast[0].value).values() if isinstance(v, float))
    else:
        assert isinstance(exact[0], Refused)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_reading_or_refused(payload: bytes) -> None:
    for found in JsonDecoder(IMU, 1, ("device_id",)).decode(payload, TOPIC, NOW):
        assert isinstance(found, Refused)


def test_captures_fill_fields_that_the_payload_leaves_out() -> None:
    source = Source({"device_id": "d-1", "label": "WALKING"})
    assert one(IMU, GOOD, source)["label"] == "WALKING"
    assert one(IMU, {**GOOD, "label": "RUNNING"}, source)["label"] == "RUNNING"
