"""When a buffer is due, and which messages it gives away."""

from headrace.config.model import Archive
from processors.archive.buffer import EMPTY, Buffer, Cause, Fill, due, enough, largest
from processors.archive.chunk import OF_CHUNK, Chunk
from tests.unit.archive_rows import chunk_of, record

LIMITS = Archive(max_bytes=1000, max_records=100, max_age_seconds=60, idle_seconds=10)


def chunk(*offsets: int) -> Chunk:
    return chunk_of([record(at, b"x" * 10) for at in offsets])


def offsets(chunks: list[Chunk]) -> list[int]:
    return [at for c in chunks for at in c.offsets.tolist()]


def test_the_first_limit_reached_is_the_cause() -> None:
    assert due(Fill(0, 0, 0, 0), LIMITS, 1e9) is None
    assert due(Fill(1, 10, 0, 0), LIMITS, 9.9) is None
    assert due(Fill(1, 10, 0, 0), LIMITS, 10) is Cause.IDLE
    assert due(Fill(1, 10, 0, 55), LIMITS, 60) is Cause.AGE
    assert due(Fill(100, 10, 0, 0), LIMITS, 0) is Cause.RECORDS
    assert due(Fill(1, 1000, 0, 0), LIMITS, 0) is Cause.BYTES


def test_the_largest_buffer_goes_first() -> None:
    assert largest({}) is None
    assert largest({("a", 0): 0}) is None
    assert largest({("a", 0): 5, ("b", 1): 7, ("b", 2): 6}) == ("b", 1)


def test_it_gives_what_lies_before_an_offset_and_keeps_the_rest() -> None:
    buffer = Buffer(3, 5)
    buffer.add(chunk(5, 6), 1.0)
    buffer.add(chunk(8, 9), 2.0)
    whole = buffer.size
    assert (buffer.start, buffer.next, buffer.records) == (3, 10, 4)
    taken = buffer.take(9)
    assert offsets(taken) == [5, 6, 8]
    assert (buffer.start, buffer.next, buffer.records) == (9, 10, 1)
    assert buffer.size + sum(c.size for c in taken) == whole + OF_CHUNK  # of the one that was cut in two
    assert offsets(buffer.take(10)) == [9]
    assert (buffer.size, buffer.records, buffer.gap) == (0, 0, 0)


def test_its_age_counts_from_the_first_message_and_its_idleness_from_the_last() -> None:
    buffer = Buffer(0, 0)
    buffer.add(chunk(0), 1.0)
    buffer.add(chunk(1), 5.0)
    fill = buffer.fill()
    assert (fill.first_at, fill.last_at, fill.records) == (1.0, 5.0, 2)
    buffer.take(2)
    buffer.add(chunk(2), 9.0)
    assert buffer.fill().first_at == 9.0
    buffer.take(3)
    buffer.add(chunk(3), 20.0, waited=0.5)
    buffer.add(chunk(4), 21.0, waited=0.5)
    assert (buffer.fill().first_at, buffer.fill().last_at) == (19.5, 21.0)


def test_offsets_without_a_record_are_a_gap_until_a_message_comes() -> None:
    buffer = Buffer(4, 4)
    buffer.pass_over(6, 1.0)
    buffer.pass_over(7, 2.0)
    assert (buffer.gap, buffer.fill().first_at, buffer.fill().last_at) == (3, 1.0, 2.0)
    assert due(buffer.fill(), LIMITS, 12.0) is Cause.IDLE
    buffer.add(chunk(7), 3.0)
    assert buffer.gap == 0
    assert offsets(buffer.take(8)) == [7]
    assert due(EMPTY, LIMITS, 1e9) is None


def test_small_chunks_are_gathered_so_that_they_take_little_beside_their_messages() -> None:
    buffer = Buffer(0, 0)
    for at in range(10_000):
        buffer.add(chunk(at), 1.0)
    whole = chunk(*range(10_000))
    assert buffer.size < 1.2 * whole.size
    taken = buffer.take(10_000)
    assert len(taken) < 100
    assert offsets(taken) == list(range(10_000))


def test_so_many_of_the_largest_are_stored_that_there_is_room() -> None:
    sizes = {("a", 0): 10, ("a", 1): 30, ("b", 0): 20, ("b", 1): 0}
    assert enough(sizes, 25) == [("a", 1)]
    assert enough(sizes, 45) == [("a", 1), ("b", 0)]
    assert enough(sizes, 0) == [("a", 1)]
    assert enough(sizes, 1000) == [("a", 1), ("b", 0), ("a", 0)]
    assert enough({("b", 1): 0}, 5) == []
