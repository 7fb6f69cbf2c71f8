"""Removes what nobody reads any more. It acts on the newest states only, never on what a merge believed to have done.

Once a file does not count, it never will again. So a process that stops anywhere in here, and goes on a week later,
does no harm.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.lake import layout, manifest
from headrace.lake.compaction import chain
from headrace.lake.manifest import Covers, Merged, Place, State
from headrace.store.base import ObjectInfo, ObjectStore

KEPT = 5  # states of a manifest that stay: a reader may have listed one and not read it yet
ABANDONED_SECONDS = 24 * 3600  # after which the file of a merge that has not ended is given up


@dataclass(frozen=True, slots=True)
class Removal:
    """What to remove. `fence`: partitions whose manifest needs a new state, before a file of a crash may go.

    `stray`: compacted files that no state can name any more, nor ever has as far as is known: to remove where `spare`.
    """

    keys: tuple[str, ...]
    stray: tuple[str, ...] = ()
    fence: frozenset[Place] = frozenset()


def removable(topic: str, listed: Sequence[ObjectInfo], states: Iterable[State], now: float, grace: float) -> Removal:
    """Of the objects `listed` in the topic's folder before the states were read, those that nobody reads any more.

    A file of the archive, when the one that holds its rows is older than `grace` and is there in full length; so is a
    compacted file that was replaced. The file of a merge that did not end, when a state has the number under which it
    would have been named: no state can name it any more. Nothing of a partition whose manifest was lost.
    """
    listed, states = list(listed), list(states)
    lost = manifest.behind(topic, (i.key for i in listed), states)
    sizes = {info.key: info.size for info in listed}
    covers = Covers.of(states)
    by_place = {place: s for s in states if (place := (s.topic_id, s.partition)) not in lost}
    named = {f.key for s in states for f in s.files}
    since = {r.key: r.since for s in states for r in s.retired}

    def whole(state: State | None, it: layout.MergedKey) -> bool:
        """Whether all files are there that may hold rows of this one."""
        mine = [] if state is None else [f for f in state.files if (f.date, f.schema_id) == (it.date, it.schema_id)]
        over = [f for f in mine if f.start < it.end and it.start < f.end]
        return bool(over) and all(sizes.get(f.key) == f.size for f in over)

    def old(cover: Merged) -> bool:
        return cover.made_at + grace <= now and sizes.get(cover.key) == cover.size

    out, stray, fence = [], list[str](), set[Place]()
    for info in listed:
        if (loose := layout.parse_data_key(info.key, topic)) is not None:
            cover = covers.of_key(loose)
            if cover is not None and (loose.topic_id, loose.partition) in by_place and old(cover):
                out.append(info.key)
        elif (it := layout.parse_merged_key(info.key, topic)) is not None and info.key not in named:
            place = (it.topic_id, it.partition)
            state = by_place.get(place)
            if info.key in since:
                if since[info.key] + grace <= now and state is not None and whole(state, it):
                    out.append(info.key)
            elif state is not None and it.number <= state.number:
                stray.append(info.key)
            elif it.made + ABANDONED_SECONDS <= now:
                fence.add(place)
    return Removal(tuple(out), tuple(stray), frozenset(fence))


def spare(store: ObjectStore, topic: str, key: str, sizes: Mapping[str, int], states: Iterable[State]) -> bool:
    """Whether each row of a stray compacted file is in another that counts, as the ledger says: it may go.

    Else a manifest was put back to an older state, and the file may be the only one that has the rows. `sizes`: of all
    that was in the topic's folder before the states were read; what was stored since is asked for.
    """
    it, covers = layout.parse_merged_key(key, topic), Covers.of(states)
    assert it is not None
    at, prefix = it.start, layout.entries_prefix(topic, it.topic_id, it.partition)
    while at < it.end:
        entry = chain.entry_at(store, prefix, at)
        if entry is None or entry.end <= at:
            return False
        for f in entry.files:
            mine = layout.parse_data_key(f.key, topic)
            if mine is None or (mine.date, mine.schema_id) != (it.date, it.schema_id):
                continue
            cover = covers.of_key(mine)
            there, size = (f.key, f.size) if cover is None else (cover.key, cover.size)
            if sizes.get(there, size) != size or (there not in sizes and not store.exists(there)):
                return False
        at = entry.end
    return True


def old_states(keys: Iterable[str]) -> list[str]:
    """The states that nobody reads any more, oldest first."""
    by_place: dict[tuple[str, str, int], list[tuple[int, str]]] = defaultdict(list)
    for key in keys:
        it = layout.parse_state_key(key)
        if it is not None:
            by_place[it.topic, it.topic_id, it.partition].append((it.number, key))
    return [key for found in by_place.values() for _, key in sorted(found)[:-KEPT]]


def remove(store: ObjectStore, keys: Iterable[str]) -> int:
    """Remove these objects, several at a time. Returns how many."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8, thread_name_prefix="remove") as pool:
        return sum(1 for _ in pool.map(store.delete, keys))
