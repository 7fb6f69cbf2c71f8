"""Account for a batch of which the log has lost records, and replace nothing in the lake.

A file is stored whole or not at all, under a name that derives from its batch. So a file that is there under a name of
the batch is complete for its schema and date, and is taken as it is: it may hold rows that the log no longer has. Store
what the log still has under those of the batch's names that are free. They are the batch's own names, not those of a
batch that begins later, because a late write of the process that died then meets the file and is refused, instead of
adding the same rows a second time.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headrace.errors import FatalError
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry, Ranges, StoredFile
from headrace.protocol.names import key_part, lake_folder
from headrace.protocol.provenance import SOURCE_NAMES
from headrace.protocol.wire import Position
from headrace.store.base import ObjectStore
from processors.archive import parquet
from processors.archive.plan import BatchPlan, Incarnation
from processors.archive.put import WriteOnce
from processors.archive.recovery import Lost
from processors.arrays import Ints


class _Held(NamedTuple):
    """The files of a batch that the lake holds."""

    files: tuple[StoredFile, ...]
    offsets: Ints
    last: Position | None  # the highest source


def lost_entry(store: ObjectStore, incarnation: Incarnation, lost: Lost) -> Entry:
    """The ledger entry of offsets that the log no longer has: the rows stored in time, and the rest as lost."""
    note, start = lost.note, lost.start
    if note.intent is None:
        return _entry(incarnation, lost, start, lost.low, lost=((start, lost.low),), last=note.last)
    end = note.intent.end
    if note.intent.empty:
        return _entry(incarnation, lost, start, end, skipped=((start, end),), last=note.last)
    held = _held(store, batch_files(store, incarnation, start), note.last)
    gone = ledger.ranges(np.setdiff1d(np.arange(start, end), held.offsets).tolist())
    return _entry(incarnation, lost, start, end, files=held.files, lost=gone, last=held.last)


def store_rest(lake: WriteOnce, plan: BatchPlan) -> Entry:
    """Store what the log still has of a batch, [plan.low, end), under its free names; return the whole batch's entry.

    The offsets before `plan.low` that no file holds are lost. FatalError where files hold other offsets than the log.
    """
    incarnation = Incarnation(plan.entry.topic, plan.entry.topic_id, plan.entry.partition)
    for file in plan.files:
        lake.put_absent(file)
    entry, low = plan.entry, plan.low
    keys = {*batch_files(lake.store, incarnation, entry.start), *(f.key for f in plan.files)}
    held = _held(lake.store, sorted(keys), plan.after.last)
    skipped = tuple((max(a, low), b) for a, b in entry.skipped if b > low)
    known = np.concatenate([held.offsets, _offsets(entry.refused), _offsets(skipped)])
    out = replace(
        entry,
        files=held.files,
        # A copy too, whose first has gone from the log: the first is in the file that has the name of both.
        repeats=ledger.ranges(np.setdiff1d(np.arange(low, entry.end), known).tolist()),
        skipped=skipped,
        lost=ledger.ranges(np.setdiff1d(np.arange(entry.start, low), held.offsets).tolist()),
        last=held.last,
    )
    if out.unaccounted():
        raise FatalError(
            f"{incarnation.name}: the files of the batch [{entry.start}, {entry.end}) hold rows "
            "at other offsets than the log does. Was the topic's log replaced, or the lake copied from elsewhere?"
        )
    return out


def batch_files(store: ObjectStore, incarnation: Incarnation, start: int) -> list[str]:
    """The data files of the batch that begins at `start`."""
    out = []
    wanted = (incarnation.topic, key_part(incarnation.topic_id), incarnation.partition, start)
    for info in store.list(f"{lake_folder(incarnation.topic)}/"):
        data = layout.parse_data_key(info.key, incarnation.topic)
        if data is not None and (data.topic, data.topic_id, data.partition, data.start) == wanted:
            out.append(info.key)
    return sorted(out)


def _entry(
    incarnation: Incarnation,
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
        *incarnation,
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
    columns = [rows.column(c).to_pylist() for c in SOURCE_NAMES]
    found = [Position(*p) for p in zip(*columns, strict=True) if None not in p]
    return max([*found, *([last] if last is not None else [])], default=None)


def _offsets(ranges: Ranges) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b) for a, b in ranges)])
