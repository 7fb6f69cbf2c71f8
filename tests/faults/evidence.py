"""What is in Kafka and in the lake, read without the product's own accounting: `headrace verify` is not asked."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import fastavro
import orjson
import polars as pl
import pyarrow.parquet as pq

from headrace import kafka
from headrace.config import Config
from headrace.errors import TransientError
from headrace.kafka import partition
from headrace.lake import layout, manifest
from headrace.protocol.names import clean_topic, raw_topic
from headrace.protocol.wire import EVENT_ID, header, provenance, unpack_position
from headrace.schema_registry.client import Registry
from headrace.store.open import open_store
from tests.faults.asking import answered
from tests.faults.readings import AXES, STREAM

Ends = dict[tuple[str, int], int]
RAW, CLEAN = raw_topic(STREAM), clean_topic(STREAM)
ROWS: pl.Schema = pl.Schema({
    "device_id": pl.String, "boot_id": pl.String, "sequence": pl.Int64, "event_time": pl.Int64,
    **dict.fromkeys(AXES, pl.Float64), "_quality": pl.String, "partition": pl.Int64, "offset": pl.Int64,
    "src_epoch": pl.Int64, "src_offset": pl.Int64, "src_item": pl.Int64,
})  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """Everything from the positions on where a run begins, as frames.

    rows: ROWS, a row for each row of the lake. raw: partition, offset, device_id, boot_id, sequence.
    clean: partition, offset, src_epoch, src_offset, src_item. letters: key, letter_id, size; each key once.
    """

    rows: pl.DataFrame
    raw: pl.DataFrame
    clean: pl.DataFrame
    letters: pl.DataFrame


def topics(cfg: Config) -> list[str]:
    """The topics that hold evidence."""
    return [RAW, CLEAN, cfg.dead_letters.topic]


def ends(cfg: Config) -> Ends:
    """Where each log ends now. Waits for a Kafka that is away; TransientError where it stays away."""
    return answered(lambda: _ends(cfg))


def _ends(cfg: Config) -> Ends:
    info = kafka.describe(cfg.kafka, topics(cfg))
    if unknown := set(topics(cfg)) - set(info):
        raise TransientError(f"Kafka does not know {', '.join(sorted(unknown))} yet")
    client = kafka.consumer(cfg.kafka, "headrace-audit")
    try:
        return {(t, p): kafka.watermarks(client, t, p)[1] for t in info for p in range(info[t].partitions)}
    finally:
        client.close()


def collect(cfg: Config, begin: Ends) -> Evidence:
    """Everything from `begin` on. Call it when all is stored. Waits for servers that are away, as `ends` does."""
    return Evidence(*(answered(partial(part, cfg, begin)) for part in (_rows, _raw, _clean, _letters)))


def read(cfg: Config, topic: str, begin: Ends) -> Iterator[kafka.Message]:
    """Each record of a topic from `begin` to its present end."""
    client = partition.reader(cfg.kafka)
    try:
        for (name, number), first in begin.items():
            if name == topic:
                yield from partition.read(client, topic, number, first)
    finally:
        client.close()


def _raw(cfg: Config, begin: Ends) -> pl.DataFrame:
    schemas: dict[int, fastavro.types.Schema] = {}
    out = []
    with Registry(cfg.registry) as registry:
        for m in read(cfg, RAW, begin):
            value = bytes(m.value() or b"")
            number = int.from_bytes(value[1:5], "big")
            if number not in schemas:
                schemas[number] = fastavro.parse_schema(orjson.loads(registry.schema_text(number)))
            record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[number], None)
            out.append((m.partition(), m.offset(), record["device_id"], record["boot_id"], record["sequence"]))
    names = {
        "partition": pl.Int64, "offset": pl.Int64, "device_id": pl.String, "boot_id": pl.String, "sequence": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(out, schema=names, orient="row")


def _clean(cfg: Config, begin: Ends) -> pl.DataFrame:
    out = []
    for m in read(cfg, CLEAN, begin):
        src, _ = unpack_position(provenance(kafka.headers_of(m)).position)
        out.append((m.partition(), m.offset(), *src))
    names = ["partition", "offset", "src_epoch", "src_offset", "src_item"]
    return pl.DataFrame(out, schema=dict.fromkeys(names, pl.Int64), orient="row")


def _letters(cfg: Config, begin: Ends) -> pl.DataFrame:
    store = open_store(cfg.store)
    found: dict[bytes, tuple[bytes, bytes, int]] = {}
    for m in read(cfg, cfg.dead_letters.topic, begin):
        key, pointer = bytes(m.key() or b""), header(kafka.headers_of(m), "pointer")
        # What could not be derived is of readings that are stored: parts.py looks at it.
        if key not in found and header(kafka.headers_of(m), "stage") != b"derive":
            size = len(store.get(pointer.decode())) if pointer else len(m.value() or b"")
            found[key] = (key, header(kafka.headers_of(m), EVENT_ID) or b"", size)
    return pl.DataFrame(
        list(found.values()), schema={"key": pl.Binary, "letter_id": pl.Binary, "size": pl.Int64}, orient="row"
    )


def _rows(cfg: Config, begin: Ends) -> pl.DataFrame:
    """The lake's rows from `begin` on, of the files that count. Of one that lies across it, those behind it."""
    store, frames = open_store(cfg.store), [pl.DataFrame(schema=ROWS)]
    columns = ["device_id", "boot_id", "sequence", "event_time", *AXES, "_quality"]
    kept = {"_partition": "partition", "_offset": "offset", "_src_epoch": "src_epoch",
            "_src_offset": "src_offset", "_src_index": "src_item"}  # fmt: skip
    found = [(f.partition, _last_batch(f.key), f.key) for f in manifest.visible(store, CLEAN).files]
    # The last batch that starts at or before `first` may lie across it; those before it end before it.
    across = {
        p: max((start for number, start, _ in found if number == p and start <= first), default=first)
        for (topic, p), first in begin.items() if topic == CLEAN
    }  # fmt: skip
    for number, start, name in found:
        if start < across[number]:
            continue
        table = pq.read_table(io.BytesIO(store.get(name)), columns=[*columns, *kept])
        frame = pl.DataFrame(pl.from_arrow(table)).rename(kept).filter(pl.col("offset") >= begin[CLEAN, number])
        frames.append(frame.with_columns(pl.col("event_time").dt.epoch("us")).select(*ROWS).cast(ROWS))
    return pl.concat(frames)


def _last_batch(key: str) -> int:
    """Where the last batch begins of which a file holds rows."""
    stored, merged = layout.parse_data_key(key, CLEAN), layout.parse_merged_key(key, CLEAN)
    assert stored is not None or merged is not None, key
    return stored.start if stored is not None else merged.end - 1 if merged is not None else -1
