"""What becomes of what a payload has beside the contract, of what it lacks, and of values that are no values."""

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading, Refused, Source
from bridge.decoders.json.decoder import JsonDecoder
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, Reason
from tests.unit.test_bridge_decode import BASE, NOW, QUALITY, contract, read

EXTRA = {"name": "_extra", "type": ["null", "string"], "default": None}
OPTIONAL = ["null", "double"]
AIR = {"type": "record", "name": "air", "fields": [{"name": "co2", "type": OPTIONAL}, {"name": "t", "type": "double"}]}


def kept(*fields: dict[str, Any]) -> Contract:
    return parse("r", json.dumps({"type": "record", "name": "r", "fields": [*BASE, *fields, EXTRA, QUALITY]}))


IT = kept(
    {"name": "x", "type": OPTIONAL, "default": None},
    {"name": "air", "type": ["null", AIR], "default": None},
    {"name": "info", "type": ["null", "string"], "default": None, "json": True},
)


def row(payload: Any, unknown: Any = "refuse", it: Contract = IT) -> Any:
    """The row of a payload without device and time, and without nulls; or the reason, the field and the words."""
    text = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    (found,) = JsonDecoder(it, 7, ("device_id",)).decode(text, Source({"device_id": "d-1"}, unknown), NOW)
    if isinstance(found, Refused):
        assert found.original == text
        return found.error.reason, found.error.field, str(found.error)
    assert isinstance(found, Reading)
    return {k: v for k, v in read(it, found.value).items() if v is not None and k not in {"device_id", "event_time"}}


def test_what_the_contract_lacks_is_refused_ignored_or_kept_at_any_depth() -> None:
    payload = {"x": 1, "y": [1, {"z": None}], "air": {"t": 7, "dew": {"a": 1.50}}}
    reason, field, words = row(payload)
    assert (reason, field) == (Reason.UNKNOWN_FIELD, "air.dew")
    assert "name it in the route's fields; or set unknown_fields there to keep or ignore" in words
    assert row(payload, "ignore") == {"x": 1.0, "air": {"co2": None, "t": 7.0}}
    found = row(payload, "keep")
    assert orjson.loads(found.pop("_extra")) == {"y": [1, {"z": None}], "air": {"dew": {"a": 1.5}}}
    assert found == row(payload, "ignore")
    assert row({"x": 1}, "keep") == {"x": 1.0}, "null where there is nothing to keep"
    assert row({"x": 1, "_quality": "fine"}, "keep")["_extra"] == '{"_quality":"fine"}'
    assert row({"x": 1, "_extra": "mine"}, "keep")["_extra"] == '{"_extra":"mine"}'
    assert row(b'{"x": 1, "n": 184467440737095516150, "m": NaN}', "keep")["_extra"] == (
        '{"n":184467440737095516150,"m":null}'
    )


def test_ignored_fields_are_counted_wherever_they_are() -> None:
    decoder = JsonDecoder(IT, 7, ("device_id",))
    decoder.decode(b'{"x": 1, "y": 2, "air": {"t": 1, "u": 2, "v": {"w": 3}}}', Source({"device_id": "d"}, "ignore"), 1)
    assert decoder.ignored == 3


def test_what_is_missing_is_null_at_any_depth_where_the_contract_allows_it() -> None:
    assert row({"air": {"t": 1}}) == {"air": {"co2": None, "t": 1.0}}
    assert row({"air": {"t": 1, "co2": None}, "x": None}) == {"air": {"co2": None, "t": 1.0}}
    assert row({"air": {"co2": 1}})[:2] == (Reason.MISSING_FIELD, "air.t")


@pytest.mark.parametrize("payload", [{}, {"x": None}, {"event_time": NOW}, {"device_id": "d-1", "event_time": NOW}])
def test_a_message_that_says_nothing_is_a_dead_letter(payload: dict[str, Any]) -> None:
    reason, _, words = row(payload)
    assert reason is Reason.MISSING_FIELD
    assert words == "no field of the contract has a value but device and time. It has x, air, info"


def test_a_message_of_which_everything_is_ignored_says_nothing_and_one_of_which_something_is_kept_does() -> None:
    assert row({"y": 1}, "ignore")[2].endswith("the message has y, which the route ignores")
    assert row({"y": 1}, "keep") == {"_extra": '{"y":1}'}


