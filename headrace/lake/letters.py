"""Dead letters in the lake: the records of their topic kept as they are, and the table `dead_letters` that SQL sees.

Kept are all records, letters and notes alike, in files that name the topic's id, the partition and the offsets they
reach from and to. What was decided about a letter follows from the records, here as in Kafka, and a record that is in
two files counts once: so keeping may be interrupted, repeated, and done by two at a time.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace import kafka
from headrace.config import Config
from headrace.deadletters import NOTE, ReadLetter, journal, of_message
from headrace.kafka import partition
from headrace.protocol.names import key_part
from headrace.store.base import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "_dead_letters/kept"
_NAME = re.compile(rf"{FOLDER}/([^/]+)/(\d+)/(\d+)-(\d+)\.parquet")
_AT_ONCE = 20_000  # records of a file: letters have up to a megabyte
_AT_ONCE_BYTES = 64 * 1024 * 1024
_TEXTS = (
    "stream",
    "reason",
    "stage",
    "device",
    "field",
    "rule",
    "value",
    "detail",
    "mqtt_topic",
    "state",
    "dropped_by",
)


class File(NamedTuple):
    """A file of the records from offset `start` to before `end`."""

    topic_id: str  # as names of objects have it
    partition: int
    start: int
    end: int
    key: str


class Kept(NamedTuple):
    """What a run has kept. `missed`: offsets that Kafka had deleted before they were kept."""

    records: int
    missed: int


def keep(cfg: Config, store: ObjectStore) -> Kept:
    """Keep every record that the topic has and no file has yet. TransientError when Kafka or the store is away.

    Interrupted, it has kept a part; the next call keeps the rest.
    """
    topic = cfg.dead_letters.topic
    info = kafka.describe(cfg.kafka, [topic]).get(topic)
    if info is None:
        return Kept(0, 0)
    ends = _ends(files(store))
    records = missed = 0
    client = partition.reader(cfg.kafka)
    try:
        for number in range(info.partitions):
            low, high = kafka.watermarks(client, topic, number)
            start = ends.get((key_part(info.id), number), 0)
            missed += max(min(low, high) - start, 0)
            found = (of_message(m) for m in partition.read(client, topic, number, start, high))
            for part in _parts(found):
                end = part[-1].offset + 1
                name = f"{FOLDER}/{key_part(info.id)}/{number}/{start:020}-{end:020}.parquet"
                store.put(name, encode(part), if_absent=True)
                records, start = records + len(part), end
    finally:
        client.close()
    return Kept(records, missed)


def files(store: ObjectStore) -> list[File]:
    """The files that there are, by topic id and partition in the order of their offsets."""
    found = ((_NAME.fullmatch(it.key), it.key) for it in store.list(f"{FOLDER}/"))
    return sorted(File(m[1], int(m[2]), int(m[3]), int(m[4]), key) for m, key in found if m is not None)


def records(cfg: Config, store: ObjectStore) -> Iterator[ReadLetter]:
    """Every record, kept or still in Kafka only, of a partition in order. TransientError when one of them is away."""
    there = files(store)
    for file in there:
        yield from decode(store.get(file.key))
    topic, ends = cfg.dead_letters.topic, _ends(there)
    info = kafka.describe(cfg.kafka, [topic]).get(topic)
    if info is None:
        return
    client = partition.reader(cfg.kafka)
    try:
        for number in range(info.partitions):
            for m in partition.read(client, topic, number, ends.get((key_part(info.id), number), 0)):
                yield of_message(m)
    finally:
        client.close()


def table(found: Iterable[ReadLetter]) -> "pa.Table":
    """A row for each letter among the records, in the columns of `dead_letters`."""
    import pyarrow as pa

    every = list(found)
    known = journal.journal(it for it in every if it.key)
    values = {it.key: it.value for it in reversed(every) if NOTE not in it.headers}
    rows: dict[str, list[Any]] = {name: [] for name in ("key", "time", *_TEXTS, "size", "payload")}
    for key, it in known.letters.items():
        drop = known.drops.get(key)
        texts = {name: it.text(name) for name in _TEXTS}
        texts["mqtt_topic"] = it.text("mqtt-topic") or str(it.source.get("mqtt_topic") or "")
        texts["state"], texts["dropped_by"] = known.state(key), drop.by if drop is not None else ""
        shelved = it.text("pointer") != ""
        size = it.text("size") if shelved else str(len(values[key]))
        row: dict[str, Any] = {"key": key.hex(), "time": it.time_ms, **{n: t or None for n, t in texts.items()}}
        row |= {"size": int(size) if size.isdecimal() else None, "payload": None if shelved else values[key]}
        for name, value in row.items():
            rows[name].append(value)
    kinds: dict[str, Any] = {"time": pa.timestamp("ms", "UTC"), "size": pa.int64(), "payload": pa.binary()}
    return pa.table({name: pa.array(column, kinds.get(name, pa.string())) for name, column in rows.items()})


def encode(found: list[ReadLetter]) -> bytes:
    """Records as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "key": pa.array([it.key for it in found], pa.binary()),
        "value": pa.array([it.value for it in found], pa.binary()),
        "headers": pa.array([list(it.headers.items()) for it in found], pa.map_(pa.string(), pa.binary())),
        "partition": pa.array([it.partition for it in found], pa.int32()),
        "offset": pa.array([it.offset for it in found], pa.int64()),
        "time": pa.array([it.time_ms for it in found], pa.timestamp("ms", "UTC")),
    }
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return bytes(out.getvalue())


def decode(data: bytes) -> Iterator[ReadLetter]:
    """The records of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(pa.BufferReader(data), use_threads=False)
    times = found["time"].cast(pa.int64()).to_pylist()
    columns = (found[name].to_pylist() for name in ("key", "value", "headers", "partition", "offset"))
    for (key, value, headers, number, offset), time_ms in zip(zip(*columns, strict=True), times, strict=True):
        yield ReadLetter(key, value, dict(headers), number, offset, time_ms)


def _ends(there: Iterable[File]) -> dict[tuple[str, int], int]:
    """Up to where each partition is kept, by topic id and number."""
    return {(it.topic_id, it.partition): it.end for it in sorted(there, key=lambda f: f.end)}


def _parts(found: Iterator[ReadLetter]) -> Iterator[list[ReadLetter]]:
    for first in found:
        part, size = [first], len(first.value)
        for it in islice(found, _AT_ONCE - 1):
            part.append(it)
            size += len(it.value)
            if size > _AT_ONCE_BYTES:
                break
        yield part
