"""A lake as the archive leaves it, by its own functions: many batches, several dates and schemas."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.config import Config
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry, StoredFile
from headrace.protocol.wire import Position
from headrace.store.base import ObjectInfo, ObjectStore
from processors.archive import parquet
from processors.archive.tables import PROVENANCE_FIELDS

TOPIC, ID = "imu.clean", "4StEs6G/QsalNoqeyEo7YQ"  # an id with a character that keys have not
DAY, SECOND = 86_400_000_000, 1_000_000
FIRST = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * SECOND  # event times, and the first batch


@dataclass
class Lake:
    """Batches that go on where the last one ended. Every row has a number of its own, `ax`, over all partitions."""

    store: ObjectStore
    topic: str = TOPIC
    topic_id: str = ID
    ends: dict[int, int] = field(default_factory=dict)
    rows: int = 0
    entries: list[Entry] = field(default_factory=list)
    devices: int = 5

    def batch(self, partition: int, rows: dict[tuple[int, int], int], *, entry: bool = True) -> Entry:
        """Store a batch. `rows`: how many of a day (counted from 2026-01-01) and of a schema id."""
        start = self.ends.get(partition, 0)
        at, files = start, []
        for (day, schema_id), n in rows.items():
            data = parquet.write([self.table(partition, at, n, day, schema_id)], 3)
            date = datetime.fromtimestamp((FIRST + day * DAY) // SECOND, UTC).date().isoformat()
            key = layout.data_key(self.topic, self.topic_id, partition, start, schema_id, date)
            self.store.put(key, data)
            files.append(StoredFile(key, n, len(data), ledger.checksum(data)))
            at += n
        end = max(at, start + 1)
        skipped = ((at, end),) if at < end else ()
        before = next((e.last for e in reversed(self.entries) if e.partition == partition), None)
        last = Position(1, at - 1, 0) if at > start else before
        out = Entry(self.topic, self.topic_id, partition, start, end, tuple(files), skipped=skipped, last=last)
        if entry:
            self.store.put(out.key, ledger.to_json(out))
        self.ends[partition] = end
        self.entries.append(out)
        return out

    def table(self, partition: int, at: int, n: int, day: int, schema_id: int) -> pa.Table:
        """Rows in Kafka's order, as the archive makes them."""
        offsets = np.arange(at, at + n)
        numbers = np.arange(self.rows, self.rows + n)
        self.rows += n
        rnd = np.random.default_rng(at * 7 + partition)
        times = FIRST + day * DAY + (at * 1000 + rnd.permutation(n)) % DAY
        columns: dict[str, Any] = {
            "device_id": pa.array([f"dev-{d:04d}" for d in rnd.integers(0, self.devices, n)]),
            "event_time": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "ax": pa.array(numbers.astype(np.float64)),
            "_quality": pa.array([None if x % 7 else "ax:max:flag" for x in numbers.tolist()], pa.string()),
        }
        if schema_id != 7:
            columns["extra"] = pa.array([[float(x), float("nan")] for x in numbers], pa.list_(pa.float32()))
        one = pa.array(np.ones(n, np.int32))
        of = {
            "_topic": pa.array([self.topic] * n), "_partition": pa.array(np.full(n, partition, np.int32)),
            "_offset": pa.array(offsets), "_kafka_time": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "_src_epoch": one, "_src_offset": pa.array(offsets), "_src_index": pa.array(np.zeros(n, np.int32)),
            "_event_id": pa.array([int(x).to_bytes(16, "big") for x in numbers], pa.binary(16)),
            "_received_at": pa.nulls(n, pa.timestamp("us", "UTC")),
        }  # fmt: skip
        table = pa.table(columns)
        for f in PROVENANCE_FIELDS:
            table = table.append_column(f, of[f.name])
        return table

    def fill(self, batches: int, rnd: random.Random, days: int = 3, partitions: int = 2) -> None:
        """Random batches: rows of one day or of several, of two schemas, batches without a row."""
        for i in range(batches):
            today = i * days // batches
            rows: dict[tuple[int, int], int] = {}
            for _ in range(rnd.choice([0, 1, 1, 1, 1, 2, 3])):
                day = today if rnd.random() < 0.8 else rnd.randrange(days)
                rows[day, rnd.choice([7, 7, 7, 12])] = rnd.randrange(1, 20)
            self.batch(rnd.randrange(partitions), rows)


class Died(BaseException):
    """The process dies here."""


class Mortal:
    """A store whose process dies at the n-th call, before it or after it. `calls` counts those that were made."""

    def __init__(self, store: ObjectStore, before: int = 0, after: int = 0) -> None:
        self._store, self._before, self._after, self.calls = store, before, after, 0

    def _call(self, name: str, *args: Any, **more: Any) -> Any:
        self.calls += 1
        call = self.calls
        if call == self._before:
            raise Died
        out = getattr(self._store, name)(*args, **more)
        if call == self._after:
            raise Died
        return out

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        return bool(self._call("put", key, data, if_absent=if_absent))

    def put_file(self, key: str, path: Path) -> None:
        self._call("put_file", key, path)

    def get(self, key: str) -> bytes:
        return bytes(self._call("get", key))

    def parts(self, key: str) -> Iterator[bytes]:
        return iter(list(self._call("parts", key)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(list(self._call("list", prefix)))

    def exists(self, key: str) -> bool:
        return bool(self._call("exists", key))

    def delete(self, key: str) -> None:
        self._call("delete", key)

    def ensure_bucket(self) -> None: ...


def settings(folder: Any, **compact: Any) -> Config:
    """A configuration of a lake in a folder."""
    return Config.model_validate({
        "store": {"kind": "folder", "folder": folder}, "streams": {"imu": {}},
        "compact": {"files": 3, "grace_seconds": 3600, **compact},
    })  # fmt: skip
