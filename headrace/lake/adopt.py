"""Derives the archive's positions from the lake, for when Kafka has lost them or someone has set others."""

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import ConfigError
from headrace.kafka import partition
from headrace.lake import layout
from headrace.lake.ledger import Entry
from headrace.protocol import provenance, wire
from headrace.protocol.archive_note import FORMAT, ArchiveNote, Intent
from headrace.protocol.names import key_part, lake_folder
from headrace.protocol.wire import Position
from headrace.store.base import ObjectStore

_LEVEL = 3  # of zstd, for a batch that is finished under a derived intent: its rows count, not its bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What the lake has of a partition. `begun` is the start of a batch with files and no ledger entry."""

    entries: Sequence[Entry]  # of the topic's incarnation, in order
    begun: int | None = None
    last_offset: int = -1  # of the rows in the files of that batch
    before: Position | None = None  # source of the last row of an earlier incarnation, if it still counts: see `valid`


def derive(topic: str, topic_id: str, partition: int, low: int, found: Found) -> tuple[int, ArchiveNote]:
    """The offset to commit, and the note to commit with it. `low` is where the partition's log begins.

    When nothing of this incarnation is in the lake, it is the log's start; what clean then emits a second time, after
    an earlier incarnation, is dropped as far as `found.before` says. A batch with files but without a ledger entry gets
    its intent back, so that the archive finishes it. ConfigError when the ledger has a hole: no position can mend that.
    """
    where = f"{topic}/{partition}"
    start, note = low, ArchiveNote(topic_id, found.before, loose=found.before is not None)
    for before, entry in zip([None, *found.entries], found.entries, strict=False):
        if before is not None and entry.start != before.end:
            raise ConfigError(f"{where}: the ledger has no entry from {before.end} to {entry.start}: restore it first")
        start, note = entry.end, ArchiveNote(topic_id, entry.last, entry.tail, None, loose=bool(entry.lost))
    if found.begun is None:
        return start, note
    if found.entries and found.begun != start:
        raise ConfigError(
            f"{where}: files of a batch from {found.begun}, but the ledger ends at {start}: restore it first"
        )
    intent = Intent(found.last_offset + 1, FORMAT, _LEVEL)
    return found.begun, ArchiveNote(topic_id, note.last, note.tail, intent, note.loose)


def begun_batches(
    store: ObjectStore, topic: str, topic_id: str, entries: Sequence[Entry]
) -> dict[int, dict[int, list[str]]]:
    """Data files of this incarnation that no entry names: partition to start to keys."""
    named = {f.key for e in entries for f in e.files}
    out: dict[int, dict[int, list[str]]] = {}
    for info in store.list(f"{lake_folder(topic)}/"):
        key = layout.parse_data_key(info.key, topic)
        if key is not None and key.topic_id == key_part(topic_id) and info.key not in named:
            out.setdefault(key.partition, {}).setdefault(key.start, []).append(info.key)
    return out


@dataclass(frozen=True, slots=True)
class Newest:
    """The last row in the lake of one partition of one incarnation of a clean topic."""

    source: Position
    event_id: bytes


def newest_rows(store: ObjectStore, entries: Sequence[Entry]) -> list[Newest]:
    """The last row of each incarnation in `entries`, which are of one partition and in order.

    Rows without an event id can't be recognised in the raw log, and are left out.
    """
    by_id: dict[str, list[Entry]] = defaultdict(list)
    for e in entries:
        by_id[e.topic_id].append(e)
    out = []
    for mine in by_id.values():
        last = mine[-1].last
        files = [f.key for e in reversed(mine) if last is not None and e.last == last for f in e.files]
        found = next((i for key in files if last is not None and (i := _event_id(store.get(key), last))), None)
        if last is not None and found is not None:
            out.append(Newest(last, found))
    return out


def valid(cfg: Kafka, raw: str, number: int, rows: Sequence[Newest]) -> Position | None:
    """The highest source among `rows` that is still in the raw topic's log; None when none is.

    The record there is compared by epoch and event id: a raw topic that was made anew begins its offsets again, and to
    drop by the offsets of another log would lose readings. What the log has deleted is not emitted again.
    TransientError while Kafka is away.
    """
    if not rows or raw not in kafka.describe(cfg, [raw]):
        return None
    client = partition.reader(cfg)
    try:
        for row in sorted(rows, key=lambda r: r.source, reverse=True):
            m = next(iter(partition.read(client, raw, number, row.source.offset, row.source.offset + 1)), None)
            if m is not None and _is(m, row):
                return row.source
    finally:
        client.close()
    return None


def _is(m: kafka.Message, row: Newest) -> bool:
    """Whether the raw record is the one that the row came from."""
    place = (kafka.epoch_of(m), m.offset())
    return place == row.source[:2] and wire.provenance(kafka.headers_of(m)).event_id == row.event_id


def _event_id(file: bytes, source: Position) -> bytes | None:
    import pyarrow.parquet as pq

    names = [*provenance.SOURCE_NAMES, provenance.EVENT_ID.name]
    table = pq.read_table(io.BytesIO(file), columns=names, use_threads=False)
    columns = [table.column(n).to_pylist() for n in names]
    return next((row[3] for row in zip(*columns, strict=True) if row[:3] == source), None)
