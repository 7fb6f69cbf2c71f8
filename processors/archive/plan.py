"""Make batches [start, end), ready to store, from buffered messages. Pure, except that it asks for schemas.

The objects of a batch derive from its messages, its bounds and its settings only. So a process that stores the same
batch again, after a crash or as a zombie, stores the same objects.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headrace.deadletters import KafkaSource
from headrace.errors import FatalError, PoisonError
from headrace.lake import layout
from headrace.lake.ledger import Entry, Ranges, StoredFile, ranges
from headrace.protocol import wire
from headrace.protocol.archive_note import FORMAT, ArchiveNote, Intent
from headrace.protocol.names import CLEAN
from headrace.protocol.tail import Tail
from processors.archive import parquet, tables
from processors.archive.chunk import Chunk, join
from processors.archive.rows import Decoded, Patient, Rows, sort_out
from processors.archive.tables import Group, Refused
from processors.arrays import Ints
from processors.avro.codec import Codec
from processors.group.schemas import Schemas
from processors.positions import sources
from processors.provenance import at

# Event times may alternate between far ends (a device with a dead clock): cut no smaller batch than this for them.
LEAST_SPLIT = 1_000
_HOUR_US = 3_600_000_000


class Incarnation(NamedTuple):
    """A partition of one incarnation of a topic: a topic that was deleted and created again has another id."""

    topic: str
    topic_id: str
    partition: int

    @property
    def name(self) -> str:
        """Topic and partition, for people."""
        return f"{self.topic}/{self.partition}"

    @property
    def positioned(self) -> bool:
        """Whether every row must say where it came from: in a `.clean` topic."""
        return self.topic.endswith(CLEAN)


@dataclass(frozen=True, slots=True)
class File:
    """A data file to be stored."""

    key: str
    rows: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A message to be written to the dead letters."""

    error: PoisonError
    value: bytes
    source: KafkaSource
    headers: wire.Headers


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets [start, end) of the log, all of it read: an offset without a message holds no record.

    `low`: where the log began. If it is above `start`, the records between the two can no longer be read.
    """

    start: int
    end: int
    low: int = 0


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A batch ready to store. `before` is the note for its start, with the intent; `after` is the note for its end.

    `low`: where the log began. If it is above the batch's start, the plan has only what the log still had.
    """

    before: ArchiveNote
    after: ArchiveNote
    files: tuple[File, ...]
    dead: tuple[DeadRow, ...]
    entry: Entry  # without the checksums of the files
    low: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """Where batches may be cut, and how their files are written."""

    max_records: int
    max_span_hours: float
    level: int


def batch_plans(
    incarnation: Incarnation,
    note: ArchiveNote,
    span: Span,
    chunks: list[Chunk],
    codecs: Schemas[Codec],
    shape: Shape,
    patient: Patient[Decoded] = lambda call: call(),
    turn: AbstractContextManager[object] | None = None,
) -> list[BatchPlan]:
    """The batches that `chunks` are stored in: the messages of `span`, at least one. `note` is the note for its start.

    If the note has an intent, there is one batch, with the intent's end and settings, and `chunks` end before it. The
    list is empty after the call: the messages leave memory as they become rows. FatalError where a reading is missing
    between two; TransientError while the registry is away, unless `patient` waits. Files are made within `turn`.
    """
    intent = note.intent
    if intent is not None and intent.format != FORMAT:
        raise FatalError(
            f"format {intent.format} of the intent is not this Headrace's {FORMAT}: finish with that version"
        )
    if span.low > span.start:
        note = replace(note, loose=True)
    rows = sort_out(join(chunks), note, codecs, patient, positioned=incarnation.positioned)
    ends = [len(rows.chunk)] if intent is not None else _ends(rows, shape)
    tails = [rows.chunk.tail(end - 1) for end in ends]
    rows = rows.without_values()
    with turn or nullcontext():
        return _plans(incarnation, note, span, rows, list(zip(ends, tails, strict=True)), shape.level)


def _plans(
    incarnation: Incarnation, note: ArchiveNote, span: Span, rows: Rows, ends: list[tuple[int, Tail]], level: int
) -> list[BatchPlan]:
    if note.intent is not None:
        ((end_row, tail),) = ends
        return [replace(_plan(incarnation, note, span.start, note.intent, rows, 0, end_row, tail), low=span.low)]
    out: list[BatchPlan] = []
    start, first = span.start, 0
    for end_row, tail in ends:
        end = span.end if end_row == len(rows.chunk) else int(rows.chunk.offsets[end_row - 1]) + 1
        intent = Intent(end, FORMAT, level)
        out.append(_plan(incarnation, note, start, intent, rows, first, end_row, tail))
        note, start, first = out[-1].after, intent.end, end_row
    return out


def gap(incarnation: Incarnation, note: ArchiveNote, span: Span, level: int) -> BatchPlan:
    """The batch of a span without any record: it has no files, and its offsets are skipped."""
    intent = note.intent or Intent(span.end, FORMAT, level, empty=True)
    entry = Entry(
        *incarnation,
        span.start,
        intent.end,
        skipped=((span.start, intent.end),),
        last=note.last,
        tail=note.tail,
    )
    loose = note.loose or (span.low > span.start and not intent.empty)
    after = ArchiveNote(incarnation.topic_id, note.last, note.tail, None, loose)
    return BatchPlan(replace(note, intent=intent), after, (), (), entry, 0 if intent.empty else span.low)


