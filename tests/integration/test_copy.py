"""copy on the real services, killed in the middle again and again: its archive holds each reading once."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from headrace import kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.kafka.ends import log_ends
from headrace.operate import provision
from headrace.protocol.clean_note import decode
from headrace.protocol.wire import EVENT_ID_BYTES, Provenance
from headrace.store.open import open_store
from processors.avro.codec import Codec
from processors.group.token import Partition
from tests.integration.processes import Row, produce, running
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]
STREAM, COPY, PARTITIONS, ROWS = "copied", "copied_twin", 2, 12_000


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream of its own on the session's servers, a copy of it, and an archive of the copy alone."""
    over = {
        "streams": {STREAM: {"contract": "environment", "partitions": PARTITIONS}},
        "bridge": {},
        "clean": {"group": "copied-clean", "batch": 500},
        "copy": {"from": f"{STREAM}.clean", "to": f"{COPY}.clean", "group": "copied-copy", "batch": 500},
        "archive": {"group": "copied-archive", "topics": [f"{COPY}.clean"], "idle_seconds": 1, "max_records": 2000},
    }
    path = stack.config_file(tmp_path / "copied.yaml", over)
    config = load(path, {})
    provision.topics(config)
    produce(config, f"{STREAM}.raw", PARTITIONS, readings(provision.contracts(config)[STREAM]))
    return path


def readings(schema_id: int) -> Iterator[Row]:
    """Readings whose event times are 1, 2, ... milliseconds after a moment."""
    codec = Codec(find("environment").schema)
    base = {m.name: None for m in codec.node.members} | {"device_id": "d", "temperature": 20.0}
    for i in range(ROWS):
        headers = [Provenance(i.to_bytes(EVENT_ID_BYTES), 1_700_000_000_000_000).header()]
        yield codec.write(schema_id, base | {"event_time": time_of(i)}), headers


def time_of(i: int) -> int:
    return 1_700_000_000_000_000 + i * 1000


def places(stream: str) -> list[Partition]:
    return [(f"{stream}.clean", p) for p in range(PARTITIONS)]


class Group:
    """What a group has committed."""

    def __init__(self, config: Config, group: str, partitions: list[Partition]) -> None:
        self._config, self._partitions = config, partitions
        self._client = kafka.consumer(config.kafka, group)

    def close(self) -> None:
        self._client.close()

    def committed(self) -> dict[Partition, tuple[int | None, str]]:
        return kafka.committed(self._client, self._partitions)

    def wait(self, least: int) -> None:
        """Until it has dealt with `least` records."""
        until = time.monotonic() + 240
        while sum(offset or 0 for offset, _ in self.committed().values()) < least:
            assert time.monotonic() < until, self.committed()
            time.sleep(0.02)

    def end(self) -> int:
        return sum(high for _, high in log_ends(self._config.kafka, self._partitions).values())


def test_the_archive_of_a_copied_topic_holds_each_reading_once(settings: Path) -> None:
    config = load(settings, {})
    clean = Group(config, "copied-clean", [(f"{STREAM}.raw", p) for p in range(PARTITIONS)])
    copy, archive = (Group(config, f"copied-{s}", places(t)) for s, t in (("copy", STREAM), ("archive", COPY)))
    try:
        with running("archive", settings) as storing:
            for share in (0.1, 0.5):
                with running("clean", settings), running("copy", settings):
                    copy.wait(int(ROWS * share))  # then kill -9 both
            with running("clean", settings), running("copy", settings) as last:
                clean.wait(ROWS)
                copy.wait(copy.end())
                last.terminate()
                assert last.wait(30) == 0
            archive.wait(archive.end())
            storing.terminate()
            assert storing.wait(30) == 0
        counts = [decode(note).counts for _, note in copy.committed().values()]
        emitted, copied = copy.end(), archive.end()
    finally:
        for group in (clean, copy, archive):
            group.close()
    store = open_store(config.store)
    keys = [info.key for info in store.list(f"{COPY}/") if info.key.endswith(".parquet")]
    rows = [row for key in keys for row in pq.read_table(io.BytesIO(store.get(key))).to_pylist()]
    assert sorted(int(row["event_time"].timestamp() * 1_000_000 + 0.5) for row in rows) == list(
        map(time_of, range(ROWS))
    )
    assert {(row["_topic"], row["_partition"]) for row in rows} == set(places(COPY))
    assert sum(c.kept for c in counts) == ROWS
    assert sum(c.total for c in counts) == emitted
    print(f"clean emitted {emitted}, copy {copied}, for {ROWS} readings")
