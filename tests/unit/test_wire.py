from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import PoisonError, Reason
from headrace.protocol import wire
from headrace.protocol.wire import Position, Provenance

POSITIONS = st.builds(Position, st.integers(-1, 2**31 - 1), st.integers(-1, 2**63 - 1), st.integers(-1, 2**31 - 1))


@given(st.integers(0, 2**32 - 1), st.binary())
def test_a_framed_datum_gives_its_schema_id_back(number: int, datum: bytes) -> None:
    value = wire.frame(number, datum)
    assert wire.schema_id(value) == number
    assert value[wire.FRAME_BYTES :] == datum


@pytest.mark.parametrize("value", [None, b"", b"\0\0\0", b"{}" * 10])
def test_what_is_not_framed_is_poison(value: bytes | None) -> None:
    with pytest.raises(PoisonError) as e:
        wire.schema_id(value)
    assert e.value.reason is Reason.MALFORMED


@given(POSITIONS, POSITIONS)
def test_positions_come_back_and_their_bytes_keep_the_order(a: Position, b: Position) -> None:
    assert wire.unpack_position(wire.pack_position(a, b)) == (a, b)


def test_a_short_position_header_is_poison() -> None:
    with pytest.raises(PoisonError):
        wire.unpack_position(b"\0" * 31)


def test_event_ids_tell_topic_payload_and_element_apart() -> None:
    ids = [*wire.event_ids(b"a", b"b", 2), *wire.event_ids(b"a", b"c", 1), *wire.event_ids(b"ab", b"", 1)]
    assert len(set(ids)) == 4
    assert wire.event_ids(b"a", b"b", 3)[:2] == ids[:2]
    assert wire.unique_event_id() != wire.unique_event_id()


IDS = st.none() | st.binary(min_size=16, max_size=16)
RECEIVED = st.integers(-1, 2**63 - 1)
PLACES = st.just(b"") | st.builds(wire.pack_position, POSITIONS, POSITIONS)
CAME = st.builds(
    Provenance, IDS, RECEIVED, st.binary(max_size=40), st.integers(0, 15), PLACES
)  # fmt: skip


@given(CAME)
def test_what_a_header_says_comes_back(it: Provenance) -> None:
    assert wire.provenance([("other", b"x"), it.header()]) == it
    assert len(it.header()[1]) == 26 + len(it.position) + len(it.mqtt_topic)


def test_the_bridge_writes_the_same_bytes_piece_by_piece() -> None:
    event = b"i" * 16
    for qos, flags in ((0, 0), (1, 0), (1, wire.DUP), (1, wire.RETAIN | wire.DUP), (wire.NOT_MQTT, 0)):
        begin = wire.BEGINS[qos | flags] + wire.stamp(1_700_000_000_000_000)
        whole = Provenance(event, 1_700_000_000_000_000, "a/bä".encode(), qos | flags)
        assert begin + event + "a/bä".encode() == whole.header()[1]


@pytest.mark.parametrize("data", [b"", b"\1", b"\1" + bytes(24), b"\0" + bytes(25), b"\2" + bytes(57)])
def test_a_header_of_another_version_or_too_short_says_nothing(data: bytes) -> None:
    assert wire.unpack(data) == wire.UNKNOWN


def test_a_header_that_ends_in_its_position_says_nothing() -> None:
    whole = Provenance(b"i" * 16, 5, position=wire.pack_position(wire.ORIGIN, wire.ORIGIN)).header()[1]
    assert wire.unpack(whole[:-1]) == wire.UNKNOWN
    assert wire.unpack(whole).event_id == b"i" * 16


@given(st.binary(max_size=80), CAME)
def test_any_bytes_say_something_or_nothing(data: bytes, after: Provenance) -> None:
    found = wire.unpack(data)
    assert found == wire.UNKNOWN or found.header()[1][2:26] == data[2:26] or found.event_id is None
    assert wire.provenance([(wire.PROVENANCE, data), after.header()]) == found, "the first counts"
    none: Any = [(wire.PROVENANCE, None), after.header()]
    assert wire.provenance(none) == after, "one without a value is none"


def test_a_numbered_row_is_read_up_to_its_number() -> None:
    """Reserved: such rows are not written yet, and must not be taken for rows of an MQTT topic."""
    ours = Provenance(b"i" * 16, 5).header()[1]
    numbered = ours[:1] + bytes([ours[1] | wire.NUMBERED]) + ours[2:] + (7).to_bytes(8) + b"upload-1"
    assert wire.unpack(numbered) == Provenance(b"i" * 16, 5)


def test_people_read_what_is_there_and_a_header_that_says_nothing_stays() -> None:
    came = Provenance(b"i" * 16, 17, b"a/b", 1 | wire.DUP, wire.pack_position(wire.ORIGIN, wire.ORIGIN))
    assert wire.texts([("x", b"y"), came.header()]) == [
        ("event-id", b"i" * 16), ("received-at", b"17"), ("mqtt-topic", b"a/b"), ("mqtt-qos", b"1"),
        ("mqtt-dup", b"1"), ("mqtt-retain", b"0"), ("position", came.position), ("x", b"y"),
    ]  # fmt: skip
    assert wire.texts([Provenance(b"i" * 16).header()]) == [("event-id", b"i" * 16)]
    assert wire.texts([(wire.PROVENANCE, b"junk")]) == [(wire.PROVENANCE, b"junk")]
