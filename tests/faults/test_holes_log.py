"""The log itself: made anew, cut off, shared with strangers, its partitions or its committed offsets changed."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from headrace import kafka
from headrace.errors import ConfigError, FatalError
from headrace.kafka.connect import connection
from headrace.operate import provision
from headrace.protocol import clean_note
from processors.clean import service as clean_service
from processors.group import relay
from tests.faults.own import Make, Own, Service, until
from tests.stack import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]


def recreate(it: Own, topic: str) -> None:
    client = kafka.admin(it.config.kafka)
    for future in client.delete_topics([topic]).values():
        future.result()
    until(lambda: topic not in kafka.describe(it.config.kafka, [topic]))
    provision.topics(it.config)


@contextmanager
def still(service: Service) -> Iterator[None]:
    """The service sees nothing of what happens meanwhile. It stands for longer than what it takes for no pause."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
        time.sleep(2 * relay._STALL_SECONDS)
    finally:
        service.process.send_signal(signal.SIGCONT)


def raise_partitions(it: Own, *topics: str, to: int) -> None:
    client = kafka.admin(it.config.kafka)
    for future in client.create_partitions([NewPartitions(t, to) for t in topics]).values():
        future.result()


def expire(it: Own, group: str) -> None:
    """What Kafka does to a group that was away for too long."""
    client = kafka.admin(it.config.kafka)
    for future in client.delete_consumer_groups([group]).values():
        future.result()


