import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import PoisonError, Reason
from headrace.protocol import wire
from headrace.protocol.wire import Position

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
