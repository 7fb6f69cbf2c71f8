"""What is left of a batch of which the log has lost records: accounted for, and nothing in the lake replaced.

A file is stored whole or not at all, under a name that derives from its batch. So whatever lies under a name of the
batch is complete for its schema and date, and is taken as it is: it may hold rows that the log no longer has. Under a
name that is free goes what the log still has. It is the batch's own name, not one of a batch that begins later, because
a late write of the process that died then meets it, and is refused, instead of adding the same rows a second time.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headrace.errors import FatalError
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry, Ranges, StoredFile
from headrace.store.base import ObjectStore
from headrace.wire import Position
from processors.archive import parquet
from processors.archive.buffer import I64
from processors.archive.plan import Place, Plan
from processors.archive.put import put_absent
from processors.archive.recovery import Lost


class _Held(NamedTuple):
    """What lies in the lake of a batch."""

    files: tuple[StoredFile, ...]
    offsets: I64
    last: Position | None  # the highest source


def lost_entry(store: ObjectStore, place: Place, lost: Lost) -> Entry:
    """The ledger entry of what the log no longer has at all: the rows stored in time, and the rest as lost."""
    note, start = lost.note, lost.start
    if note.intent is None:
        return _entry(place, lost, start, lost.low, lost=((start, lost.low),), last=note.last)
    end = note.intent.end
    if note.intent.empty:
        return _entry(place, lost, start, end, skipped=((start, end),), last=note.last)
    held = _held(store, batch_files(store, place, start), note.last)
    gone = ledger.ranges(np.setdiff1d(np.arange(start, end), held.offsets).tolist())
    return _entry(place, lost, start, end, files=held.files, lost=gone, last=held.last)


def store_rest(store: ObjectStore, place: Place, plan: Plan, *, conditional: bool) -> Entry:
    """Store what the log still has of a batch, [plan.low, end), under its free names; the entry of the whole batch.

    Lost are the offsets before `plan.low` that no file holds. FatalError where files hold other offsets than the log.
    """
    for file in plan.files:
        put_absent(store, file, conditional=conditional)
    entry, low = plan.entry, plan.low
    keys = {*batch_files(store, place, entry.start), *(f.key for f in plan.files)}
    held = _held(store, sorted(keys), plan.after.last)
    skipped = tuple((max(a, low), b) for a, b in entry.skipped if b > low)
    known = np.concatenate([held.offsets, _offsets(entry.refused), _offsets(skipped)])
    out = replace(
        entry,
        files=held.files,
        # Also a copy whose first has gone from the log: that one is in the file that has the name for both.
        repeats=ledger.ranges(np.setdiff1d(np.arange(low, entry.end), known).tolist()),
        skipped=skipped,
        lost=ledger.ranges(np.setdiff1d(np.arange(entry.start, low), held.offsets).tolist()),
        last=held.last,
    )
    if out.unaccounted():
        raise FatalError(
            f"{place.topic}/{place.partition}: the files of the batch [{entry.start}, {entry.end}) hold other offsets "
            "than the log has rows at. Was the topic's log replaced, or the lake copied from elsewhere?"
        )
    return out


def batch_files(store: ObjectStore, place: Place, start: int) -> list[str]:
    """The data files of the batch that begins at `start`."""
    out = []
    for info in store.list(f"{layout.folder(place.topic)}/"):
        data = layout.parse_data_key(info.key, place.topic)
        if data is not None and (data.topic_id, data.partition, data.start) == (place.topic_id, place.partition, start):
            out.append(info.key)
    return sorted(out)


def _entry(
    place: Place,
    it: Lost,
    start: int,
    end: int,
    *,
    files: tuple[StoredFile, ...] = (),
    skipped: Ranges = (),
    lost: Ranges = (),
    last: Position | None,
) -> Entry:
    return Entry(
        place.topic,
        place.topic_id,
        place.partition,
        start,
        end,
        files=files,
        skipped=skipped,
        lost=lost,
        last=last,
        tail=it.note.tail,
    )


def _held(store: ObjectStore, keys: Iterable[str], last: Position | None) -> _Held:
    files: list[StoredFile] = []
    offsets: list[int] = []
    for key in keys:
        data = store.get(key)
        rows = parquet.origins(data)
        files.append(StoredFile(key, rows.num_rows, len(data), ledger.checksum(data)))
        offsets += rows.column("_offset").to_pylist()
        last = _latest(rows, last)
    return _Held(tuple(files), np.array(offsets, np.int64), last)


def _latest(rows: pa.Table, last: Position | None) -> Position | None:
    columns = [rows.column(c).to_pylist() for c in ("_src_epoch", "_src_offset", "_src_index")]
    found = [Position(*p) for p in zip(*columns, strict=True) if None not in p]
    return max([*found, *([last] if last is not None else [])], default=None)


def _offsets(ranges: Ranges) -> I64:
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b) for a, b in ranges)])
