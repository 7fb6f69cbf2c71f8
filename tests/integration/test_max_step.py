"""max_step on the real stack, with clean killed in the middle: each reading gets the verdict that its raw log gives."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.deadletters import read as read_letters
from headrace.operate import provision
from headrace.protocol.wire import EVENT_ID_BYTES, ORIGIN, Provenance, provenance, unpack_position
from processors.avro.codec import Codec
from tests.integration.processes import Row, produce, records, running, wait_for
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]
STREAM, PARTITIONS, ROWS, LOOKBACK, STEP = "stepped", 2, 20_000, 700, 5
RAW, CLEAN = f"{STREAM}.raw", f"{STREAM}.clean"
PLACES = [(RAW, p) for p in range(PARTITIONS)]
_TIME = {"type": "long", "logicalType": "timestamp-micros"}
FIELDS = [
    {"name": "device_id", "type": "string", "doc": "Which."},
    {"name": "event_time", "type": _TIME, "doc": "When.", "minimum": 946684800000000},
    {
        "name": "temperature", "type": ["null", "double"], "default": None, "doc": "Air.", "unit": "Cel",
        "max_step": STEP, "on_violation": "null",
    },
    {"name": "pressure", "type": "double", "doc": "Air.", "unit": "hPa", "max_step": STEP},
    {"name": "_quality", "type": ["null", "string"], "default": None},
]  # fmt: skip


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream of its own on the session's servers, its topics made and filled."""
    contract = {"type": "record", "name": STREAM, "doc": "Steps.", "fields": FIELDS}
    (tmp_path / f"{STREAM}.avsc").write_text(json.dumps(contract), encoding="utf-8")
    over = {
        "contracts": [str(tmp_path)],
        "streams": {STREAM: {"contract": STREAM, "partitions": PARTITIONS}},
        "bridge": {},
        "archive": {},
        "clean": {"group": "stepped-clean", "lookback": LOOKBACK, "batch": 1000},
        "dead_letters": {"topic": "stepped-dead-letters"},
    }
    path = stack.config_file(tmp_path / "stepped.yaml", over)
    config = load(path, {})
    provision.topics(config)
    produce(config, RAW, PARTITIONS, readings(config, provision.contracts(config)[STREAM]))
    return path


def readings(config: Config, schema_id: int) -> Iterator[Row]:
    """Readings of ten devices that drift, with steps, late ones and copies; the same each time."""
    codec = Codec(find(STREAM, config.contracts).schema)
    rnd, start = random.Random(5), time.time_ns() // 1000 - 10**9
    for i in range(ROWS):
        device = i // PARTITIONS % 10
        at = start + 1000 * (i - (300 if rnd.random() < 0.05 else 0))
        row = {
            "device_id": f"d{device}",
            "event_time": at,
            "temperature": rnd.choice([None, 90.0]) if rnd.random() < 0.03 else 20.0 + i / 1000,
            "pressure": 900.0 if rnd.random() < 0.02 else 1000.0,
            "_quality": None,
        }
        event_id = (i if rnd.random() > 0.02 else i // 2).to_bytes(EVENT_ID_BYTES)
        yield codec.write(schema_id, row), [Provenance(event_id, 1).header()]


def expected(log: list[kafka.Message], codec: Codec) -> dict[int, str]:
    """What becomes of each raw offset, by the definition in docs/contract-reference.md, one reading after the other."""
    out: dict[int, str] = {}
    ids: dict[bytes, int] = {}
    past: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for m in log:
        offset, row = m.offset() or 0, codec.read(m.value() or b"")
        far = set()
        for field in ("temperature", "pressure"):
            if row[field] is None:
                continue
            at = row["event_time"]
            of_device = past.setdefault((row["device_id"], field), [])
            earlier = [r for r in of_device if r[1] >= offset - LOOKBACK and r[0] <= at]
            if earlier and abs(row[field] - max(earlier)[2]) > STEP:
                far.add(field)
            of_device.append((at, offset, row[field]))
        event = provenance(kafka.headers_of(m)).event_id or b""
        repeated = ids.get(event, -LOOKBACK - 1) >= offset - LOOKBACK
        ids[event] = offset
        verdict = "rejected" if "pressure" in far else "changed" if far else "kept"
        out[offset] = "repeated" if repeated else verdict
    return out


def test_each_reading_gets_the_verdict_of_its_raw_log(settings: Path) -> None:
    config = load(settings, {})
    codec = Codec(find(STREAM, config.contracts).schema)
    client = kafka.consumer(config.kafka, config.clean.group)
    for share in (0.2, 0.6):
        with running("clean", settings):
            wait_for(client, PLACES, int(ROWS * share))  # then kill -9
    with running("clean", settings) as last:
        wait_for(client, PLACES, ROWS)
        last.terminate()
        assert last.wait(30) == 0
    client.close()
    letters = {(it.source["partition"], it.source["offset"]): it for it in read_letters(config)}
    assert {it.text("field") for it in letters.values()} == {"pressure"}
    for topic, partition in PLACES:
        raw = records(config, topic, partition)
        found = dict.fromkeys((m.offset() or 0 for m in raw), "repeated")
        found |= {offset: "rejected" for p, offset in letters if p == partition}
        last_seen = ORIGIN
        for m in records(config, CLEAN, partition):
            src, _ = unpack_position(provenance(kafka.headers_of(m)).position)
            if src > last_seen:
                note = codec.read(m.value() or b"")["_quality"]
                assert note in {None, "temperature:max_step:null"}
                found[src.offset], last_seen = "kept" if note is None else "changed", src
        assert found == expected(raw, codec)
        assert set(found.values()) == {"kept", "changed", "rejected", "repeated"}
