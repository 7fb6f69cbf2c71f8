"""Removes what nobody reads any more. It acts on the newest states only, never on what a merge believed to have done.

Once a file does not count, it never will again. So a process that stops anywhere in here, and goes on a week later,
does no harm.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.lake import layout
from headrace.lake.manifest import Covers, Merged, Place, State
from headrace.store.base import ObjectInfo, ObjectStore

KEPT = 5  # states of a manifest that stay: a reader may have listed one and not read it yet
ABANDONED_SECONDS = 24 * 3600  # after which the file of a merge that has not ended is given up


@dataclass(frozen=True, slots=True)
class Removal:
    """What to remove. `fence`: partitions whose manifest needs a new state, before a file of a crash may go."""

    keys: tuple[str, ...]
    fence: frozenset[Place] = frozenset()


def removable(topic: str, listed: Sequence[ObjectInfo], states: Iterable[State], now: float, grace: float) -> Removal:
    """Of the objects `listed` in the topic's folder before the states were read, those that nobody reads any more.

    A file of the archive, when the one that holds its rows is older than `grace` and is there in full length; so is a
    compacted file that was replaced. The file of a merge that did not end, when a state has the number under which it
    would have been named: no state can name it any more.
    """
    states = list(states)
    sizes = {info.key: info.size for info in listed}
    covers = Covers.of(states)
    by_place = {(s.topic_id, s.partition): s for s in states}
    named = {f.key for s in states for f in s.files}
    since = {r.key: r.since for s in states for r in s.retired}
    whole: dict[Place, bool] = {
        place: all(sizes.get(f.key) == f.size for f in s.files) for place, s in by_place.items()
    }

    def old(cover: Merged) -> bool:
        return cover.made_at + grace <= now and sizes.get(cover.key) == cover.size

    out, fence = [], set[Place]()
    for info in listed:
        if (loose := layout.parse_data_key(info.key, topic)) is not None:
            cover = covers.of_key(loose)
            if cover is not None and old(cover):
                out.append(info.key)
        elif (it := layout.parse_merged_key(info.key, topic)) is not None and info.key not in named:
            place = (it.topic_id, it.partition)
            state = by_place.get(place)
            if info.key in since:
                if since[info.key] + grace <= now and whole[place]:
                    out.append(info.key)
            elif state is not None and it.number <= state.number:
                out.append(info.key)
            elif it.made + ABANDONED_SECONDS <= now:
                fence.add(place)
    return Removal(tuple(out), frozenset(fence))


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