def adopt(it: Own) -> None:
    command = [sys.executable, "-m", "headrace", "--config", str(it.path), "archive", "adopt", "--yes"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def foreign(it: Own, topic: str, ends: tuple[bool, ...]) -> None:
    """A transaction of three messages for each end: committed, or aborted."""
    producer = kafka.Producer({**connection(it.config.kafka), "transactional.id": it.stream})
    producer.init_transactions(20)
    for commit in ends:
        producer.begin_transaction()
        for n in range(3):
            producer.produce(topic, b"stranger %d" % n, partition=0)
        producer.flush(20)
        (producer.commit_transaction if commit else producer.abort_transaction)(20)


@pytest.mark.long
def test_a_recreated_clean_topic(own: Make) -> None:
    """With the topic Kafka forgets what was committed: the archive does not take the new one for the old one's rest."""
    it = own()
    it.fill_clean(range(20))
    with it.archive() as archive:
        it.whole(range(20))
        archive.stop()
    recreate(it, it.clean_topic)
    it.fill_clean(range(20, 60), before=19)
    with it.archive() as archive:
        archive.ends(2, "headrace archive adopt")
    assert it.numbers() == list(range(20))
    adopt(it)
    with it.archive() as archive:
        it.whole(range(60))
        archive.stop()


@pytest.mark.long
def test_rows_emitted_again_into_a_recreated_clean_topic(own: Make) -> None:
    """clean died before it committed, and the clean topic was made anew: what the lake has is not stored again."""
    it = own()
    it.fill_raw(range(40))
    it.fill_clean(range(20))
    with it.archive() as archive:
        until(lambda: it.archived() == 20, lambda: archive.log)
        archive.stop()
    recreate(it, it.clean_topic)
    it.fill_clean(range(15, 40), before=14)
    adopt(it)
    with it.archive() as archive:
        until(lambda: it.archived() == 25, lambda: archive.log)
        archive.stop()
    assert it.numbers() == list(range(40))
    assert sum(e.end - e.start - e.rows for e in it.entries()) == 5


def test_a_recreated_raw_topic(own: Make) -> None:
    """Its positions begin again, and with the topic Kafka forgets what was committed: rows after rows of the old topic

    would be dropped as repeats of those. clean says what to do, and that works.
    """
    it = own()
    it.fill_raw(range(20))
    with it.clean() as clean, it.archive() as archive:
        it.whole(range(20))
        clean.stop()
        archive.stop()
    recreate(it, it.raw)
    new = range(100, 140)
    it.fill_raw(new)
    with it.clean() as clean:
        clean.ends(1, "deleted and created again")
    assert len(it.records(it.clean_topic)) == 20
    recreate(it, it.clean_topic)
    adopt(it)
    with it.clean() as clean, it.archive() as archive:
        until(lambda: it.archived() == len(new), lambda: archive.log)
        clean.stop()
        archive.stop()
    assert it.numbers() == [*range(20), *new]


@pytest.mark.long
def test_a_topic_recreated_and_refilled_under_a_running_archive(own: Make) -> None:
    it = own()
    it.fill_clean(range(20))
    with it.archive() as archive:
        until(lambda: it.archived() == 20, lambda: archive.log)
        with still(archive):
            recreate(it, it.clean_topic)
            it.fill_clean(range(40))  # more than there were: the old position lies in their midst, and fits
        archive.ends(1, "deleted and created again")
    assert it.numbers() == list(range(20))


def test_a_topic_recreated_and_refilled_under_a_running_clean(own: Make) -> None:
    it = own()
    it.fill_raw(range(20))
    with it.clean() as clean:
        until(lambda: it.cleaned() == 20, lambda: clean.log)
        with still(clean):
            recreate(it, it.raw)
            it.fill_raw(range(100, 140))
        clean.ends(1, "deleted and created again")
    assert len(it.records(it.clean_topic)) == 20


@pytest.mark.long
def test_offsets_expired(own: Make) -> None:
    """clean begins at the log's start and doubles nothing; the archive asks for a person, and adopts."""
    it = own()
    it.fill_raw(range(50))
    with it.clean() as clean, it.archive() as archive:
        it.whole(range(50))
        clean.stop()
        archive.stop()
    expire(it, it.config.clean.group)
    expire(it, it.config.archive.group)
    it.fill_raw(range(50, 70))
    with it.clean() as clean, it.archive() as archive:
        archive.ends(2, "headrace archive adopt")
        until(lambda: it.cleaned() == 70, lambda: clean.log)
        clean.stop()
    assert len(it.records(it.clean_topic)) == 50 + 70
    adopt(it)
    with it.archive() as archive:
        assert it.whole(range(70))["repeats_dropped"] == 50
        archive.stop()


def test_a_foreign_transaction_in_raw(own: Make) -> None:
    """clean counts its marks as offsets without a record, and what it committed as refused."""
    it = own()
    it.fill_raw(range(10))
    foreign(it, it.raw, (True, False))
    it.fill_raw(range(10, 20))
    with it.clean() as clean, it.archive() as archive:
        report = it.whole(range(20))
        clean.stop()
        archive.stop()
    assert report["dead_letters"] == 3
    counts = clean_note.decode(it.committed(it.config.clean.group, it.raw)[1]).counts
    assert (counts.kept, counts.rejected, counts.skipped) == (20, 3, 1 + 3 + 1)


@pytest.mark.long
def test_a_foreign_transaction_in_clean(own: Make) -> None:
    """What it committed is refused, what it aborted is not seen, and its marks are offsets without a record."""
    it = own(archive={"max_records": 30})
    it.fill_clean(range(40))
    foreign(it, it.clean_topic, (True, False, True))
    it.fill_clean(range(40, 80), before=39)
    with it.archive() as archive:
        report = it.whole(range(80))
        archive.stop()
    assert (report["refused"], len(it.letters())) == (6, 6)
    assert sum(b - a for e in it.entries() for a, b in e.skipped) == 3 + 3
    assert it.entries()[-1].end == 80 + 9 + 3


@pytest.mark.long
@pytest.mark.parametrize("commit", [True, False])
def test_a_foreign_transaction_last_in_raw(own: Make, commit: bool) -> None:
    """Its mark is no record, and nothing comes after it: it does not count as waiting, and a restart goes on there."""
    it = own()
    it.fill_raw(range(10))
    with it.clean() as clean, it.archive() as archive:
        it.whole(range(10))
        foreign(it, it.raw, (commit,))
        until(lambda: it.cleaned() == 14, lambda: clean.log)
        it.whole(range(10))
        clean.stop()
        archive.stop()
    foreign(it, it.raw, (commit,))
    with it.clean() as clean, it.archive() as archive:
        until(lambda: it.cleaned() == 18, lambda: clean.log)
        it.fill_raw(range(10, 20))
        it.whole(range(20))
        clean.stop()
        archive.stop()
    counts = clean_note.decode(it.committed(it.config.clean.group, it.raw)[1]).counts
    assert (counts.kept, counts.rejected, counts.skipped) == (20, 6 if commit else 0, 2 if commit else 8)


@pytest.mark.long
@pytest.mark.parametrize("commit", [True, False])
def test_a_foreign_transaction_last_in_clean(own: Make, commit: bool) -> None:
    it = own()
    it.fill_clean(range(10))
    with it.archive() as archive:
        it.whole(range(10))
        foreign(it, it.clean_topic, (commit,))
        until(lambda: it.archived() == 14, lambda: archive.log)
        it.whole(range(10))
        archive.stop()
    foreign(it, it.clean_topic, (commit,))
    with it.archive() as archive:
        until(lambda: it.archived() == 18, lambda: archive.log)
        it.fill_clean(range(10, 20), before=9)
        it.whole(range(20))
        archive.stop()
    assert it.entries()[-1].end == 28
    assert sum(b - a for e in it.entries() for a, b in e.skipped) == (2 if commit else 8)


@pytest.mark.long
@pytest.mark.parametrize("raised", ["raw", "both"])
def test_a_partition_count_raised_while_clean_runs(own: Make, monkeypatch: pytest.MonkeyPatch, raised: str) -> None:
    """Devices move to other partitions: clean halts before it mixes up their order."""
    it = own()
    monkeypatch.setattr(relay, "_CHECK_SECONDS", 0.5)
    it.fill_raw(range(5))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            clean_service.run(it.config, stop)
        except FatalError as e:
            failed.append(e)

    stop = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: it.cleaned() == 5)
        raise_partitions(it, it.raw, *([it.clean_topic] if raised == "both" else []), to=2)
        it.fill_raw(range(5, 10), partition=1)
        thread.join(60)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join(60)
    assert "partitions" in str(failed[0])
    if raised == "both":
        assert it.records(it.clean_topic, 1) == []


