import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError
from headrace.intent import MAX_BYTES, Intent, Note, Tail, decode, encode, fingerprint
from headrace.wire import Position

i32 = st.integers(-(2**31), 2**31 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
notes = st.builds(
    Note,
    st.from_regex(r"[A-Za-z0-9_-]{22}", fullmatch=True),
    st.none() | st.builds(Position, i32, i64, i32),
    st.none() | st.builds(Tail, i64, i32, st.integers(0, 2**32 - 1)),
    st.none() | st.builds(Intent, i64, i32, i32),
    st.booleans(),
)


@given(notes)
def test_a_note_fits_and_is_read_back(note: Note) -> None:
    text = encode(note)
    assert len(text.encode()) <= MAX_BYTES
    assert decode(text) == note
    assert decode(encode(note.settled())) == Note(note.topic_id, note.last, note.tail, None, note.loose)


def test_a_note_that_does_not_fit_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(FatalError, match="bytes"):
        encode(Note("x" * 512))


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[1]", '{"v":2,"id":"x"}', '{"v":1}', '{"v":1,"id":"x","src":[1]}', "\x00"]
)
def test_foreign_metadata_is_refused(text: str) -> None:
    with pytest.raises(FatalError):
        decode(text)


@given(st.binary(max_size=20), st.integers(0, 2**60), st.binary(max_size=20), st.integers(0, 2**60))
def test_fingerprints_tell_records_apart(a: bytes, t: int, b: bytes, u: int) -> None:
    assert (fingerprint(a, t) == fingerprint(b, u)) == ((a, t) == (b, u))


def test_a_missing_value_has_a_fingerprint() -> None:
    assert fingerprint(None, -1) == fingerprint(b"", -1)
