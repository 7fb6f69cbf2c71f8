"""A transform that fails on 1 % of rows, then corrected, its letters redriven, clean killed between: every row once."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import deadletters, kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.operate import provision
from headrace.protocol import clean_note
from headrace.protocol.wire import EVENT_ID, EVENT_ID_BYTES, ORIGIN, POSITION, header, unpack_position
from headrace.transforms.code import read
from processors.avro.codec import Codec
from tests.integration.processes import Row, produce, records, running, wait_for
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
STREAM, PARTITIONS, ROWS = "shaped", 2, 6_000
RAW, CLEAN = f"{STREAM}.raw", f"{STREAM}.clean"
PLACES = [(RAW, p) for p in range(PARTITIONS)]
CODEC = Codec(find("environment").schema)
BROKEN = """
def transform(df):
    if (df.humidity == 13).any():
        raise ValueError("thirteen")
    df["temperature"] = df.temperature + 1
    return df
"""
MENDED = """
def transform(df):
    df["temperature"] = df.temperature + 2
    return df
"""


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream of its own on the session's servers, its topics made and filled."""
    over = {
        "streams": {
            STREAM: {
                "contract": "environment",
                "partitions": PARTITIONS,
                "routes": ["shaped/{device_id}"],
                "transform": "shaped.py",
            }
        },
        "bridge": {"client_id": "headrace-shaped"},
        "archive": {},
        "clean": {"group": "shaped-clean", "lookback": 500, "batch": 500},
        "dead_letters": {"topic": "shaped-dead-letters"},
    }
    path = stack.config_file(tmp_path / "shaped.yaml", over)
    (tmp_path / "shaped.py").write_text(BROKEN)
    config = load(path, {})
    provision.topics(config)
    produce(config, RAW, PARTITIONS, readings(provision.contracts(config)[STREAM]))
    return path


def readings(schema_id: int) -> Iterator[Row]:
    """Readings whose battery and event time number them, 1 % of them with a humidity of 13."""
    now = time.time_ns() // 1000
    base = {m.name: None for m in CODEC.node.members} | {"device_id": "d"}
    for n in range(ROWS):
        row = base | {"event_time": now - ROWS + n, "temperature": 20.0, "humidity": float(n // PARTITIONS % 100)}
        yield CODEC.write(schema_id, row), [(EVENT_ID, n.to_bytes(EVENT_ID_BYTES))]


def test_a_transform_is_deployed_fails_and_is_corrected(settings: Path, stack: Stack, tmp_path: Path) -> None:
    config = load(settings, {})
    client = kafka.consumer(config.kafka, config.clean.group)
    with running("clean", settings):
        wait_for(client, PLACES, ROWS // 5)  # then kill -9
    (tmp_path / "shaped.py").write_text(MENDED)
    for share in (3, 5):
        with running("clean", settings):
            wait_for(client, PLACES, ROWS * share // 5)
    letters = list(deadletters.read(config))
    assert 0 < len(letters) < ROWS // 50
    assert {(it.text("reason"), it.text("rule")) for it in letters} == {("transform", "transform")}
    assert "ValueError: thirteen (line 4)" in letters[0].text("detail")
    with running("clean", settings):
        stack.run("--config", str(settings), "dlq", "redrive", "--yes", "--stream", STREAM)
        wait_for(client, PLACES, ROWS + len(letters))
    committed = kafka.committed(client, PLACES)
    client.close()
    check(config, committed, len(letters), read(tmp_path / "shaped.py").digest)


def check(config: Config, committed: dict[tuple[str, int], tuple[int | None, str]], letters: int, digest: str) -> None:
    """Every reading is a row once; below the switch by the first version, from it on by the second."""
    times: Counter[int] = Counter()
    made: set[float] = set()
    for topic, partition in PLACES:
        last, values = ORIGIN, []
        for m in records(config, CLEAN, partition):
            src, prev = unpack_position(header(kafka.headers_of(m), POSITION) or b"")
            if src > last:  # else: emitted again after a kill
                assert prev <= last, "a hole"
                last, row = src, CODEC.read(kafka_bytes(m))
                times[row["event_time"]] += 1
                values.append(row["temperature"])
                assert row["_quality"].startswith("temperature:transform:")
        assert values == sorted(values)
        made.update(values)
        at, text = committed[topic, partition]
        note = clean_note.decode(text)
        assert note.counts.total == at
        assert [v.digest for v in note.versions] == [digest]
    assert made == {21.0, 22.0}
    assert len(times) == ROWS
    assert set(times.values()) == {1}
    assert len(list(deadletters.read(config))) == letters


def kafka_bytes(m: kafka.Message) -> bytes:
    """The value of a record that has one."""
    value = m.value()
    assert isinstance(value, bytes)
    return value
