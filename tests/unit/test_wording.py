"""What a refusal tells a person: what came instead, in which unit and on which date, and what to do."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Refused, Skipped, Source
from bridge.decoders.json.decoder import JsonDecoder
from headrace.contracts import times
from headrace.contracts.model import Contract, parse
from processors.avro.codec import Codec
from processors.clean.rules.contract import ContractRules
from tests.unit.payload_formats import HERE, decoder, refusal
from tests.unit.payload_formats import contract as columns_of

NOW_MS = 1_795_428_000_000
FIRST = 946684800000000  # 2000-01-01
TIME = {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "minimum": FIRST}
N = {"name": "n", "type": ["null", "long"], "default": None}
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
PYTHON = {"NoneType", "str", "int", "float", "bool", "dict", "tuple", "codec", "DecodeError"}  # and no word of English


def contract(**attributes: Any) -> Contract:
    fields = [{"name": "device_id", "type": "string"}, TIME | attributes, {"name": "x", "type": "double"}, N, QUALITY]
    return parse("r", json.dumps({"type": "record", "name": "r", "fields": fields}))


def refused(payload: bytes) -> str:
    (found,) = JsonDecoder(contract(), 1, ("device_id",)).decode(payload, Source({"device_id": "d"}), NOW_MS * 1000)
    assert isinstance(found, Refused)
    return str(found.error)


def judged(ticks: int, **attributes: Any) -> str:
    it = contract(**attributes)
    codec = Codec(it.schema)
    batch = codec.decode(
        [codec.write(1, {"device_id": "d", "event_time": ticks, "x": 1.0, "n": None, "_quality": None})]
    )
    verdicts = ContractRules(it).judge(batch.frame, np.full(1, NOW_MS, dtype=np.int64))
    return str(verdicts.refused[0])


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "not JSON: the payload is empty. Have the device send a JSON object"),
        (b" \n", "the payload is blank"),
        (b'{"x": 1, "y', "it ends in the middle, after 11 bytes"),
        (b'{"x": 1,}', "trailing comma in object at byte 8, in '{\"x\": 1,}'. Leave it out"),
        (b"{'x': 1}", "Keys and texts stand in double quotes"),
        (b"21.5", "not a number. A route with `format: value` takes such payloads"),
        (b"21,5", "'21,5' is one plain value. A route with `format: value` takes such payloads"),
        (b"21,5 C", "is one plain value"),
        (b"<html>", "it looks like XML or HTML"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"\x00\xff\x10", "byte 1 is no text in UTF-8: 00 ff 10"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'{"x": 1}{"x": 2}', "at byte"),
        (b"[null]", "a JSON object expected, or an array of objects, not null"),
        (b"[[1]]", "not a list"),
        (b"[true]", "not true or false"),
    ],
)
def test_bytes_that_are_no_json_object_are_told_from_each_other(payload: bytes, words: str) -> None:
    assert words in refused(payload)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"x": None}, "x: the field is null. If it may be, make it optional in the contract"),
        ({"event_time": 1795428000000000}, "x: the field is missing. If it may be, make it optional"),
        ({"x": "21,5"}, "x: a number expected, not text: 21,5. Send 21.5: with a decimal point"),
        ({"x": "NaN"}, "not text: NaN. If it means that there is no value, add it to the field's sentinels"),
        ({"x": "21 C"}, "Send the number alone, without a unit"),
        ({"x": True}, "x: a number expected, not true or false: true"),
        ({"x": [1]}, "not a list: 1 item"),
        ({"x": 1, "n": 1.5}, "n: a whole number expected, not a number: 1.5. Make it a double in the contract"),
        (
            {"x": 1, "n": 2**64 - 1},
            "n: a whole number of 64 bits expected, not a whole number: 18446744073709551615. Make",
        ),
        ({"x": 1, "event_time": 1795428000}, "1970-01-01T00:29:55Z (did you mean seconds, 2026-11-23? Then set"),
        ({"x": 1, "y": 2}, "y: the contract has no such field. Add it there, or as an alias"),
        ({"x": 1, "device_id": "e"}, "the topic says d, the payload 'e'. A device publishes under its own id"),
    ],
)
def test_a_value_that_is_refused_is_named_with_what_to_do(payload: dict[str, Any], words: str) -> None:
    assert words in refused(json.dumps(payload).encode())


@given(st.binary(max_size=40) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_refusal_names_a_type_of_python(payload: bytes | str) -> None:
    text = payload if isinstance(payload, bytes) else payload.encode()
    for found in JsonDecoder(contract(), 1, ("device_id",)).decode(text, Source({"device_id": "d"}), 0):
        assert isinstance(found, Refused | Skipped)
        if isinstance(found, Skipped):
            continue
        words = str(found.error).split("'")[0].split('"')[0]  # not what the payload itself says
        assert not PYTHON & set(words.replace(":", " ").replace(".", " ").split()), words


@pytest.mark.parametrize(
    ("ticks", "attributes", "words"),
    [
        (
            1795428000,
            {},
            "event_time = 1795428000 us, 1970-01-01T00:29:55Z (did you mean seconds, 2026-11-23? Then set ",
        ),
        (1795428000, {}, 'set "time_unit": "s" in the contract), is below the minimum of 2000-01-01T00:00:00Z'),
        (1795428000_000, {}, "did you mean milliseconds, 2026-11-23?"),
        (1795428000_000, {"time_unit": "ms"}, "event_time = 1795428000 ms, 1970-01-21T18:43:48Z (did you mean seconds"),
        (1795428000_000_000_000, {}, "after the year 9999 (did you mean nanoseconds, 2026-11-23?"),
        (
            1805428000_000_000,
            {},
            "2027-03-19T03:46:40Z, is more than 86400 s ahead of its arrival in Kafka, 2026-11-23T10:00:00Z",
        ),
    ],
)
def test_a_time_that_cannot_be_has_its_unit_its_date_and_a_guess(
    ticks: int, attributes: dict[str, Any], words: str
) -> None:
    assert words in judged(ticks, **attributes)


FORMATS = {
    f: decoder(columns_of(x="double"), format=f, **({"field": "x"} if f == "value" else {}))
    for f in ("json", "value", "cbor", "msgpack", "senml", "csv", "columns")
}


DEEP = "nested too deeply. Have the device send flatter objects"
PACKED = {"header": ["u8 n"], "sample": ["u16 x"], "count": "n"}


@pytest.mark.parametrize(
    ("route", "payload", "words"),
    [
        ({"format": "columns"}, b'{"t0": 1, "x": %b1%b}' % (b'{"a":' * 99, b"}" * 99), DEEP),
        ({"format": "msgpack"}, b"\x81\xa1a" + b"\x91" * 50 + b"\0", DEEP),
        ({"format": "cbor"}, bytes.fromhex("a2 01 02 6131 03"), "as a number and as text. Have the device send one"),
        ({"format": "cbor"}, bytes.fromhex("a1f401"), "a key that is true or false. Have the device send text"),
        ({"format": "csv"}, b" \n", "no line. Have the device send one for each reading"),
        ({"format": "csv"}, b"x,x\n1,2", "this name twice. Name the columns in the route: csv.columns"),
        ({"format": "csv"}, b"\xff\n1", "no text in UTF-8. Have the device send UTF-8"),
        ({"format": "senml"}, b'[{"n":"x","v":1,"my_":1}]', "RFC 8428 refuses such a pack: have the device leave"),
        ({"format": "senml"}, b'[{"n":"x","v":1,"t":-1e17}]', "Is senml.unit right?"),
        ({"format": "sparkplug"}, b"{}", "or damaged. Narrow the route's filter to its births and data: STATE is JSON"),
        ({"format": "packed", "packed": PACKED}, b"", "the payload is empty"),
        ({"format": "packed", "packed": PACKED}, b"\1\2", "Correct the layout in the route's packed, or see"),
        ({"format": "packed", "packed": PACKED | {"trailer": ["u16 c"]}}, b"\1\2", "take 3. Correct the layout in the"),
        ({"fields": {"event_time": {"path": "ts", "unit": "s"}, "x": "up.x"}}, b'{"ts": 1}', "x: nothing at up.x"),
    ],
)  # fmt: skip
def test_a_refusal_of_any_format_says_what_to_do(route: dict[str, Any], payload: bytes, words: str) -> None:
    assert words in str(refusal(decoder(contract(), **route), payload))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"event_time": 1795428000000000}, "If the payload has it elsewhere, say where in the route's fields"),
        (
            {"x": 1, "y": 2},
            "as an alias, or name it in the route's fields; or set unknown_fields there to keep or ignore",
        ),
    ],
)
def test_a_field_that_is_elsewhere_may_be_named_in_the_route(payload: dict[str, Any], words: str) -> None:
    assert words in refused(json.dumps(payload).encode())


def test_who_sent_it_is_told_by_the_topic_or_the_payload() -> None:
    (found,) = JsonDecoder(contract(), 1).decode(b'{"x": 1}', Source(), 0)
    assert isinstance(found, Refused)
    assert "Say where its name is in the route's device" in str(found.error)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_empty_payload_is_called_so_and_half_a_payload_cut_off(name: str) -> None:
    assert "empty" in str(refusal(FORMATS[name], b""))
    halves = {"json": b'{"x": 1', "cbor": b"\xa1\x61x\xfb\0", "msgpack": b"\x81\xa1x\xcb\0", "senml": b'[{"n":'}
    if name in halves:
        assert f"it ends in the middle, after {len(halves[name])} bytes" in str(refusal(FORMATS[name], halves[name]))


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=12))
def test_no_refusal_of_any_format_names_a_type_of_python(name: str, payload: bytes) -> None:
    for found in FORMATS[name].decode(payload, HERE, 0):
        if isinstance(found, Refused):
            words = str(found.error).split("'")[0].split('"')[0].split("not text")[0]  # not what the payload says
            assert not PYTHON & set(words.replace(":", " ").replace(".", " ").split()), words


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(sorted(times.TICKS)), st.sampled_from(["s", "ms", "us", "ns"]))
def test_every_time_has_words(ticks: int, logical: str, unit: Any) -> None:
    assert f" {unit}, " in times.stored(ticks, logical, unit)
    assert times.bound(ticks, logical)
