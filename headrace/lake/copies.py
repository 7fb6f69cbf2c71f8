"""Copies of ledger entries, many in one object, so that to read a ledger is not a request for each batch.

Compaction writes them. The entries stay, and are what counts: a copy is read only where the ledger has as many entries
in its range as it holds. So a copy that is missing, or one too many, changes no answer.

    _ledger_copies/<topic>/<topic id>/p<partition>/<start>-<end>-<count>.jsonl
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import orjson

from headrace.errors import FatalError
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry
from headrace.protocol.names import key_part
from headrace.store.base import ObjectStore

FOLDER = "_ledger_copies"
FEW = 12  # copies of less than LARGE entries that may lie there, before they become one
LARGE = 1000
_READERS = 8
_KEY = re.compile(
    rf"{FOLDER}/[^/]+/(?P<id>[^/]+)/p(?P<partition>\d+)/(?P<start>\d{{20}})-(?P<end>\d{{20}})-(?P<count>\d+)\.jsonl\Z"
)
Keys = list[tuple[int, str]]  # of entries, by start


class Copy(NamedTuple):
    """A copy of all entries of a partition that begin in [start, end)."""

    start: int
    end: int
    entries: int
    key: str
    topic_id: str  # as keys have it
    partition: int


def read(store: ObjectStore, topic: str) -> Iterator[Entry]:
    """The entries of a topic, as `ledger.read` gives them."""
    copies: dict[tuple[str, int], list[Copy]] = {}
    for info in store.list(f"{FOLDER}/{key_part(topic)}/"):
        if (it := _copy(info.key)) is not None:
            copies.setdefault((it.topic_id, it.partition), []).append(it)
    entries: dict[tuple[str, int], Keys] = {}
    for info in store.list(layout.ledger_prefix(topic)):
        if (of := layout.parse_ledger_key(info.key)) is not None:
            entries.setdefault((of.topic_id, of.partition), []).append((of.start, info.key))
    jobs = [job for place in sorted(entries) for job in _jobs(sorted(entries[place]), copies.get(place, ()))]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ledger") as pool:
        for some in pool.map(lambda job: _read(store, *job), jobs):
            yield from some


def _copy(key: str) -> Copy | None:
    it = _KEY.match(key)
    if it is None:
        return None
    return Copy(int(it["start"]), int(it["end"]), int(it["count"]), key, it["id"], int(it["partition"]))


def _jobs(keys: Keys, copies: Sequence[Copy]) -> Iterator[tuple[Copy | None, Keys]]:
    """What to read, in order: a copy instead of these entries, or an entry."""
    at = 0
    for copy in _apart(copies):
        first, last = (bisect_left(keys, (n, "")) for n in (copy.start, copy.end))
        if last - first == copy.entries:
            yield from ((None, [key]) for key in keys[at:first])
            yield copy, keys[first:last]
            at = last
    yield from ((None, [key]) for key in keys[at:])


def _apart(copies: Sequence[Copy]) -> list[Copy]:
    """Copies that do not overlap, in order: of those that do, the largest."""
    out: list[Copy] = []
    for it in sorted(copies, key=lambda c: (-c.entries, c)):
        if all(it.end <= other.start or other.end <= it.start for other in out):
            out.append(it)
    return sorted(out)


def _read(store: ObjectStore, copy: Copy | None, keys: Keys) -> list[Entry]:
    if copy is not None:
        try:
            lines = store.get(copy.key).splitlines()
        except FatalError:  # it became part of a larger one
            lines = []
        if len(lines) == len(keys):
            return [ledger.from_json(line, copy.key) for line in lines]
    return [ledger.from_json(store.get(key), key) for _, key in keys]


def write(store: ObjectStore, prefix: str, entries: Mapping[int, Entry], start: int, end: int) -> None:
    """Keep a copy of the entries that begin in [start, end), which follow one another. `prefix`: of their keys."""
    folder = FOLDER + prefix.removeprefix(layout.LEDGER)
    lines = [orjson.dumps(orjson.loads(ledger.to_json(entries[n]))) for n in sorted(entries) if start <= n < end]
    small = [it for info in store.list(folder) if (it := _copy(info.key)) is not None and it.entries < LARGE]
    before, begin = list[Copy](), start
    for it in sorted(small, reverse=True):
        if it.end == begin:
            before.insert(0, it)
            begin = it.start
    if len(before) < FEW:
        before, begin = [], start
    lines = [line for it in before for line in store.get(it.key).splitlines()] + lines
    store.put(f"{folder}{begin:020d}-{end:020d}-{len(lines)}.jsonl", b"\n".join(lines) + b"\n")
    for it in before:
        store.delete(it.key)
