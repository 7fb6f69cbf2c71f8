"""Where clean goes on in a partition that it was given, and when it must not."""

from dataclasses import replace

import pytest

from headrace.errors import FatalError
from headrace.kafka import Message
from headrace.lake.flow import Stage
from headrace.lake.verify import raw_gaps
from headrace.protocol.clean_note import CleanNote, Counts, encode
from headrace.protocol.tail import Tail
from headrace.protocol.wire import Position
from processors.clean.lookback import Values
from processors.clean.partition import RawPartition
from processors.group.partition import Found, resume, tail_of
from processors.group.token import Token

PLACE = ("imu.raw", 1)
NOTE = CleanNote("id-1", 5, Position(0, 98, 0), Tail(99, 0, 123), Counts(kept=95))


def no_values(_: list[Message]) -> Values:
    return {}


def found(low: int = 0, high: int = 200, offset: int | None = 100, topic_id: str = "id-1") -> Found:
    return Found("imu.clean", topic_id, low, high, offset, encode(NOTE))


def test_the_first_start_begins_at_the_logs_start() -> None:
    assert resume(PLACE, found(low=42, offset=None)) == (42, CleanNote("id-1", 42))


def test_a_restart_goes_on_where_the_commit_says() -> None:
    assert resume(PLACE, found()) == (100, NOTE)
    assert resume(PLACE, found(low=100, high=100)) == (100, NOTE)  # all of it has expired, and all of it was read


@pytest.mark.parametrize(
    ("it", "words"),
    [
        (found(topic_id="id-2"), "deleted and created again.*delete imu.clean"),
        (found(low=101), "offsets 100 to 100 were deleted before they were read"),
        (found(high=99), "read up to 100, but the log ends at 99"),
    ],
)
def test_what_would_lose_or_mix_up_is_fatal_and_says_the_way_out(it: Found, words: str) -> None:
    with pytest.raises(FatalError, match=words) as caught:
        resume(PLACE, it)
    assert "kafka-consumer-groups --delete-offsets --topic imu.raw" in str(caught.value)


def test_the_look_back_is_read_again_unless_it_is_at_hand() -> None:
    first = RawPartition(PLACE, Token(), found(), None, 30, no_values)
    assert (first.begin, first.next, first.looking_back) == (70, 100, True)
    assert RawPartition(PLACE, Token(), found(low=90), None, 30, no_values).begin == 90
    early = RawPartition(PLACE, Token(), found(), first, 30, no_values)  # taken away before the look-back was read
    assert (early.begin, early.looking_back) == (70, True)
    first.committed(100, NOTE)
    again = RawPartition(PLACE, Token(), found(), first, 30, no_values)
    assert again.lookback is first.lookback
    assert (again.begin, again.looking_back) == (99, False)  # the record before is read: is it still the same?
    moved = RawPartition(PLACE, Token(), Found("imu.clean", "id-1", 0, 200, 150, encode(NOTE)), first, 30, no_values)
    assert moved.lookback is not first.lookback


def record(offset: int, value: bytes = b"x", epoch: int = 3) -> Message:
    return Message(offset=offset, value=value, timestamp=(2, 1_700_000_000_000), leader_epoch=epoch)


@pytest.mark.parametrize(
    ("log", "same"),
    [
        ([record(98), record(99), record(100)], True),
        ([record(98, b"another")], True),  # not yet known
        ([record(98), record(99, b"another")], False),
        ([record(99, epoch=4)], False),
        ([record(98), record(100)], False),  # a mark of a transaction lies where the record was
    ],
)
def test_a_log_truncated_and_refilled_is_recognised_by_the_record_before_the_start(
    log: list[Message], same: bool
) -> None:
    last = record(99)
    note = CleanNote("id-1", 5, Position(0, 98, 0), tail_of(last), Counts(kept=95))
    it = RawPartition(PLACE, Token(), Found("imu.clean", "id-1", 0, 200, 100, encode(note)), None, 10, no_values)
    if same:
        it.new(log)
        return
    with pytest.raises(FatalError, match="not the one that was read"):
        it.new(log)


def test_what_retention_took_cannot_be_recognised_and_need_not() -> None:
    last = record(99)
    note = CleanNote("id-1", 5, Position(0, 98, 0), tail_of(last), Counts(kept=95))
    later = [record(100, b"another")]
    RawPartition(PLACE, Token(), Found("imu.clean", "id-1", 100, 200, 100, encode(note)), None, 10, no_values).new(
        later
    )


def test_control_records_at_the_logs_end_are_skipped_offsets() -> None:
    last = record(99)
    note = replace(NOTE, tail=tail_of(last))
    it = RawPartition(PLACE, Token(), Found("imu.clean", "id-1", 0, 102, 100, encode(note)), None, 10, no_values)
    for end in (100, 102):
        with pytest.raises(FatalError, match="no record at offset 99"):
            it.ended(end)
    it.new([last])
    assert it.ended(100) is None
    passed = it.ended(102)
    assert passed is not None
    assert (passed.last, passed.tail) == (note.last, note.tail)
    assert passed.start + passed.counts.total == 102
    assert passed.counts.skipped == 2
    assert raw_gaps(Stage(0, 102, 102, ""), passed) == []


@pytest.mark.parametrize(("tail", "start"), [(tail_of(record(97)), 5), (None, 98)])
def test_a_record_where_there_was_none_tells_of_a_truncated_log(tail: Tail | None, start: int) -> None:
    """Offsets 98 and 99 were a transaction's marks, and were committed over; then they were truncated away."""
    note = CleanNote("id-1", start, Position(0, 97, 0), tail, Counts(skipped=100 - start))
    it = RawPartition(PLACE, Token(), Found("imu.clean", "id-1", 0, 101, 100, encode(note)), None, 10, no_values)
    assert it.begin <= 98
    with pytest.raises(FatalError, match="a record at offset 99, where none was"):
        it.new([record(97), record(99)])
