"""Sparkplug B: metrics by name and by alias, signs, times, and what a stateless reader must refuse."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Births, Metric
from bridge.decoders.sparkplug import values
from headrace.errors import PoisonError, Reason
from tests.edgenode import T, chunk, double, metric, number, payload, varint
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

CONTRACT = pf.contract(
    temperature="double", count="long", on="boolean", label="string", data="bytes",
    seen={"type": "long", "logicalType": "timestamp-micros"},
)  # fmt: skip
NUMBERS = {"temperature": "temperature", "count": "count", "7": {"field": "count", "type": "Int16"}}


def read(data: bytes, **metrics: Any) -> list[dict[str, Any]]:
    it = pf.decoder(CONTRACT, format="sparkplug", sparkplug={"metrics": {**NUMBERS, **metrics}})
    return pf.rows(CONTRACT, it.decode(data, HERE, NOW))


def test_the_example_of_the_specification() -> None:
    # Sparkplug 3.0, 6.4.3: {"timestamp": 1486144502122, "metrics": [{"name": "My Metric", "alias": 1, "timestamp":
    # 1479123452194, "dataType": "String", "value": "Test"}], "seq": 2}
    data = bytes.fromhex("08eaf2f5a8a02b121c 0a094d79204d6574726963 1001 18a2828395862b 200c 7a0454657374 1802")
    assert data == payload(
        metric("My Metric", number(2, 1), number(3, 1479123452194), number(4, 12), chunk(15, b"Test"))
    )
    assert read(data, **{"My Metric": "label"}) == [{"event_time": 1_479_123_452_194_000, "label": "Test"}]


def test_metrics_of_one_time_are_one_reading_and_others_their_own() -> None:
    warm = metric("temperature", double(21.5), datatype=10)
    late = metric("count", number(3, T + 5), number(11, 7), datatype=8)
    on, null = metric("on", number(14, 1), datatype=11), metric("label", number(7, 1), datatype=12)
    first, second = read(payload(warm, late, on, null))
    assert first == {"event_time": T * 1000, "temperature": 21.5, "on": True}
    assert second == {"event_time": T * 1000 + 5000, "count": 7}
    assert read(payload(warm, at=None)) == [{"event_time": NOW, "temperature": 21.5}]
    assert [row["temperature"] for row in read(payload(warm, warm))] == [21.5, 21.5]


@pytest.mark.parametrize(
    ("datatype", "sent", "value"),
    [
        (1, 255, -1),
        (1, 2**32 - 1, -1),
        (2, 2**16 - 2, -2),
        (3, 2**32 - 3, -3),
        (5, 255, 255),
        (7, 2**32 - 1, 2**32 - 1),
    ],
)
def test_signs_follow_the_type_whether_they_were_extended_or_not(datatype: int, sent: int, value: int) -> None:
    assert read(payload(metric("count", number(10, sent), datatype=datatype)))[0]["count"] == value
    assert read(payload(metric("count", number(11, 2**64 - 9), datatype=4)))[0]["count"] == -9


def test_aliases_and_types_that_the_route_says() -> None:
    assert read(payload(metric("", number(2, 7), number(10, 65_535))))[0]["count"] == -1
    assert read(payload(metric("seen", number(11, T), datatype=13)))[0]["seen"].timestamp() == T / 1000
    assert read(payload(metric("data", chunk(16, b"\1\2"), datatype=17)))[0]["data"] == b"\1\2"


def test_sessions_and_commands_are_passed_over() -> None:
    beside = [metric("bdSeq", number(11, 1), datatype=4), metric("Node Control/Rebirth", number(14, 0), datatype=11)]
    it = pf.decoder(CONTRACT, format="sparkplug")
    assert str(it.decode(payload(*beside), HERE, NOW)) == "[Skipped(why='empty')]"


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"\xff", Reason.MALFORMED, "not a payload of Sparkplug B"),
        (payload(metric("", number(2, 9), number(10, 1), datatype=3)), Reason.UNKNOWN_ALIAS, "the alias 9 has no name"),
        (payload(metric("count", number(10, 1))), Reason.WRONG_TYPE, "count: a whole number without its type may be"),
        (payload(metric("count", chunk(17, b""), datatype=20)), Reason.WRONG_TYPE, "count: the type 20 can't be read"),
        (payload(metric("count", chunk(17, b""), datatype=16)), Reason.WRONG_TYPE, "a whole number expected, not a"),
        (payload(metric("", number(10, 1))), Reason.UNKNOWN_ALIAS, "a metric has neither name nor alias"),
        (payload(metric("count", datatype=3)), Reason.MISSING_FIELD, "count: no value that can be read"),
        (payload(metric("seen", number(11, 2**64 - 1), datatype=13)), Reason.OUT_OF_RANGE, "outside the years"),
        (payload() + chunk(2, b"") * 50_001, Reason.TOO_LARGE, "50,001 metrics"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_whole(data: bytes, reason: Reason, words: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format="sparkplug"), data)
    assert (error.reason, words in str(error)) == (reason, True), error


@given(st.integers(-(2**31), 2**31 - 1), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_come_back(count: int, warm: float) -> None:
    data = payload(
        metric("count", number(10, count % 2**32), datatype=3),
        metric("temperature", varint(12 << 3 | 5) + struct.pack("<f", warm), datatype=9),
    )
    (row,) = read(data)
    assert (row["count"], row["temperature"]) == (count, warm)


GOOD = payload(
    metric("temperature", double(21.5), datatype=10),
    metric("count", number(3, T + 5), number(11, 7), datatype=8),
    metric("", number(2, 7), number(10, 65_535)),
)


MANY = {"max_items": 1_000_000}
LISTS = pf.contract(
    numbers=({"type": "array", "items": "long"}, MANY), reals=({"type": "array", "items": "double"}, MANY),
    flags=({"type": "array", "items": "boolean"}, MANY), texts=({"type": "array", "items": "string"}, MANY),
    times=({"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}, MANY),
    table=("string", {"json": True}),
    motor={"type": "record", "name": "motor", "fields": [
        {"name": "speed", "type": ["null", "long"], "default": None},
        {"name": "on", "type": ["null", "boolean"], "default": None},
    ]},
)  # fmt: skip


def listed(name: str, data: bytes, datatype: int) -> Any:
    it = pf.decoder(LISTS, format="sparkplug")
    (row,) = pf.rows(LISTS, it.decode(payload(metric(name, chunk(16, data), datatype=datatype)), HERE, NOW))
    return row[name]


@pytest.mark.parametrize(
    ("name", "datatype", "data", "elements"),
    [  # the examples of the specification, 6.4.16
        ("numbers", 22, "E97B", [-23, 123]),  # EF there, which is -17
        ("numbers", 23, "308A177D", [-30_160, 32_023]),
        ("numbers", 24, "15CD5B07B168DE3A", [123_456_789, 987_654_321]),
        ("numbers", 26, "17FA", [23, 250]),
        ("numbers", 29, "FF" * 7 + "7F", [2**63 - 1]),
        ("reals", 31, "000000000000F83F" + "00000000000000C0", [1.5, -2.0]),
        ("reals", 30, "0000C03F", [1.5]),
        ("flags", 32, "0C00000034D0", [False, False, True, True, False, True, False, False, True, True, False, True]),
        ("texts", 33, "4142430068656C6C6F00", ["ABC", "hello"]),
        ("texts", 33, "", []),
    ],
)
def test_arrays_are_lists(name: str, datatype: int, data: str, elements: list[Any]) -> None:
    assert listed(name, bytes.fromhex(data), datatype) == elements


def test_an_array_of_times_is_a_list_of_times() -> None:
    (first,) = listed("times", struct.pack("<q", T), 34)
    assert first.timestamp() == T / 1000


@pytest.mark.parametrize(
    ("data", "datatype", "words"),
    [
        (b"\0\0\0", 24, "not the bytes of a Int32Array"),
        (b"\x09\0\0\0\xff", 32, "not the bytes of a BooleanArray"),
        (b"abc", 33, "not the bytes of a StringArray"),
        (b"\xff\0", 33, "no text in UTF-8"),
        (b"\0" * 1_000_001, 33, "1,000,001 elements"),
        (b"\0" * 1_000_001, 22, "1,000,001 elements"),
    ],
)
def test_bytes_that_are_no_such_array_are_refused(data: bytes, datatype: int, words: str) -> None:
    one = payload(metric("numbers", chunk(16, data), datatype=datatype))
    assert words in str(pf.refusal(pf.decoder(LISTS, format="sparkplug"), one))


def table(columns: list[tuple[str, int]], *rows: list[bytes]) -> bytes:
    head = b"".join(chunk(2, name.encode()) for name, _ in columns) + b"".join(number(3, kind) for _, kind in columns)
    return head + b"".join(chunk(4, b"".join(chunk(1, cell) for cell in row)) for row in rows)


def test_a_data_set_is_json_text_and_a_template_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    data = table([("id", 2), ("w", 10)], [number(1, 65_535), double(0.5, at=4)], [number(1, 7), b""])
    motor = metric("speed", number(10, 65_535), datatype=2) + metric("on", number(14, 1), datatype=11)
    defined = metric("motor", chunk(18, motor + number(5, 1)), datatype=19)
    it = pf.decoder(LISTS, format="sparkplug")
    both = payload(
        metric("table", chunk(17, data), datatype=16), metric("motor", chunk(18, motor), datatype=19), defined
    )
    (row,) = pf.rows(LISTS, it.decode(both, HERE, NOW))
    assert row["table"] == '[{"id":-1,"w":0.5},{"id":7,"w":null}]'
    assert row["motor"] == {"speed": -1, "on": True}
    for broken in (table([("id", 2)], [number(1, 1)] * 2), table([("id", 2)], *[[]]), table([("i", 2)]) + number(3, 2)):
        with_rows = broken if broken.count(chunk(1, number(1, 1))) else broken + chunk(4, b"")
        error = pf.refusal(it, payload(metric("table", chunk(17, with_rows), datatype=16)))
        assert "not equally many" in str(error)
    monkeypatch.setattr(values, "_MAX_PARTS", 100)
    wide = table([("id", 2)], *[[number(1, 1)]] * 51)
    assert pf.refusal(it, payload(metric("table", chunk(17, wide), datatype=16))).reason is Reason.TOO_LARGE
    nameless = payload(metric("motor", chunk(18, metric("", number(10, 1), datatype=2)), datatype=19))
    assert "a member of the template has no name" in str(pf.refusal(it, nameless))


LISTED = (
    payload(metric("table", chunk(17, table([("id", 2)], [number(1, 9)])), datatype=16)),
    payload(metric("motor", chunk(18, metric("speed", number(10, 1), datatype=2)), datatype=19)),
    payload(metric("flags", chunk(16, b"\x03\0\0\0\xa0"), datatype=32)),
)


def test_what_a_birth_says_counts_and_the_route_before_it() -> None:
    births: Births = {
        3: Metric("count", 2),
        4: Metric("Inputs/T", 10),
        7: Metric("temperature", 10),
        "count": Metric("count", 2),
    }
    source = HERE._replace(births=births)

    def heard(*metrics: bytes) -> list[dict[str, Any]]:
        metrics_of = {"Inputs/T": "temperature", **NUMBERS}
        it = pf.decoder(CONTRACT, format="sparkplug", sparkplug={"metrics": metrics_of})
        return pf.rows(CONTRACT, it.decode(payload(*metrics, at=None), source, NOW))

    assert heard(metric("", number(10, 65_535), alias=3))[0]["count"] == -1
    assert heard(metric("", double(2.5), alias=4))[0]["temperature"] == 2.5
    assert heard(metric("", number(10, 3), alias=7))[0]["count"] == 3, "the route says what 7 is"
    assert heard(metric("count", number(10, 65_534)))[0]["count"] == -2
    with pytest.raises(PoisonError, match="does not know the birth that names it, and asks the edge node for one"):
        heard(metric("", double(1.0), alias=5))
