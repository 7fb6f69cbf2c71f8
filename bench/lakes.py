"""Lakes to ask: what the archive would have stored, written by its own functions, without the hours that it would take.

Batches follow one another in each partition; each is a Parquet file and a ledger entry. The values are like those of
inertial units: slow movements, a little noise, in the steps of a sensor with 16 bits.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from bench.sides import PARTITIONS, Bench
from bench.workloads import LAKE
from headrace import kafka
from headrace.config import Config, load
from headrace.config.connect import Store
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry, StoredFile
from headrace.protocol.names import clean_topic
from headrace.protocol.wire import Position
from headrace.store.open import open_store
from processors.archive import parquet
from processors.archive.tables import PROVENANCE_FIELDS

DEVICES = 501
SCHEMA_ID = 7
_DAY = 86_400_000_000
_ACCELERATION, _TURN = 9.80665 / 16384, 0.017453292519943295 / 131  # a step of the sensor
_BLOCK = 45_000  # rows that are made at a time
_WRITERS = 8
_UTC = pa.timestamp("us", "UTC")


class Kind(NamedTuple):
    """A lake of one date: so many rows, so many of them in a batch of a partition."""

    name: str
    words: str
    stream: str
    rows: int
    batch: int

    @property
    def files(self) -> int:
        """How many files the archive has stored."""
        return PARTITIONS * -(-(self.rows // PARTITIONS) // self.batch)


# The stack's default: a batch of each partition every ten seconds.
DAY = Kind("day", "24 hours of 150 readings/s", "bench_day", 12_960_000, 500)
BACKLOG = Kind("backlog", "10,000,000 readings of a backlog", "bench_backlog", 10_000_200, _BLOCK)


def make(bench: Bench, kind: Kind) -> Path:
    """Write a lake into the stack's store. The configuration of what reads it."""
    path = bench.own(LAKE._replace(apart=kind.stream), f"{kind.stream}-{time.monotonic_ns()}")
    cfg: Config = load(path, {})
    topic = clean_topic(kind.stream)
    topic_id = kafka.describe(cfg.kafka, [topic])[topic].id
    one = partial(_partition, cfg.store, topic, topic_id, kind)
    with ProcessPoolExecutor(PARTITIONS, multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(one, range(PARTITIONS)):
            pass
    return path


def _partition(store: Store, topic: str, topic_id: str, kind: Kind, partition: int) -> None:
    opened, waiting = open_store(store), list[Future[None]]()

    def put(start: int, table: pa.Table) -> None:
        data, end = parquet.write([table], 3), start + table.num_rows
        day = str(np.datetime64(_begin() // _DAY, "D"))
        key = layout.data_key(topic, topic_id, partition, start, SCHEMA_ID, day)
        opened.put(key, data, if_absent=True)
        files = (StoredFile(key, table.num_rows, len(data), ledger.checksum(data)),)
        entry = Entry(topic, topic_id, partition, start, end, files, last=Position(0, end - 1, 0))
        opened.put(entry.key, ledger.to_json(entry), if_absent=True)

    with ThreadPoolExecutor(_WRITERS) as pool:
        for first, block in _blocks(kind, topic, partition):
            for i in range(0, block.num_rows, kind.batch):
                waiting.append(pool.submit(put, first + i, block.slice(i, kind.batch)))
            for it in waiting:
                it.result()
            waiting.clear()


def _begin() -> int:
    """The midnight before the last, UTC: that date has ended."""
    return (time.time_ns() // 1000 // _DAY - 2) * _DAY


def _blocks(kind: Kind, topic: str, partition: int) -> Iterator[tuple[int, pa.Table]]:
    count = kind.rows // PARTITIONS
    for first in range(0, count, _BLOCK):
        yield first, rows(topic, partition, first, min(_BLOCK, count - first), count)


def rows(topic: str, partition: int, first: int, n: int, count: int) -> pa.Table:
    """The rows with the offsets [first, first + n) of a partition that gets `count` of them in a day."""
    rnd = np.random.default_rng([partition, first])
    offsets = np.arange(first, first + n)
    devices = np.arange(partition, DEVICES, PARTITIONS)
    mine = devices[offsets % len(devices)]
    times = _begin() + offsets * (_DAY // count) + rnd.integers(0, 900, n)
    seconds = (times % _DAY) / 1e6

    def sensor(axis: int, rest: float, swing: float, noise: float, step: float) -> pa.Array:
        wave = np.sin(seconds * (0.05 + mine % 17 / 50) + mine * 0.7 + axis)
        values = rest + swing * wave * (mine % 5 / 4) + rnd.normal(0, noise, n)
        return pa.array(np.round(values / step) * step)

    text = {d: f"bench-{d:05d}" for d in devices.tolist()}
    columns = {
        "device_id": pa.array([text[d] for d in mine.tolist()]),
        "event_time": pa.array(times).cast(_UTC),
        **{f"a{c}": sensor(i, -9.81 * (c == "z"), 2.5, 0.01, _ACCELERATION) for i, c in enumerate("xyz")},
        **{f"g{c}": sensor(i + 3, 0.0, 0.6, 0.002, _TURN) for i, c in enumerate("xyz")},
        **{f"m{c}": pa.nulls(n, pa.float64()) for c in "xyz"},
        "temperature": pa.array(np.round(25 + np.sin(seconds / 9_000) * 4 + mine % 7, 1)),
        "battery": pa.nulls(n, pa.float64()),
        "sequence": pa.array(offsets // len(devices)),
        **{name: pa.nulls(n, pa.string()) for name in ("boot_id", "label", "_quality")},
    }
    ids = pa.Array.from_buffers(pa.binary(16), n, [None, pa.py_buffer(os.urandom(16 * n))])
    zeros = pa.array(np.zeros(n, np.int32))
    came = [
        pa.repeat(pa.scalar(topic), n), pa.repeat(pa.scalar(partition, pa.int32()), n), pa.array(offsets),
        pa.array((times + 30_000) // 1000 * 1000).cast(_UTC), zeros, pa.array(offsets), zeros, ids,
        pa.array(times + rnd.integers(2_000, 9_000, n)).cast(_UTC),
    ]  # fmt: skip
    table = pa.table(columns)
    for field, column in zip(PROVENANCE_FIELDS, came, strict=True):
        table = table.append_column(field, column)
    return table
