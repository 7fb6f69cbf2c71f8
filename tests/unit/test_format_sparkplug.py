"""Sparkplug B: metrics by name and by alias, signs, times, and what a stateless reader must refuse."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Reason
from tests.profiles import examples
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

CONTRACT = pf.contract(
    temperature="double", count="long", on="boolean", label="string", data="bytes",
    seen={"type": "long", "logicalType": "timestamp-micros"},
)  # fmt: skip
T = 1_486_144_502_122
NUMBERS = {"temperature": "temperature", "count": "count", "7": {"field": "count", "type": "Int16"}}


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def number(field: int, n: int) -> bytes:
    return varint(field << 3) + varint(n)


def chunk(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def metric(name: str = "", *parts: bytes, datatype: int = 0) -> bytes:
    """Written by hand, from the field numbers of Sparkplug 3.0, 6.4.1."""
    body = (chunk(1, name.encode()) if name else b"") + b"".join(parts)
    return chunk(2, body + (number(4, datatype) if datatype else b""))


def payload(*metrics: bytes, at: int | None = T) -> bytes:
    return (number(1, at) if at is not None else b"") + b"".join(metrics) + number(3, 2)


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
    warm = metric("temperature", varint(13 << 3 | 1) + struct.pack("<d", 21.5), datatype=10)
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
        (payload(metric("", number(2, 9), number(10, 1), datatype=3)), Reason.UNKNOWN_FIELD, "the alias 9 has no name"),
        (payload(metric("count", number(10, 1))), Reason.WRONG_TYPE, "count: a whole number without its type may be"),
        (payload(metric("count", chunk(17, b""), datatype=16)), Reason.WRONG_TYPE, "count: the type 16 can't be read"),
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
    metric("temperature", varint(13 << 3 | 1) + struct.pack("<d", 21.5), datatype=10),
    metric("count", number(3, T + 5), number(11, 7), datatype=8),
    metric("", number(2, 7), number(10, 65_535)),
)


@examples(2)
@given(pf.mutated(GOOD))
def test_mutated_payloads_are_readings_or_dead_letters(data: bytes) -> None:
    pf.holds(pf.decoder(CONTRACT, format="sparkplug", sparkplug={"metrics": NUMBERS}), data, pf.LOOSE)