@pytest.mark.long
def test_a_partition_count_raised_while_the_services_were_away(own: Make) -> None:
    it = own()
    it.fill_raw(range(5))
    raise_partitions(it, it.raw, to=2)
    with it.bridge() as bridge, it.clean() as clean:
        bridge.ends(2, "has 2 partitions, the configuration says 1")
        clean.ends(1, f"{it.raw} has 2 partitions, {it.clean_topic} has 1")
    assert it.records(it.clean_topic) == []


def test_a_partition_count_raised_while_the_bridge_runs(own: Make) -> None:
    it = own()
    with it.bridge() as bridge:
        bridge.says('"receiving"')
        raise_partitions(it, it.clean_topic, to=2)
        bridge.ends(1, "has 2 partitions now, and had 1")


def test_offset_metadata_too_large(own: Make) -> None:
    """Kafka refuses it: its setting offset.metadata.max.bytes is for a person to mend, and no reason to try again."""
    it = own()
    client = kafka.consumer(it.config.kafka, it.config.archive.group)
    try:
        kafka.commit(client, it.clean_topic, 0, 0, "x" * 4_000)
        with pytest.raises(ConfigError, match="OFFSET_METADATA_TOO_LARGE"):
            kafka.commit(client, it.clean_topic, 0, 1, "x" * 5_000)
        assert kafka.committed(client, [(it.clean_topic, 0)])[it.clean_topic, 0][0] == 0
    finally:
        client.close()
