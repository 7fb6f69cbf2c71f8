import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError
from headrace.protocol.archive_note import ArchiveNote, Intent, decode, encode
from headrace.protocol.tail import MAX_NOTE_BYTES, Tail, fingerprint
from headrace.protocol.wire import Position

i32 = st.integers(-(2**31), 2**31 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
notes = st.builds(
    ArchiveNote,
    st.from_regex(r"[A-Za-z0-9_-]{22}", fullmatch=True),
    st.none() | st.builds(Position, i32, i64, i32),
    st.none() | st.builds(Tail, i64, i32, st.integers(0, 2**32 - 1)),
    st.none() | st.builds(Intent, i64, i32, i32),
    st.booleans(),
)


@given(notes)
def test_a_note_fits_and_is_read_back(note: ArchiveNote) -> None:
    text = encode(note)
    assert len(text.encode()) <= MAX_NOTE_BYTES
    assert decode(text) == note


def test_a_note_that_does_not_fit_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(FatalError, match="bytes"):
        encode(ArchiveNote("x" * 512))


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