def cuts(event_times: Ints, max_records: int, max_span_hours: float) -> list[int]:
    """Where to cut rows into batches: the row after the last of each. `event_times`: microseconds, in Kafka's order.

    No batch has more than `max_records` rows; one of more than LEAST_SPLIT rows keeps within the span of event time.
    """
    out: list[int] = []
    n, start, span = len(event_times), 0, int(max_span_hours * _HOUR_US)
    while start < n:
        part = event_times[start : start + max_records]
        wide = np.maximum.accumulate(part) - np.minimum.accumulate(part) > span
        end = len(part)
        if wide.any():
            end = min(end, max(int(np.argmax(wide)), LEAST_SPLIT))
        start += end
        out.append(start)
    return out


def _ends(rows: Rows, shape: Shape) -> list[int]:
    """Where the batches end, as rows of the chunk. Messages between two kept rows go with the first of the two."""
    kept = np.concatenate([g.rows for g in rows.groups]) if rows.groups else np.zeros(0, np.int64)
    times = np.concatenate([g.event_times for g in rows.groups]) if rows.groups else kept
    order = np.argsort(kept, kind="stable")
    kept, times = kept[order], times[order]
    ends = cuts(times, shape.max_records, shape.max_span_hours)
    return [int(kept[e]) for e in ends[:-1]] + [len(rows.chunk)]


def _plan(
    incarnation: Incarnation,
    note: ArchiveNote,
    start: int,
    intent: Intent,
    rows: Rows,
    first: int,
    end: int,
    tail: Tail,
) -> BatchPlan:
    chunk = rows.chunk
    mine = chunk.offsets[first:end]
    moved = np.flatnonzero(rows.moved[first:end]) + first
    last, loose = note.last, note.loose
    if incarnation.positioned and len(moved):
        last, loose = sources(chunk.marks[moved[-1:]]).at(0), False
    after = ArchiveNote(incarnation.topic_id, last, tail, None, loose)
    refused = [r for r in rows.refused if first <= r.row < end]
    files = tuple(f for g in rows.groups for f in _files(incarnation, start, g, chunk, intent.level, first, end))
    entry = Entry(
        *incarnation,
        start,
        intent.end,
        files=tuple(StoredFile(f.key, f.rows, len(f.data), "") for f in files),
        repeats=ranges(mine[rows.repeats[first:end]].tolist()),
        refused=ranges(int(chunk.offsets[r.row]) for r in refused),
        skipped=_skipped(mine, start, intent.end),
        last=after.last,
        tail=after.tail,
    )
    if entry.unaccounted():
        raise FatalError(f"{incarnation.name}: {entry.unaccounted()} offsets from {start} on are not accounted for")
    return BatchPlan(
        replace(note, intent=intent), after, files, tuple(_dead(incarnation, chunk, r) for r in refused), entry
    )


def _files(
    incarnation: Incarnation, start: int, group: Group, chunk: Chunk, level: int, first: int, end: int
) -> list[File]:
    """A file for each date of those of the group's rows that are in [first, end) of the chunk."""
    a, b = (int(i) for i in np.searchsorted(group.rows, [first, end]))
    if a == b:
        return []
    rows, table = group.rows[a:b], group.table.slice(a, b - a)
    days_of = tables.days(group.event_times[a:b])
    days, begins = np.unique(np.sort(days_of), return_index=True)
    if len(days) > 1:
        order = np.argsort(days_of, kind="stable")  # by date, and within a date in Kafka's order
        rows, table = rows[order], table.take(pa.array(order))

    def row_groups(begin: int, stop: int) -> Iterator[pa.Table]:
        for i in range(begin, stop, parquet.ROW_GROUP):
            n = min(parquet.ROW_GROUP, stop - i)
            part = table.slice(i, n).combine_chunks()  # the file's bytes depend on the chunks of a column
            yield tables.with_provenance(
                part,
                chunk,
                rows[i : i + n],
                incarnation.topic,
                incarnation.partition,
                positioned=incarnation.positioned,
            )

    out: list[File] = []
    for day, begin, stop in zip(days, begins.tolist(), [*begins[1:].tolist(), len(rows)], strict=True):
        key = layout.data_key(*incarnation, start, group.schema_id, tables.date(day))
        out.append(File(key, stop - begin, parquet.write(row_groups(begin, stop), level)))
    return out


def _skipped(offsets: Ints, start: int, end: int) -> Ranges:
    """The parts of [start, end) that hold none of the ascending `offsets`."""
    edges = np.concatenate([[start - 1], offsets, [end]])
    gaps = np.flatnonzero(np.diff(edges) > 1)
    return tuple((int(edges[g]) + 1, int(edges[g + 1])) for g in gaps)


def _dead(incarnation: Incarnation, chunk: Chunk, refused: Refused) -> DeadRow:
    row = refused.row
    source = KafkaSource(*incarnation, int(chunk.epochs[row]), int(chunk.offsets[row]))
    return DeadRow(refused.error, refused.value, source, at(chunk.marks, row).texts())
