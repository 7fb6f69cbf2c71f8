"""The newest records for a page: few at first, only what has come since after that."""

import time

from headrace.operate.latest import Latest
from tests.unit.toy_log import Log

COUNT = 400


def times(latest: Latest) -> list[int]:
    return [r.time_ms for r in latest.read()]


def test_the_newest_records_of_all_partitions_come_newest_first() -> None:
    log = Log()
    for _ in range(30):
        log.add(0, 1)
        log.add(1, 2)
    assert times(Latest(log, COUNT)) == list(range(90, 0, -1))


def test_a_further_call_reads_only_what_has_come_since() -> None:
    log = Log()
    log.add(0, 1000)
    latest = Latest(log, COUNT)
    assert times(latest) == list(range(1000, 600, -1))
    seeks, sent = len(log.seeks), log.sent
    log.add(0, 3)
    log.add(1, 1)
    assert times(latest)[:5] == [1004, 1003, 1002, 1001, 1000]
    assert len(log.seeks) == seeks
    assert log.sent - sent <= 6
    assert times(latest) == times(latest), "and nothing new changes nothing"


def test_what_comes_faster_than_it_is_asked_for_is_skipped() -> None:
    log = Log()
    log.add(0, 500)
    latest = Latest(log, COUNT)
    times(latest)
    sent = log.sent
    log.add(0, 100_000)
    assert times(latest) == list(range(100_500, 100_100, -1))
    assert log.sent - sent <= COUNT + 2


def test_large_records_are_read_by_the_megabyte() -> None:
    log = Log(1)
    log.add(0, 300, size=50_000)
    found = times(Latest(log, COUNT))
    assert found == list(range(300, 300 - len(found), -1))
    assert 15 <= len(found) <= 21
    assert log.sent <= 40


def test_records_that_grow_later_are_kept_by_the_megabyte_too() -> None:
    log = Log(1)
    log.add(0, 300)
    latest = Latest(log, COUNT)
    times(latest)
    log.add(0, 100, size=50_000)
    assert len(times(latest)) <= 21


def test_a_log_that_ends_with_a_mark_is_not_waited_for() -> None:
    log = Log(1)
    log.add(0, 20)
    log.marks = {19}  # of a transaction, say
    latest = Latest(log, COUNT)
    begin = time.monotonic()
    assert [times(latest), times(latest)] == [list(range(19, 0, -1))] * 2
    assert time.monotonic() - begin < 0.9, "it waits a second for Kafka to say more"


def test_an_empty_topic_has_no_records_and_gets_them_later() -> None:
    log = Log()
    latest = Latest(log, COUNT)
    assert times(latest) == []
    log.add(1, 2)
    assert times(latest) == [2, 1]
