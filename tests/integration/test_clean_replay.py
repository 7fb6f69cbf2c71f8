"""clean killed in the middle, again and again: by their positions, its rows are each raw reading exactly once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import deadletters, kafka
from headrace.config import load
from headrace.contracts.files import find
from headrace.operate import provision
from headrace.protocol import clean_note
from headrace.protocol.wire import EVENT_ID, EVENT_ID_BYTES, ORIGIN, POSITION, RECEIVED_AT, header, unpack_position
from processors.avro.codec import Codec
from tests.integration.processes import Row, produce, records, running, wait_for
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2"), pytest.mark.long]
STREAM, PARTITIONS, ROWS = "replayed", 2, 12_000
RAW, CLEAN = f"{STREAM}.raw", f"{STREAM}.clean"
PLACES = [(RAW, p) for p in range(PARTITIONS)]


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream of its own on the session's servers, its topics made and filled."""
    over = {
        "streams": {STREAM: {"contract": "environment", "partitions": PARTITIONS}},
        "bridge": {},
        "archive": {},
        "clean": {"group": "replayed-clean", "lookback": 500, "batch": 500},
        "dead_letters": {"topic": "replayed-dead-letters"},
    }
    path = stack.config_file(tmp_path / "replayed.yaml", over)
    config = load(path, {})
    provision.topics(config)
    produce(config, RAW, PARTITIONS, readings(provision.contracts(config)[STREAM]))
    return path


def readings(schema_id: int) -> Iterator[Row]:
    """Readings of which every 10th has a sentinel, every 50th is refused, every 100th repeats the one before."""
    codec = Codec(find("environment").schema)
    now = time.time_ns() // 1000
    base = {m.name: None for m in codec.node.members} | {"device_id": "d"}
    for i in range(ROWS):
        n = (i // PARTITIONS // 2 * 2 * PARTITIONS + i % PARTITIONS) if i // PARTITIONS % 100 == 99 else i
        row = base | {"event_time": now - n, "temperature": -200.0 if n // PARTITIONS % 10 == 0 else 20.0}
        if n // PARTITIONS % 50 == 1:
            row["event_time"] = 0
        headers = [(EVENT_ID, n.to_bytes(EVENT_ID_BYTES)), (RECEIVED_AT, b"%d" % now)]
        yield codec.write(schema_id, row), headers


def test_each_raw_reading_is_dealt_with_once(settings: Path) -> None:
    config = load(settings, {})
    client = kafka.consumer(config.kafka, config.clean.group)
    for share in (0.05, 0.5):
        with running("clean", settings):
            wait_for(client, PLACES, int(ROWS * share))  # then kill -9
    with running("clean", settings) as last:
        wait_for(client, PLACES, ROWS)
        last.terminate()
        assert last.wait(30) == 0
    notes = {place: clean_note.decode(text) for place, (_, text) in kafka.committed(client, PLACES).items()}
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
