"""clean killed in the middle, and stopped: by their positions, its rows are each raw reading exactly once.

Its look-backs come from the log, or from snapshots in the store.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from headrace import deadletters, kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.operate import provision
from headrace.protocol import clean_note
from headrace.protocol.wire import EVENT_ID_BYTES, ORIGIN, Provenance, provenance, unpack_position
from headrace.store.open import open_store
from processors.avro.codec import Codec
from processors.clean.snapshots import FOLDER
from tests.integration.processes import Row, produce, records, running, wait_for
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2"), pytest.mark.long]
PARTITIONS, ROWS = 2, 12_000


def made(stack: Stack, tmp_path: Path, stream: str) -> Path:
    """A stream of its own on the session's servers, its topics made and filled."""
    over = {
        "streams": {stream: {"contract": "environment", "partitions": PARTITIONS}},
        "bridge": {},
        "archive": {},
        "clean": {"group": f"{stream}-clean", "lookback": 500, "batch": 500},
        "dead_letters": {"topic": f"{stream}-dead-letters"},
    }
    path = stack.config_file(tmp_path / f"{stream}.yaml", over)
    config = load(path, {})
    provision.topics(config)
    produce(config, f"{stream}.raw", PARTITIONS, readings(provision.contracts(config)[stream]))
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
        headers = [Provenance(n.to_bytes(EVENT_ID_BYTES), now).header()]
        yield codec.write(schema_id, row), headers


def places_of(config: Config) -> list[tuple[str, int]]:
    """The partitions of the configuration's one stream."""
    (stream,) = config.streams
    return [(f"{stream}.raw", p) for p in range(PARTITIONS)]


def test_each_raw_reading_is_dealt_with_once(stack: Stack, tmp_path: Path) -> None:
    settings = made(stack, tmp_path, "replayed")
    config = load(settings, {})
    places = places_of(config)
    client = kafka.consumer(config.kafka, config.clean.group)
    for share in (0.05, 0.5):
        with running("clean", settings):
            wait_for(client, places, int(ROWS * share))  # then kill -9
    with running("clean", settings) as last:
        wait_for(client, places, ROWS)
        last.terminate()
        assert last.wait(30) == 0
    client.close()
    check_each_once(config)


def check_each_once(config: Config) -> None:
    """Each raw reading is a row, a dead letter or a counted repeat, by the log alone."""
    client = kafka.consumer(config.kafka, config.clean.group)
    notes = {place: clean_note.decode(text) for place, (_, text) in kafka.committed(client, places_of(config)).items()}
    client.close()
    letters = {(it.source["partition"], it.source["offset"]) for it in deadletters.read(config)}
    for topic, partition in places_of(config):
        raw = records(config, topic, partition)
        passed, last_seen = {}, ORIGIN
        for m in records(config, topic.replace(".raw", ".clean"), partition):
            src, prev = unpack_position(provenance(kafka.headers_of(m)).position)
            if src > last_seen:  # else: emitted again after a kill
                assert prev <= last_seen, "a hole"
                passed[src.offset], last_seen = m, src
        refused = {offset for p, offset in letters if p == partition}
        seen: set[bytes] = set()
        repeated = 0
        for m in raw:
            key, offset = provenance(kafka.headers_of(m)).event_id or b"", m.offset() or 0
            places = (offset in passed) + (offset in refused) + (key in seen)
            assert places == 1, (offset, places)
            repeated += key in seen
            seen.add(key)
        counts = notes[topic, partition].counts
        assert (counts.total, counts.repeated, counts.rejected) == (len(raw), repeated, len(refused))
        assert counts.kept + counts.changed == len(passed)
        assert min(repeated, len(refused), counts.changed) > 0


def test_a_look_back_comes_from_the_store_if_it_can(stack: Stack, tmp_path: Path) -> None:
    """Stopped on request, with a snapshot overwritten, and with the store away: the same decisions."""
    settings = made(stack, tmp_path, "restored")
    config = load(settings, {})
    places, store, schema_id = places_of(config), open_store(config.store), provision.contracts(config)["restored"]
    client, done, seen = kafka.consumer(config.kafka, config.clean.group), ROWS, list[tuple[int, bool]]()

    def life(path: Path) -> None:
        """A clean that deals with all there is, and what it said of snapshots."""
        log = tmp_path / "clean.log"
        with running("clean", path, log) as it:
            wait_for(client, places, done)
            it.terminate()
            assert it.wait(30) == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        seen.extend((x["found"], "error" in x) for x in lines if x["event"] == "look-backs from the store")

    life(settings)
    keys = sorted(it.key for it in store.list(f"{FOLDER}/restored.raw/"))
    assert [key.rpartition("/")[2] for key in keys] == ["p0.lookback", "p1.lookback"]
    away = tmp_path / "away.yaml"
    data = yaml.safe_load(settings.read_text())
    away.write_text(yaml.safe_dump({**data, "store": {**data["store"], "endpoint": "127.0.0.1:9"}}))
    for path in (settings, settings, away):
        again = [row for n, row in enumerate(readings(schema_id)) if ROWS - 300 <= n < ROWS]  # copies, all of them
        produce(config, "restored.raw", PARTITIONS, again)
        done += len(again)
        life(path)
        if len(seen) == 1:
            store.put(keys[0], b"not a snapshot")
    client.close()
    assert seen == [(2, False), (1, True), (0, True)]
    check_each_once(config)
