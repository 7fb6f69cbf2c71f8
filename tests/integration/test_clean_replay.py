"""clean killed in the middle, again and again: by their positions, its rows are each raw reading exactly once."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace import cleanmeta, deadletters, kafka, provision
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.partition import read, reader
from headrace.wire import EVENT_ID, EVENT_ID_BYTES, ORIGIN, POSITION, RECEIVED_AT, header, unpack_position
from processors import columns
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.integration
STREAM, PARTITIONS, ROWS = "replayed", 2, 30_000
RAW, CLEAN = f"{STREAM}.raw", f"{STREAM}.clean"
PLACES = [(RAW, p) for p in range(PARTITIONS)]


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream of its own on the session's servers, its topics made and filled."""
    over = {
        "streams": {STREAM: {"contract": "environment", "partitions": PARTITIONS}},
        "bridge": {},
        "archive": {},
        "clean": {"group": "replayed-clean", "lookback": 500, "batch": 1000},
        "dead_letters": {"topic": "replayed-dead-letters"},
    }
    path = stack.config_file(tmp_path / "replayed.yaml", over)
    config = load(path, {})
    provision.topics(config)
    fill(config, provision.contracts(config)[STREAM])
    return path


def fill(config: Config, schema_id: int) -> None:
    """Readings of which every 10th has a sentinel, every 50th is refused, every 100th repeats the one before."""
    codec = columns.codec(find("environment"))
    now = time.time_ns() // 1000
    base = {name: None for name, _ in codec.node.fields} | {"device_id": "d"}
    producer = kafka.producer(config.kafka)
    for i in range(ROWS):
        n = (i // PARTITIONS // 2 * 2 * PARTITIONS + i % PARTITIONS) if i // PARTITIONS % 100 == 99 else i
        row = base | {"event_time": now - n, "temperature": -200.0 if n // PARTITIONS % 10 == 0 else 20.0}
        if n // PARTITIONS % 50 == 1:
            row["event_time"] = 0
        headers = [(EVENT_ID, n.to_bytes(EVENT_ID_BYTES)), (RECEIVED_AT, b"%d" % now)]
        producer.produce(RAW, codec.write(schema_id, row), b"d", i % PARTITIONS, headers=headers)  # type: ignore[arg-type]
        if i % 1000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0


@contextmanager
def clean(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, killed at the end whatever happened."""
    environ = {**os.environ, "HEADRACE_KAFKA__LIBRDKAFKA": "{session.timeout.ms: 6000}"}
    args = [sys.executable, "-m", "processors", "clean", "--config", str(path)]
    it = subprocess.Popen(args, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
    try:
        yield it
    finally:
        it.kill()
        it.wait()


def wait_for(client: kafka.Consumer, least: int) -> None:
    until = time.monotonic() + 300
    while sum(offset or 0 for offset, _ in kafka.committed(client, PLACES).values()) < least:
        assert time.monotonic() < until, "clean made no progress"
        time.sleep(0.02)


def records(config: Config, topic: str, number: int) -> list[kafka.Message]:
    client = reader(config.kafka)
    try:
        return list(read(client, topic, number))
    finally:
        client.close()


def test_each_raw_reading_is_dealt_with_once(settings: Path) -> None:
    config = load(settings, {})
    client = kafka.consumer(config.kafka, config.clean.group)
    for share in (0.05, 0.5):
        with clean(settings):
            wait_for(client, int(ROWS * share))  # then kill -9
    with clean(settings) as last:
        wait_for(client, ROWS)
        last.terminate()
        assert last.wait(30) == 0
    notes = {place: cleanmeta.decode(text) for place, (_, text) in kafka.committed(client, PLACES).items()}
    client.close()
    letters = {(it.source["partition"], it.source["offset"]) for it in deadletters.read(config)}
    for topic, partition in PLACES:
        raw = records(config, topic, partition)
        passed, last_seen = {}, ORIGIN
        for m in records(config, CLEAN, partition):
            src, prev = unpack_position(header(m.headers(), POSITION) or b"")  # type: ignore[arg-type]
            if src > last_seen:  # else: emitted again after a kill
                assert prev <= last_seen, "a hole"
                passed[src.offset], last_seen = m, src
        refused = {offset for p, offset in letters if p == partition}
        seen: set[bytes] = set()
        repeated = 0
        for m in raw:
            key, offset = header(m.headers(), EVENT_ID) or b"", m.offset() or 0  # type: ignore[arg-type]
            places = (offset in passed) + (offset in refused) + (key in seen)
            assert places == 1, (offset, places)
            repeated += key in seen
            seen.add(key)
        counts = notes[topic, partition].counts
        assert (counts.total, counts.repeated, counts.rejected) == (len(raw), repeated, len(refused))
        assert counts.kept + counts.changed == len(passed)
        assert min(repeated, len(refused), counts.changed) > 0