def test_defaults_and_captures_are_not_what_a_message_says() -> None:
    it = contract(
        {"name": "x", "type": "double", "default": 5.0}, {"name": "room", "type": ["null", "string"], "default": None}
    )
    decoder = JsonDecoder(it, 7, ("device_id", "room"))
    source = Source({"device_id": "d-1", "room": "attic"})
    (found,) = decoder.decode(b"{}", source, NOW)
    assert isinstance(found, Refused)
    assert isinstance(decoder.decode(b'{"x": 5.0}', source, NOW)[0], Reading)
    (found,) = JsonDecoder(contract(), 7, ("device_id",)).decode(b"{}", Source({"device_id": "d-1"}), NOW)
    assert isinstance(found, Reading), "a contract without fields of its own: a sign of life"


@pytest.mark.parametrize("word", ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "+INF"])
def test_what_is_not_finite_is_null_with_a_note_where_the_field_is_optional(word: str) -> None:
    assert row(f'{{"x": {word}, "info": "nan, \\"inf"}}'.encode()) == {
        "info": '"nan, \\"inf"', "_quality": "x:not_finite:null",
    }  # fmt: skip
    assert row(f'{{"x": 1, "air": {{"t": 2, "co2": {word}}}}}'.encode()) == {
        "x": 1.0, "air": {"t": 2.0, "co2": None}, "_quality": "air.co2:not_finite:null",
    }  # fmt: skip
    assert row(f'{{"x": 1, "air": {{"t": {word}}}}}'.encode()) == {"x": 1.0, "_quality": "air:not_finite:null"}
    needed = contract(
        {"name": "x", "type": "double"}, {"name": "a", "type": {"type": "array", "items": "double"}, "max_items": 9}
    )
    reason, field, words = row(f'{{"x": {word}, "a": []}}'.encode(), it=needed)
    assert (reason, field) == (Reason.NOT_FINITE, "x")
    assert "Make it optional in the contract" in words
    assert row(f'{{"x": 1, "a": [1, {word}]}}'.encode(), it=needed)[:2] == (Reason.NOT_FINITE, "a")


def test_elements_of_an_array_with_nan_are_told_apart_to_the_byte() -> None:
    decoder = JsonDecoder(IT, 7, ("device_id",))
    payload = b'\xef\xbb\xbf [ {"x": NaN} , NaN,{"x" : "inf", "info": nan},\n{"x": -inf, "info": 2}]\0\0'
    found = decoder.decode(payload, Source({"device_id": "d-1"}), NOW)
    assert [type(f) for f in found] == [Reading, Refused, Refused, Reading]
    assert [f.original for f in found if isinstance(f, Refused)] == [b"NaN", b'{"x" : "inf", "info": nan}']
    assert decoder.element(payload, 3) == b'{"x": -inf, "info": 2}'
    assert decoder.marks(payload) == {"event_time": None}


def test_a_byte_order_mark_and_nuls_behind_are_taken() -> None:
    assert row(b'\xef\xbb\xbf{"x":1.5}\r\n') == {"x": 1.5}
    assert row(b'{"x":1.5}\0\0') == {"x": 1.5}
    assert row(b"\xef\xbb\xbf[" + b"{}, " * 10_000 + b"{}]")[0] is Reason.TOO_LARGE
    assert row(b"\xef\xbb\xbf")[0] is Reason.MALFORMED


def test_digits_that_a_double_does_not_hold_are_noted() -> None:
    assert row({"x": 2**53 + 1}) == {"x": 2.0**53, "_quality": "x:digits:round"}
    assert row({"x": 2**53 + 2}) == {"x": 2.0**53 + 2}
    many = contract({"name": "a", "type": {"type": "array", "items": "double"}, "max_items": 9})
    assert row({"a": [2**53 + 1] * 3}, it=many)["_quality"] == "a:digits:round"


