"""How far the ledger of a partition is whole: up to there a file that is not there now can't come any more.

An entry is written after all its files, so those that it names are all that ever count of its batch.
"""

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headrace.errors import FatalError
from headrace.lake import ledger
from headrace.lake.ledger import Entry
from headrace.store.base import ObjectStore

_READERS = 8


@dataclass
class Chain:
    """The entries that were read, by start. `upto`: files of batches that begin before it may be merged.

    That of the last batch with rows is never merged: `headrace archive adopt` looks for the newest row there.
    """

    upto: int
    problem: str = ""
    entries: dict[int, Entry] = field(default_factory=dict)


def follow(
    store: ObjectStore, prefix: str, begin: int, upto: int, starts: Iterable[int], listed: Collection[str]
) -> Chain:
    """Follow the entries under `prefix` (see layout.ledger_prefix) from `begin` on, as far as there is no hole.

    `upto`: how far they may be merged in any case. `starts`: of files in the folder; `listed`: all that was there.
    """
    known: dict[int, Entry | None] = {}
    wanted = sorted({begin, *(s for s in starts if s >= begin)})
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ledger") as pool:
        known.update(zip(wanted, pool.map(lambda start: entry_at(store, prefix, start), wanted), strict=True))
    out, at = Chain(upto), begin
    while True:
        entry = known[at] if at in known else entry_at(store, prefix, at)
        if entry is None:
            if any(e is not None for start, e in known.items() if start > at):
                out.problem = f"the ledger has no entry at {at}, and later ones: nothing from there on is merged"
            return out
        missing = next((f.key for f in entry.files if f.key not in listed), None)
        if missing is not None:  # stored since the listing
            if not store.exists(missing):
                out.problem = f"{missing} is in the ledger and not in the lake: nothing from there on is merged"
            return out
        out.entries[at] = entry
        if entry.files:
            out.upto = max(out.upto, at)
        if entry.end <= at:
            raise FatalError(f"{entry.key}: it ends where it begins")
        at = entry.end


def entry_at(store: ObjectStore, prefix: str, start: int) -> Entry | None:
    """The entry of the batch that begins at `start`; None when there is none."""
    key = f"{prefix}{start:020d}.json"
    try:
        data = store.get(key)
    except FatalError:
        if store.exists(key):
            raise
        return None
    return ledger.from_json(data, key)
