"""A batch that was begun and is to be finished: after a kill, with other settings, by another member."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headrace.lake import ledger
from tests.faults.own import Make, Own, Service, until
from tests.faults.valve import Valve, valve

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]
ROWS = 200
FILE, ENTRY = ".parquet", "_ledger/"


@pytest.fixture
def gate(own: Make) -> Iterator[tuple[Own, Valve]]:
    """A stream whose archive reaches the S3 server through a valve."""
    it = own(librdkafka={"group.instance.id": "one"})  # who is killed need not be waited for
    with valve(it.server) as gate:
        it.change("store", endpoint=gate.endpoint, timeout_seconds=300)
        yield it, gate


@contextmanager
def stuck(it: Own, gate: Valve, word: str) -> Iterator[Service]:
    """The archive, in the middle of its first batch: the intent is committed, and a PUT with `word` on its way."""
    gate.shut(word)
    with it.archive() as archive:
        until(gate.waiting.is_set, lambda: archive.log)
        assert it.intent() is not None
        yield archive


def killed(it: Own, gate: Valve, word: str) -> None:
    """A first batch of ROWS rows whose archive was killed at a PUT with `word`, which never arrives."""
    it.fill_clean(range(ROWS))
    with stuck(it, gate, word) as archive:
        archive.kill()
    gate.drop()


@pytest.mark.long
def test_a_smaller_memory_budget_at_redo(gate: tuple[Own, Valve]) -> None:
    """A batch larger than all the memory there is now must still be read to its end, or it never ends."""
    it, valve = gate
    killed(it, valve, FILE)
    it.change("archive", memory_bytes=1000, max_bytes=1000, max_records=7, batch=10)
    with it.archive() as archive:
        it.whole(range(ROWS))
        archive.stop()
    assert [(e.start, e.end) for e in it.entries()] == [(0, ROWS)]


def test_412_at_redo_of_the_same_rows(gate: tuple[Own, Valve]) -> None:
    """The files are there, the ledger isn't: the store refuses to take them again, and that is success."""
    it, valve = gate
    killed(it, valve, ENTRY)
    (key,) = it.data_keys()
    before = it.store.get(key)
    it.change("archive", compression_level=9, max_records=7)
    with it.archive() as archive:
        it.whole(range(ROWS))
        archive.stop()
    assert it.data_keys() == [key]
    assert it.store.get(key) == before


@pytest.mark.long
def test_412_at_redo_of_other_rows(gate: tuple[Own, Valve]) -> None:
    """Something else lies under the batch's name: the archive stops, and what lies there stays."""
    it, valve = gate
    killed(it, valve, ENTRY)
    (key,) = it.data_keys()
    it.store.put(key, b"not these rows")
    with it.archive() as archive:
        archive.ends(1, "other rows")
    assert it.store.get(key) == b"not these rows"
    assert it.entries() == []
    assert it.archived() == 0


@pytest.mark.long
def test_a_partition_revoked_while_its_upload_runs(gate: tuple[Own, Valve]) -> None:
    """It moves to a member that joins, and is stored there; the first one's PUT then arrives, and no commit of it."""
    it, valve = gate
    it.fill_clean(range(ROWS))
    it.change("kafka", librdkafka={"session.timeout.ms": 6000})
    with stuck(it, valve, FILE) as first:
        it.change("store", endpoint=it.server)
        with it.archive() as second:
            first.process.send_signal(signal.SIGSTOP)
            until(lambda: it.archived() == ROWS, lambda: second.log)
            stored = {key: it.store.get(key) for key in it.data_keys()}
            it.fill_clean(range(ROWS, 2 * ROWS), before=ROWS - 1)
            first.process.send_signal(signal.SIGCONT)
            valve.open()
            first.says('"lost"')
            until(lambda: it.archived() == 2 * ROWS, lambda: second.log)
            it.whole(range(2 * ROWS))
            first.stop()
            second.stop()
    assert {key: it.store.get(key) for key in stored} == stored


