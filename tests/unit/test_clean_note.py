"""The note beside clean's offset survives the way through Kafka and stays small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError
from headrace.protocol.clean_note import CleanNote, Counts, decode, encode
from headrace.protocol.tail import MAX_NOTE_BYTES, Tail
from headrace.protocol.wire import Position

I32 = st.integers(-1, 2**31 - 1)
I64 = st.integers(-1, 2**63 - 1)
POSITIONS = st.builds(Position, I32, I64, I32)
COUNTS = st.builds(Counts, *[st.integers(0, 2**63 - 1)] * 5)
TAILS = st.none() | st.builds(Tail, I64, I32, st.integers(0, 2**32 - 1))
NOTES = st.builds(CleanNote, st.text("AZaz09_-", min_size=22, max_size=22), I64, POSITIONS, TAILS, COUNTS)


@given(NOTES)
def test_round_trip_and_size(note: CleanNote) -> None:
    text = encode(note)
    assert decode(text) == note
    assert len(text.encode()) <= MAX_NOTE_BYTES


@given(st.lists(COUNTS, max_size=4))
def test_counts_add_up(parts: list[Counts]) -> None:
    note = CleanNote("t", 7)
    for part in parts:
        note = note.advance(Position(0, 1, 0), Tail(1, 0, 0), part)
    assert note.counts.total == sum(c.total for c in parts)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", "hello", '{"v":1}', '{"v":1,"id":"x","start":"y"}'])
def test_what_clean_did_not_write_is_fatal(text: str) -> None:
    with pytest.raises(FatalError, match="did not write"):
        decode(text)


def test_a_newer_note_is_fatal() -> None:
    with pytest.raises(FatalError, match="upgrade"):
        decode('{"v":2}')
