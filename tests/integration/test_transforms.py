"""A transform that fails on 1 % of rows and is corrected, its letters redriven; a calibration that changes with it, and
alone; clean killed between: every row once, by one version of both.
"""

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
from headrace.protocol.versions import FOLDER, Parts, digest_of, named
from headrace.protocol.wire import EVENT_ID_BYTES, ORIGIN, Provenance, provenance, unpack_position
from headrace.store.open import open_store
from processors.avro.codec import Codec
from tests.integration.processes import Row, produce, records, running, wait_for
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
STREAM, PARTITIONS, ROWS = "shaped", 2, 1_800
RAW, CLEAN = f"{STREAM}.raw", f"{STREAM}.clean"
PLACES = [(RAW, p) for p in range(PARTITIONS)]
CODEC = Codec(find("environment").schema)
TRY = ("--from", "raw", "--rows", "50", "--json")
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


def table(offset: int) -> str:
    """A calibration: of 20 degrees it leaves 20 - `offset`."""
    return f"device_id,valid_from,field,offset,gain\nd,2026-01-31,temperature,{offset},\nd,2099-01-01,temperature,99,\n"


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream of its own on the session's servers, its topics made."""
    over = {
        "streams": {
            STREAM: {
                "contract": "environment",
                "partitions": PARTITIONS,
                "routes": ["shaped/{device_id}"],
                "transform": "shaped.py",
                "calibration": "shaped.csv",
            }
        },
        "bridge": {"client_id": "headrace-shaped"},
        "archive": {},
        "clean": {"group": "shaped-clean", "lookback": 500, "batch": 100},
        "dead_letters": {"topic": "shaped-dead-letters"},
    }
    path = stack.config_file(tmp_path / "shaped.yaml", over)
    (tmp_path / "shaped.py").write_text(BROKEN)
    (tmp_path / "shaped.csv").write_text(table(10))
    config = load(path, {})
    provision.topics(config)
    return path


def send(config: Config, third: int) -> None:
    """A third of the readings to the raw topic."""
    rows = readings(provision.contracts(config)[STREAM], range(third * ROWS // 3, (third + 1) * ROWS // 3))
    produce(config, RAW, PARTITIONS, rows)


def readings(schema_id: int, numbers: range) -> Iterator[Row]:
    """Readings whose event time tells them apart, 1 % of them with a humidity of 13."""
    now = time.time_ns() // 1000
    base = {m.name: None for m in CODEC.node.members} | {"device_id": "d"}
    for n in numbers:
        row = base | {"event_time": now - ROWS + n, "temperature": 20.0, "humidity": float(n // PARTITIONS % 100)}
        yield CODEC.write(schema_id, row), [Provenance(n.to_bytes(EVENT_ID_BYTES)).header()]


def test_a_transform_and_a_calibration_are_deployed_and_changed_while_clean_is_killed(
    settings: Path, stack: Stack, tmp_path: Path
) -> None:
    config = load(settings, {})
    client = kafka.consumer(config.kafka, config.clean.group)
    send(config, 0)
    with running("clean", settings):
        wait_for(client, PLACES, ROWS // 6)  # then kill -9
    versions = {11.0: noted(tmp_path)}  # 20 - 10, and 1
    (tmp_path / "shaped.py").write_text(MENDED)
    (tmp_path / "shaped.csv").write_text(table(5))
    send(config, 1)
    with running("clean", settings):
        wait_for(client, PLACES, ROWS // 2)
    versions[17.0] = noted(tmp_path)  # 20 - 5, and 2
    (tmp_path / "shaped.csv").write_text(table(4))
    send(config, 2)
    with running("clean", settings):
        wait_for(client, PLACES, ROWS)
    versions[18.0] = noted(tmp_path)
    tried = stack.json("--config", str(settings), "transform", "test", "--stream", STREAM, *TRY)
    assert (tried["version"], tried["rows"], tried["changed"]) == (named(versions[18.0]), 50, 50)
    assert {(it["before"], it["after"]) for it in tried["changes"]} == {(20.0, 18.0)}
    letters = list(deadletters.read(config))
    assert 0 < len(letters) < ROWS // 50
    assert {(it.text("reason"), it.text("rule")) for it in letters} == {("transform", "transform")}
    assert "ValueError: thirteen (line 4)" in letters[0].text("detail")
    with running("clean", settings):
        stack.run("--config", str(settings), "dlq", "redrive", "--yes", "--stream", STREAM)
        wait_for(client, PLACES, ROWS + len(letters))
    committed = kafka.committed(client, PLACES)
    client.close()
    check(config, committed, len(letters), versions)
    store = open_store(config.store)
    for transform, calibration in versions.values():
        assert digest_of(store.get(f"{FOLDER}/{transform}.py").decode()) == transform
        assert digest_of(store.get(f"{FOLDER}/{calibration}.csv").decode()) == calibration


def noted(folder: Path) -> Parts:
    """The version in the files."""
    return Parts(*(digest_of((folder / name).read_text()) for name in ("shaped.py", "shaped.csv")))


def check(
    config: Config,
    committed: dict[tuple[str, int], tuple[int | None, str]],
    letters: int,
    versions: dict[float, Parts],
) -> None:
    """Every reading is a row once, by one version, in the order of the versions: by what each makes of 20 degrees."""
    times: Counter[int] = Counter()
    made: set[float] = set()
    for topic, partition in PLACES:
        last, values = ORIGIN, []
        for m in records(config, CLEAN, partition):
            src, prev = unpack_position(provenance(kafka.headers_of(m)).position)
            if src > last:  # else: emitted again after a kill
                assert prev <= last, "a hole"
                last, row = src, CODEC.read(kafka_bytes(m))
                times[row["event_time"]] += 1
                values.append(row["temperature"])
                transform, calibration = versions[row["temperature"]]
                assert row["_quality"] == (
                    f"temperature:calibration:{calibration[:8]};temperature:transform:{transform[:8]}"
                )
        assert values == sorted(values)
        made.update(values)
        at, text = committed[topic, partition]
        note = clean_note.decode(text)
        assert note.counts.total == at
        assert [v.digest for v in note.versions] == [named(versions[18.0])]
    assert made == set(versions)
    assert len(times) == ROWS
    assert set(times.values()) == {1}
    assert len(list(deadletters.read(config))) == letters


def kafka_bytes(m: kafka.Message) -> bytes:
    """The value of a record that has one."""
    value = m.value()
    assert isinstance(value, bytes)
    return value