def test_a_partition_revoked_from_a_live_member(own: Make) -> None:
    """The member stays in the group, so the broker would take its late commit, and the heir's intent would be gone."""
    it = own(partitions=2)
    with valve(it.server) as gate:
        it.change("store", endpoint=gate.endpoint, timeout_seconds=300)
        for partition in (0, 1):
            it.fill_clean(range(partition, ROWS, 2), partition=partition)
        gate.shut(FILE)
        with it.archive() as first:
            until(lambda: it.intent(0) and it.intent(1), lambda: first.log)
            it.change("store", endpoint=it.server)
            with it.archive() as second:
                first.says("gave up the partition while storing")
                second.says('"reading"')
                (moved,) = (p for p in (0, 1) if f"clean/{p}" in second.log)
                until(lambda: it.archived(moved) == ROWS // 2, lambda: second.log)
                more = range(ROWS + moved, ROWS + 20, 2)
                it.fill_clean(more, partition=moved, before=ROWS - 2 + moved)
                until(lambda: it.archived(moved) == ROWS // 2 + 10, lambda: second.log)
                gate.open()
                until(lambda: it.archived(1 - moved) == ROWS // 2, lambda: first.log)
                assert it.archived(moved) == ROWS // 2 + 10
                it.whole([*range(ROWS), *more])
                first.stop()
                second.stop()


@pytest.mark.long
def test_new_rules_between_crash_and_redo(own: Make) -> None:
    """clean had passed on what today's rules refuse, died before its commit, and begins again with the new rules."""
    it = own()
    numbers = range(30)
    it.fill_raw(numbers[:8])
    it.fill_raw(numbers[8:10], ax=900.0)  # refused by the rules of now
    it.fill_raw(numbers[10:])
    it.fill_clean(numbers[:10])  # by the rules of then all were right
    with it.clean() as clean, it.archive() as archive:
        report = it.whole(numbers)
        clean.stop()
        archive.stop()
    assert report["repeats_dropped"] == 8
    assert [x.source["offset"] for x in it.letters()] == [8, 9]
    assert report["dead_letters_stored"] == 2, "a row that is a dead letter too counts as the row"


@pytest.mark.long
def test_an_all_repeats_batch(own: Make) -> None:
    """Nothing in it is new: it makes no file, it is accounted for, and what follows it is stored."""
    it = own(archive={"max_records": 50})
    it.fill_clean(range(100))
    with it.archive() as archive:
        it.whole(range(100))
        it.fill_clean(range(40, 100), before=39)  # clean died before its commit, and emits again
        report = it.whole(range(100))
        archive.stop()
    assert report["repeats_dropped"] == 60
    assert not any(e.files for e in it.entries() if e.start >= 100)
    with it.archive() as archive:
        it.fill_clean(range(100, 120), before=99)
        it.whole(range(120))
        archive.stop()


@pytest.mark.long
def test_a_batch_of_copies_of_one_reading(own: Make) -> None:
    """clean emits nothing for it, and yet goes on: offset, look-back and the row that the next one follows."""
    it = own(clean={"batch": 16})
    it.fill_raw([1, 2])
    with it.clean() as clean:
        until(lambda: it.cleaned() == 2, lambda: clean.log)
        it.fill_raw([1] * 40)
        until(lambda: it.cleaned() == 42, lambda: clean.log)
        clean.stop()
    it.fill_raw([2, 3])
    with it.clean() as clean, it.archive() as archive:
        report = it.whole([1, 2, 3])
        clean.stop()
        archive.stop()
    assert report["repeats_dropped"] == 41


@pytest.mark.long
@pytest.mark.parametrize("files_are_there", [False, True])
def test_retention_passing_an_open_intent(gate: tuple[Own, Valve], files_are_there: bool) -> None:
    """The log begins after the batch's start: nothing is put; what is complete counts, what is gone is said."""
    it, valve = gate
    killed(it, valve, ENTRY if files_are_there else FILE)
    before = {key: it.store.get(key) for key in it.data_keys()}
    it.delete_records(it.clean_topic, 120)
    it.fill_clean(range(ROWS, ROWS + 10), before=ROWS - 1)
    with it.archive() as archive:
        report = it.when_stored()
        assert "Kafka deleted records before they were stored" in archive.log or files_are_there
        archive.stop()
    assert it.numbers() == list(range(0 if files_are_there else 120, ROWS + 10))
    assert (report["gaps"], report["duplicates"]) == (0 if files_are_there else 120, 0)
    assert {key: it.store.get(key) for key in before} == before
    assert sum(ledger.count(e.lost) for e in it.entries()) == report["gaps"]
