"""Makes a manifest anew from the compacted files and the ledger, where its states were removed, or are an old copy.

Each compacted file holds the rows of all files of its slot whose batches begin in its range, whether a state ever named
it or not. So those that do not overlap may count together, with what the archive stored beside them.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from headrace.lake import layout, ledger
from headrace.lake.compaction.commit import fenced
from headrace.lake.compaction.make import Bad
from headrace.lake.layout import MergedKey
from headrace.lake.manifest import Covers, Merged, Place, Slot, State
from headrace.store.base import ObjectStore, get_file


def unknown(topic: str, listed: Iterable[str], states: Mapping[Place, State]) -> dict[Place, dict[str, MergedKey]]:
    """The compacted files, by place, where there is one of which no state says anything."""
    found: dict[Place, dict[str, MergedKey]] = defaultdict(dict)
    for key in listed:
        if (it := layout.parse_merged_key(key, topic)) is not None:
            found[it.topic_id, it.partition][key] = it
    known = {key for s in states.values() for key in (*(f.key for f in s.files), *(r.key for r in s.retired))}
    return {place: files for place, files in found.items() if not files.keys() <= known}


def rebuild(
    store: ObjectStore, before: State, merged: Mapping[str, MergedKey], sizes: Mapping[str, int], now: float
) -> State:
    """Write the state in which the files `merged` of a partition count, of those that overlap the longest.

    `sizes`: of all that lies in the topic's folder. Bad, with nothing written, where rows would be missing.
    """
    chosen = _longest(merged)
    files = [_said(key, merged[key], sizes[key], now) for key in chosen]
    covers, others = (Covers.of([replace(before, files=tuple(them))]) for them in (files, [
        _said(key, it, 0, now) for key, it in merged.items() if key not in chosen
    ]))  # fmt: skip
    end, rows = before.upto, Counter[str]()
    first, last = min(f.start for f in files), max(f.end for f in files)
    at: int | None = None
    for entry in ledger.read(store, layout.entries_prefix(before.topic, before.topic_id, before.partition)):
        if entry.end <= first or entry.start >= last:
            continue
        if entry.start != (first if at is None else at):
            raise Bad(f"the ledger has no entry at {at or first}: restore it first")
        at = entry.end
        for f in entry.files:
            it = layout.parse_data_key(f.key, before.topic)
            assert it is not None
            if (cover := covers.of_key(it)) is not None:
                rows[cover.key] += f.rows
            elif f.key not in sizes and others.of_key(it) is not None:
                raise Bad(f"compacted files overlap, and only some have the rows of {f.key}: restore its manifest")
    if at is None or at < last:
        raise Bad(f"the ledger has no entry at {at or first}: restore it first")
    whole = tuple(sorted(_checked(store, f, rows[f.key]) for f in files))
    number = max(before.number, *(it.number for it in merged.values()))
    return fenced(store, replace(before, number=number, upto=max(end, at), files=whole, retired=()))


def _longest(merged: Mapping[str, MergedKey]) -> set[str]:
    """Files that do not overlap: of those that do, the one whose batches are the most, and made last."""
    taken: dict[Slot, list[MergedKey]] = defaultdict(list)
    out = set()
    for key, it in sorted(merged.items(), key=lambda x: (x[1].start - x[1].end, -x[1].number, x[0])):
        mine = taken[it.date, it.schema_id]
        if all(it.end <= other.start or other.end <= it.start for other in mine):
            mine.append(it)
            out.add(key)
    return out


def _said(key: str, it: MergedKey, size: int, now: float) -> Merged:
    closed = it.date < datetime.fromtimestamp(now, UTC).date().isoformat()
    return Merged(it.date, it.schema_id, it.start, it.end, key, 0, size, "", int(now), 1, closed)


def _checked(store: ObjectStore, f: Merged, rows: int) -> Merged:
    """The file with its checksum, once it is known to have the rows that the ledger says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="headrace-rebuild-") as folder:
        copy = Path(folder) / "file.parquet"
        get_file(store, f.key, copy)
        try:
            found = pq.read_metadata(copy).num_rows
        except pa.ArrowInvalid:
            found = 0
        if found != rows:
            raise Bad(f"{f.key} has {found:,} rows, and the ledger says {rows:,}: restore it first")
        return f._replace(rows=rows, size=copy.stat().st_size, sha256=ledger.checksum_of(copy))
