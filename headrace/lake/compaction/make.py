"""Makes a compacted file: fetches the files that it replaces, checks them, merges them, and stores the result."""

import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from headrace.errors import FatalError
from headrace.lake import layout, ledger
from headrace.lake.compaction import chain, sort
from headrace.lake.compaction.plan import Item, Merge
from headrace.lake.ledger import Entry
from headrace.lake.manifest import Merged, State
from headrace.store.base import ObjectStore, get_file

_SMALL = 4 * 1024 * 1024  # files up to this size are fetched several at a time
_READERS = 8
_FOLDER = "headrace-compact-"
_LEFT_SECONDS = 24 * 3600


def no_room(error: OSError) -> str:
    """What to say of an error of the folder that files are merged in: errors of the store are others."""
    why = error.strerror or error
    return f"the temporary folder {tempfile.gettempdir()}: {why}. Make room there, or name another folder in TMPDIR"


class Bad(Exception):  # noqa: N818 - an outcome
    """The files can't be merged: one is not what the ledger says, or they have other columns."""


def make(
    store: ObjectStore,
    state: State,
    merge: Merge,
    entries: dict[int, Entry],
    *,
    now: float,
    memory: int,
    level: int,
) -> Merged:
    """Store a file with the rows of all files of `merge`, under a key that no state names yet.

    `entries`: those of the ledger that are known already; those that are read are added. Bad where nothing was stored.
    """
    _unbroken(store, state, merge, entries)
    _sweep()
    with tempfile.TemporaryDirectory(prefix=_FOLDER) as name:
        folder = Path(name)
        sources, rows = _fetch(store, state, merge, entries, folder)
        out = folder / "merged.parquet"
        try:
            found = sort.merge(sources, out, folder, memory, level)
        except sort.Unlike as e:
            raise Bad(f"{_key(merge.items, str(e))} has other columns than {merge.items[0].key}: both stay") from None
        if found.rows != rows:
            raise Bad(
                f"the ledger says {rows:,} rows of the files from {merge.items[0].key} on, they have {found.rows:,}"
            )
        date, schema_id = merge.slot
        parts = layout.MergedKey(
            date, state.topic_id, state.partition, merge.start, merge.end, schema_id, state.number + 1, int(now)
        )
        key = layout.merged_key(state.topic, parts, secrets.token_hex(6))
        store.put_file(key, out)  # nobody else has its token
        size, checksum = out.stat().st_size, ledger.checksum_of(out)
    return Merged(
        date, schema_id, merge.start, merge.end, key, rows, size, checksum, int(now), merge.level, merge.closed
    )


def _unbroken(store: ObjectStore, state: State, merge: Merge, entries: dict[int, Entry]) -> None:
    """Bad where the ledger names a file between those of the merge that is not one of them.

    Such a file was deleted by hand, or the listing lacked it. The merged file would stand for it too: put back, it
    would never be seen again, and be removed.
    """
    prefix = layout.entries_prefix(state.topic, state.topic_id, state.partition)

    def entry(at: int) -> Entry:
        if at not in entries:
            found = chain.entry_at(store, prefix, at)
            if found is None:
                raise Bad(f"the ledger has no entry at {at}: the files before and after it stay apart")
            entries[at] = found
        return entries[at]

    for before, after in pairwise(merge.items):
        at = entry(before.end - 1).end
        while at < after.start:
            for f in entry(at).files:
                it = layout.parse_data_key(f.key, state.topic)
                if it is not None and (it.date, it.schema_id) == merge.slot:
                    raise Bad(
                        f"{f.key} is in the ledger and not in the lake: the files of its date stay apart. Restore it"
                    )
            at = max(entry(at).end, at + 1)


def _sweep() -> None:
    """Remove the folders that a kill has left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with suppress(OSError):  # another sweeps too
            if folder.stat().st_mtime < time.time() - _LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _fetch(
    store: ObjectStore, state: State, merge: Merge, entries: Mapping[int, Entry], folder: Path
) -> tuple[list[Path], int]:
    """Copies of the files of a merge in `folder`, and how many rows they should have together."""
    prefix = layout.entries_prefix(state.topic, state.topic_id, state.partition)

    def one(item: Item) -> int:
        rows, checksum = _expected(store, prefix, item, entries)
        copy = folder / _file(item.key)
        try:
            get_file(store, item.key, copy)
        except FatalError:
            raise Bad(f"{item.key} is gone: was it removed by hand? `headrace verify` says what is missing") from None
        if ledger.checksum_of(copy) != checksum:
            raise Bad(f"{item.key} is not what was stored: it has another checksum. It stays, and is not merged")
        return rows

    small = [i for i in merge.items if i.size <= _SMALL]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="fetch") as pool:
        rows = sum(pool.map(one, small))
    rows += sum(one(i) for i in merge.items if i.size > _SMALL)
    return [folder / _file(i.key) for i in merge.items], rows


def _expected(store: ObjectStore, prefix: str, item: Item, entries: Mapping[int, Entry]) -> tuple[int, str]:
    """How many rows a file has, and its checksum, as the manifest or the ledger says."""
    if item.merged is not None:
        return item.merged.rows, item.merged.sha256
    entry = entries.get(item.start) or chain.entry_at(store, prefix, item.start)
    for f in entry.files if entry is not None else ():
        if f.key == item.key:
            return f.rows, f.sha256
    raise Bad(f"{item.key} is in the lake, and the ledger does not name it: it is not merged")


def _file(key: str) -> str:
    return key.rpartition("/")[2]


def _key(items: Sequence[Item], file: str) -> str:
    return next((i.key for i in items if _file(i.key) == file), file)
