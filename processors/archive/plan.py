"""From buffered messages to batches [start, end) ready to store: pure, but for asking the registry for a schema.

The objects of a batch derive from its messages, its bounds and its settings alone, so that whoever stores the same
batch again, after a crash or as a zombie, stores the same objects.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from headrace import wire
from headrace.errors import FatalError, PoisonError, Reason
from headrace.intent import FORMAT, Intent, Note
from headrace.lake import layout
from headrace.lake.ledger import Entry, Ranges, StoredFile, ranges
from headrace.names import CLEAN
from processors.archive import parquet, tables
from processors.archive.buffer import I64, Bools, Chunk
from processors.archive.positions import new_rows, sources
from processors.archive.rotation import cuts
from processors.archive.schemas import Schemas
from processors.archive.tables import Group, Refused


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of one incarnation of a topic."""

    topic: str
    topic_id: str
    partition: int

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
    source: dict[str, str | int]
    headers: wire.Headers


@dataclass(frozen=True, slots=True)
class Span:
    """What was read of the log, [start, end): where no message is in it, the log holds none.

    `low`: where the log began. After `start`: what was between them can no longer be read.
    """

    start: int
    end: int
    low: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch ready to store. `before` is the note of its start with the intent, `after` that of its end.

    `low`: where the log began. After the batch's start: the plan is only of what was left of it.
    """

    before: Note
    after: Note
    files: tuple[File, ...]
    dead: tuple[DeadRow, ...]
    entry: Entry  # but for the files' sizes and checksums
    low: int = 0

    def stored(self, files: tuple[StoredFile, ...]) -> Entry:
        """The ledger entry, once the files are stored."""
        return replace(self.entry, files=files)


@dataclass(frozen=True, slots=True)
class Shape:
    """Where batches may be cut, and how their files are written."""

    max_records: int
    max_span_hours: float
    level: int


@dataclass(frozen=True, slots=True)
class _Rows:
    chunk: Chunk
    groups: list[Group]
    refused: list[Refused]
    repeats: Bools
    moved: Bools  # rows that took their source's turn: kept or refused


def plans(place: Place, note: Note, span: Span, chunk: Chunk, schemas: Schemas, shape: Shape) -> list[Plan]:
    """The batches that `chunk`, the messages of `span`, at least one, is stored in; `note` is that of its start.

    A note with an intent makes one batch with the intent's end and settings: `chunk` ends before it.
    FatalError where a reading is missing between two; TransientError where the registry is away.
    """
    if span.low > span.start:
        note = replace(note, loose=True)
    rows = _sort_out(place, note, chunk, schemas)
    if note.intent is not None:
        if note.intent.format != FORMAT:
            raise FatalError(
                f"format {note.intent.format} of the intent is not this Headrace's {FORMAT}: finish with that version"
            )
        return [replace(_plan(place, note, span.start, note.intent, rows, 0, len(chunk)), low=span.low)]
    out: list[Plan] = []
    start, first = span.start, 0
    for end_row in _ends(rows, shape):
        end = span.end if end_row == len(chunk) else int(chunk.offsets[end_row - 1]) + 1
        intent = Intent(end, FORMAT, shape.level)
        out.append(_plan(place, note, start, intent, rows, first, end_row))
        note, start, first = out[-1].after, intent.end, end_row
    return out


def gap(place: Place, note: Note, span: Span, level: int) -> Plan:
    """The batch of a span without any record: it has no files, and its offsets are skipped."""
    intent = note.intent or Intent(span.end, FORMAT, level, empty=True)
    entry = Entry(
        place.topic,
        place.topic_id,
        place.partition,
        span.start,
        intent.end,
        skipped=((span.start, intent.end),),
        last=note.last,
        tail=note.tail,
    )
    loose = note.loose or (span.low > span.start and not intent.empty)
    after = Note(place.topic_id, note.last, note.tail, None, loose)
    return Plan(replace(note, intent=intent), after, (), (), entry, 0 if intent.empty else span.low)


def _sort_out(place: Place, note: Note, chunk: Chunk, schemas: Schemas) -> _Rows:
    repeats = np.zeros(len(chunk), np.bool_)
    strangers: list[Refused] = []
    wanted = np.ones(len(chunk), np.bool_)
    if place.positioned:
        there = np.flatnonzero(chunk.has_position)
        repeats[there] = ~new_rows(chunk.positions[there], note.last, loose=note.loose)
        error = PoisonError(Reason.MALFORMED, "no position header: headrace's clean did not write this message")
        strangers = [Refused(int(row), error) for row in np.flatnonzero(~chunk.has_position)]
        wanted = chunk.has_position & ~repeats
    groups, refused = tables.decode(chunk, wanted, schemas)
    return _Rows(chunk, groups, sorted([*strangers, *refused], key=lambda r: r.row), repeats, wanted)


def _ends(rows: _Rows, shape: Shape) -> list[int]:
    """Where the batches end, as places in the chunk. What is between two kept rows goes with the first."""
    kept = np.concatenate([g.rows for g in rows.groups]) if rows.groups else np.zeros(0, np.int64)
    times = np.concatenate([g.event_times for g in rows.groups]) if rows.groups else kept
    order = np.argsort(kept, kind="stable")
    kept, times = kept[order], times[order]
    ends = cuts(times, shape.max_records, shape.max_span_hours)
    return [int(kept[e]) for e in ends[:-1]] + [len(rows.chunk)]


def _plan(place: Place, note: Note, start: int, intent: Intent, rows: _Rows, first: int, end: int) -> Plan:
    chunk = rows.chunk
    mine = chunk.offsets[first:end]
    moved = np.flatnonzero(rows.moved[first:end]) + first
    last, loose = note.last, note.loose
    if place.positioned and len(moved):
        last, loose = sources(chunk.positions[moved[-1:]]).at(0), False
    after = Note(place.topic_id, last, chunk.tail(end - 1) if end > first else note.tail, None, loose)
    refused = [r for r in rows.refused if first <= r.row < end]
    files = tuple(f for g in rows.groups for f in _files(place, start, g, chunk, intent.level, first, end))
    entry = Entry(
        place.topic,
        place.topic_id,
        place.partition,
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
        raise FatalError(
            f"{place.topic}/{place.partition}: {entry.unaccounted()} offsets from {start} on are not accounted for"
        )
    return Plan(replace(note, intent=intent), after, files, tuple(_dead(place, chunk, r) for r in refused), entry)


def _files(place: Place, start: int, group: Group, chunk: Chunk, level: int, first: int, end: int) -> list[File]:
    """The group's rows that lie in [first, end) of the chunk: a file for each date."""
    a, b = (int(i) for i in np.searchsorted(group.rows, [first, end]))
    if a == b:
        return []
    part = Group(group.schema_id, group.rows[a:b], group.table.slice(a, b - a), group.event_times[a:b])
    table = tables.with_provenance(part, chunk, place.topic, place.partition, positioned=place.positioned)
    days, begins = np.unique(np.sort(days_of := tables.days(part.event_times)), return_index=True)
    order = np.argsort(days_of, kind="stable")  # by date, and within it as in Kafka
    ordered = table if len(days) == 1 else table.take(pa.array(order))
    out: list[File] = []
    for day, begin, stop in zip(days, begins, [*begins[1:], len(order)], strict=True):
        data = parquet.write(ordered.slice(int(begin), int(stop - begin)), level)
        key = layout.data_key(place.topic, place.topic_id, place.partition, start, group.schema_id, tables.date(day))
        out.append(File(key, int(stop - begin), data))
    return out


def _skipped(offsets: I64, start: int, end: int) -> Ranges:
    """The parts of [start, end) that are none of the ascending offsets."""
    edges = np.concatenate([[start - 1], offsets, [end]])
    gaps = np.flatnonzero(np.diff(edges) > 1)
    return tuple((int(edges[g]) + 1, int(edges[g + 1])) for g in gaps)


def _dead(place: Place, chunk: Chunk, refused: Refused) -> DeadRow:
    row = refused.row
    headers: wire.Headers = []
    if chunk.has_event_id[row]:
        headers.append((wire.EVENT_ID, chunk.event_ids[row].tobytes()))
    if chunk.received[row] >= 0:
        headers.append((wire.RECEIVED_AT, b"%d" % chunk.received[row]))
    if chunk.has_position[row]:
        headers.append((wire.POSITION, chunk.positions[row].tobytes()))
    source: dict[str, str | int] = {
        "topic": place.topic,
        "topic_id": place.topic_id,
        "partition": place.partition,
        "epoch": int(chunk.epochs[row]),
        "offset": int(chunk.offsets[row]),
        "index": 0,
    }
    return DeadRow(refused.error, chunk.values[row] or b"", source, headers)
