import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import wire
from headrace.errors import PoisonError, Reason
from headrace.wire import Position

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
    ids = {
        wire.event_id(b"a", b"b", 0),
        wire.event_id(b"a", b"b", 1),
        wire.event_id(b"a", b"c", 0),
        wire.event_id(b"ab", b"", 0),
    }
    assert len(ids) == 4
    assert wire.event_id(b"a", b"b", 1) == wire.event_id(b"a", b"b", 1)
    assert wire.unique_event_id() != wire.unique_event_id()
