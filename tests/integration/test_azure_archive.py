"""The archive on Azure Blob: killed on its way, every row of the topic lies there once."""

import io
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fastavro
import orjson
import pyarrow.parquet as pq
import pytest
import yaml

from headrace import kafka
from headrace.config import Config
from headrace.config.connect import Kafka
from headrace.contracts.files import find
from headrace.errors import TransientError
from headrace.lake import layout
from headrace.operate import provision
from headrace.protocol.names import lake_folder
from headrace.protocol.wire import ORIGIN, Position, Provenance, frame, pack_position
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from tests.secured import azurite
from tests.secured import kafka as servers
from tests.secured.answers import Answer, Request, answering
from tests.stack import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.long]
ROWS = 3_000
PATIENCE = 180.0


def registry(request: Request) -> Answer:
    """A registry that knows one schema."""
    found = {"subject": "s", "version": 1, "id": 1, "schemaType": "AVRO", "schema": find("imu").text}
    return 200, {"Content-Type": "application/json"}, orjson.dumps(found)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    stream = f"az{uuid.uuid4().hex[:6]}"
    with (
        servers.running(tmp_path, {}) as broker,
        azurite.running(tmp_path, "lake") as url,
        answering(registry) as answers,
    ):
        data = {
            "kafka": {"bootstrap": broker.address("inner")},
            "registry": {"url": f"http://127.0.0.1:{answers.port}"},
            "store": {
                "kind": "azure",
                "bucket": "lake",
                "azure": {"account": azurite.ACCOUNT, "url": url, "account_key": azurite.KEY},
            },
            "streams": {stream: {"contract": "imu", "partitions": 1}},
            "dead_letters": {"topic": f"{stream}-letters", "partitions": 1},
            "archive": {"group": f"{stream}-archive", "idle_seconds": 1, "max_age_seconds": 1, "max_records": 400},
        }
        (tmp_path / "headrace.yaml").write_text(yaml.safe_dump(data))
        it = Config.model_validate(data)
        end = time.monotonic() + PATIENCE
        while True:  # a broker that has just started on a busy machine may take long over its first topics
            try:
                provision.topics(it)
            except TransientError:
                if time.monotonic() > end:
                    raise
            else:
                break
        yield it


def emit(cfg: Kafka, topic: str, first: int, end: int) -> None:
    """What clean would write, of two days."""
    schema, nothing = fastavro.parse_schema(orjson.loads(find("imu").text)), {f.name: None for f in find("imu").fields}
    producer = kafka.producer(cfg)
    for i in range(first, end):
        reading = {**nothing, "device_id": "d-01", "event_time": 1_700_000_000_000_000 + i * 40_000_000, "ax": i / 7}
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, reading | dict.fromkeys(("ay", "az", "gx", "gy", "gz"), 0.5))
        position = pack_position(Position(0, i, 0), Position(0, i - 1, 0) if i else ORIGIN)
        headers = [Provenance(i.to_bytes(16), 1, position=position).header()]
        producer.produce(topic, frame(1, out.getvalue()), key=b"d-01", headers=headers)  # type: ignore[arg-type]
    assert producer.flush(PATIENCE) == 0


def stored(store: ObjectStore, topic: str) -> Counter[int]:
    """How often each offset lies in the lake."""
    keys = [i.key for i in store.list(f"{lake_folder(topic)}/") if layout.parse_data_key(i.key, topic)]
    return Counter(o for k in keys for o in pq.read_table(io.BytesIO(store.get(k)))["_offset"].to_pylist())


def test_every_row_lies_in_azure_once_though_the_archive_is_killed(config: Config, tmp_path: Path) -> None:
    stream = next(iter(config.streams))
    topic, store = f"{stream}.clean", open_store(config.store)
    command = [sys.executable, "-m", "processors", "archive", "--config", str(tmp_path / "headrace.yaml")]
    emit(config.kafka, topic, 0, ROWS // 2)
    with (tmp_path / "archive.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        try:
            end = time.monotonic() + PATIENCE
            while not stored(store, topic) and time.monotonic() < end:
                time.sleep(0.02)
            process.kill()
            process.wait()
            emit(config.kafka, topic, ROWS // 2, ROWS)
            process = subprocess.Popen(command, cwd=ROOT, stderr=log)
            while sum(stored(store, topic).values()) < ROWS and time.monotonic() < end:
                assert process.poll() is None, (tmp_path / "archive.log").read_text()[-3000:]
                time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    assert stored(store, topic) == dict.fromkeys(range(ROWS), 1), (tmp_path / "archive.log").read_text()[-3000:]
