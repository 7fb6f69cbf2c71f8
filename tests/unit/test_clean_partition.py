"""Where clean goes on in a partition that it was given, and when it must not."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.cleanmeta import Counts, Note, encode
from headrace.errors import FatalError
from headrace.intent import Tail
from headrace.lake.flow import Stage
from headrace.lake.verify import raw_gaps
from headrace.wire import Position
from processors.assignment import Token
from processors.clean.partition import Found, Partition, resume, tail_of

PLACE = ("imu.raw", 1)
NOTE = Note("id-1", 5, Position(0, 98, 0), Tail(99, 0, 123), Counts(kept=95))


def found(low: int = 0, high: int = 200, offset: int | None = 100, topic_id: str = "id-1") -> Found:
    return Found(topic_id, low, high, offset, encode(NOTE))


def test_the_first_start_begins_at_the_logs_start() -> None:
    assert resume(PLACE, found(low=42, offset=None)) == (42, Note("id-1", 42))


def test_a_restart_goes_on_where_the_commit_says() -> None:
    assert resume(PLACE, found()) == (100, NOTE)
    assert resume(PLACE, found(low=100, high=100)) == (100, NOTE)  # all of it has expired, and all of it was read


@pytest.mark.parametrize(
    ("it", "words"),
    [
        (found(topic_id="id-2"), "deleted and created again.*delete imu.clean"),
        (found(low=101), "offsets 100 to 100 were deleted before clean read them"),
        (found(high=99), "read up to 100, but the log ends at 99"),
    ],
)
def test_what_would_lose_or_mix_up_is_fatal_and_says_the_way_out(it: Found, words: str) -> None:
    with pytest.raises(FatalError, match=words) as caught:
        resume(PLACE, it)
    assert "kafka-consumer-groups --delete-offsets --topic imu.raw" in str(caught.value)


def test_the_look_back_is_read_again_unless_it_is_at_hand() -> None:
    first = Partition(PLACE, Token(), found(), None, 30)
    assert (first.begin, first.next, first.looking_back) == (70, 100, True)
    assert Partition(PLACE, Token(), found(low=90), None, 30).begin == 90
    early = Partition(PLACE, Token(), found(), first, 30)  # taken away before the look-back was read
    assert (early.begin, early.looking_back) == (70, True)
    first.settle(100, NOTE)
    again = Partition(PLACE, Token(), found(), first, 30)
    assert again.lookback is first.lookback
    assert (again.begin, again.looking_back) == (99, False)  # the record before is read: is it still the same?
    moved = Partition(PLACE, Token(), Found("id-1", 0, 200, 150, encode(NOTE)), first, 30)
    assert moved.lookback is not first.lookback


class Record:
    """What clean looks at to recognise a record."""

    def __init__(self, offset: int, value: bytes = b"x", epoch: int = 3) -> None:
        self._offset, self._value, self._epoch = offset, value, epoch

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def leader_epoch(self) -> int:
        return self._epoch

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_700_000_000_000


@pytest.mark.parametrize(
    ("log", "same"),
    [
        ([Record(98), Record(99), Record(100)], True),
        ([Record(98, b"another")], True),  # not yet known
        ([Record(98), Record(99, b"another")], False),
        ([Record(99, epoch=4)], False),
        ([Record(98), Record(100)], False),  # a mark of a transaction lies where the record was
    ],
)
def test_a_log_truncated_and_refilled_is_recognised_by_the_record_before_the_start(log: Any, same: bool) -> None:
    last: Any = Record(99)
    note = Note("id-1", 5, Position(0, 98, 0), tail_of(last), Counts(kept=95))
    it = Partition(PLACE, Token(), Found("id-1", 0, 200, 100, encode(note)), None, 10)
    if same:
        it.recognise(log)
        return
    with pytest.raises(FatalError, match="not the one clean read"):
        it.recognise(log)


def test_what_retention_took_cannot_be_recognised_and_need_not() -> None:
    last: Any = Record(99)
    note = Note("id-1", 5, Position(0, 98, 0), tail_of(last), Counts(kept=95))
    later: Any = [Record(100, b"another")]
    Partition(PLACE, Token(), Found("id-1", 100, 200, 100, encode(note)), None, 10).recognise(later)


def test_control_records_at_the_logs_end_are_skipped_offsets() -> None:
    last: Any = Record(99)
    note = replace(NOTE, tail=tail_of(last))
    it = Partition(PLACE, Token(), Found("id-1", 0, 102, 100, encode(note)), None, 10)
    with pytest.raises(FatalError, match="no record at offset 99"):
        it.pass_over(102)
    it.recognise([last])
    passed = it.pass_over(102)
    assert (passed.last, passed.tail) == (note.last, note.tail)
    assert passed.start + passed.counts.total == 102
    assert passed.counts.skipped == 2
    assert raw_gaps(Stage(0, 102, 102, ""), passed) == []


def test_a_token_stays_void() -> None:
    token = Token()
    assert token.live
    token.void()
    assert not token.live