@pytest.mark.parametrize(
    ("value", "hint"),
    [("21,5", "Send 21.5: with a decimal point, without quotes, or set text_numbers: ',' in the route"),
     ("21.5", "Send the number without quotes, or set text_numbers: '.' in the route"),
     ("NaN", "add it to the field's sentinels"), ("", "add it to the field's sentinels"),
     ("1.234,5", "Send the number without marks between thousands and without quotes"),
     ("1 234", "Send the number without marks between thousands"),
     ("21.5 C", "Send the number alone"), ("high", "not text: high")],
)  # fmt: skip
def test_text_for_a_number_is_refused_with_what_to_do(value: str, hint: str) -> None:
    reason, field, words = row({"x": value})
    assert (reason, field) == (Reason.WRONG_TYPE, "x")
    assert hint in words


def test_a_mark_in_an_object_is_sent_to_the_top_where_rules_act() -> None:
    inner = {"type": "record", "name": "m", "fields": [{"name": "t", "type": "double"}]}
    refused = row({"m": {"t": "NA"}}, it=contract({"name": "m", "type": inner}))
    assert refused[1] == "m.t"
    assert "move the field to the contract's top, with sentinels, and name its path in the route's fields" in refused[2]


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, "ü"], 5, 1.5, "text", True, [], {}])
def test_a_field_of_json_text_takes_any_value(value: Any) -> None:
    assert orjson.loads(row({"info": value})["info"]) == value


def test_json_text_belongs_on_strings() -> None:
    with pytest.raises(ConfigError, match='json is true or false, and belongs on a string: "json": true'):
        contract({"name": "x", "type": "double", "json": True})
    with pytest.raises(ConfigError, match=r"field air\.co2: json is true or false"):
        contract({"name": "air", "type": {**AIR, "fields": [{"name": "co2", "type": "string", "json": 1}]}})


@pytest.mark.parametrize(
    ("fields", "words"),
    [([EXTRA, *BASE, QUALITY], "stands just before _quality"),
     ([*BASE, {"name": "_extra", "type": "string"}, QUALITY], 'as {"name": "_extra"')],
)  # fmt: skip
def test_the_field_for_what_else_there_is_has_one_place_and_type(fields: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ConfigError) as e:
        parse("r", json.dumps({"type": "record", "name": "r", "fields": fields}))
    assert words in str(e.value)


def test_times_that_cannot_be_are_refused_with_unit_date_and_guess() -> None:
    it = parse("r", json.dumps({
        "type": "record", "name": "r",
        "fields": [BASE[0], {**BASE[1], "minimum": 946684800000000}, {"name": "x", "type": OPTIONAL}, QUALITY],
    }))  # fmt: skip
    reason, field, words = row({"event_time": 1795428000, "x": 1}, it=it)
    assert (reason, field) == (Reason.OUT_OF_RANGE, "event_time")
    assert words == (
        'event_time: 1795428000 us, 1970-01-01T00:29:55Z (did you mean seconds, 2026-11-23? Then set "time_unit": "s" '
        "in the contract), is before 2000-01-01T00:00:00Z"
    )
    words = row({"event_time": 1795428000 * 10**9, "x": 1}, it=it)[2]
    assert "after the year 9999 (did you mean nanoseconds" in words
    assert words.endswith("is no date of the calendar")
    assert row({"event_time": "1970-01-01T00:00:00Z", "x": 1}, it=it)[0] is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    "payload", [b'"' + b'\\"' * 500_000, b"nan" * 300_000, b'[nan,"' * 100_000, b"{" * 900 + b"nan"]
)
def test_a_search_for_words_in_a_large_payload_is_quick(payload: bytes) -> None:
    began = time.process_time()
    assert row(payload)[0] is Reason.MALFORMED
    assert time.process_time() - began < 5


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4)),
    lambda v: st.one_of(
        st.lists(v, max_size=3), st.dictionaries(st.sampled_from(["t", "co2", "x", "q"]), v, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["x", "air", "info", "q", "event_time"]), JSON, max_size=4))
def test_whatever_is_kept_is_json_and_whatever_is_read_is_the_same_each_time(payload: dict[str, Any]) -> None:
    text = json.dumps(payload).encode()
    found = row(text, "keep")
    assert found == row(text, "keep")
    if isinstance(found, dict):
        assert set(orjson.loads(found.get("_extra", "{}"))) <= {"q", "air"}
        orjson.loads(found.get("info", "null"))
