"""One round over all archived topics: remove what nobody reads any more, then merge, file by file.

The one moment at which a merge counts is the PUT of a new state of the manifest. Before it there is a file that nobody
reads, after it there are files that nobody reads any more. docs/decisions/compaction.md has the reasoning.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.config import Config
from headrace.lake import copies, layout, manifest
from headrace.lake.compaction import chain, clear, rebuild
from headrace.lake.compaction.commit import Lost, commit, fenced
from headrace.lake.compaction.make import Bad, make
from headrace.lake.compaction.plan import Item, Merge, merges
from headrace.lake.compaction.report import Report, Topic
from headrace.lake.layout import DataKey
from headrace.lake.manifest import Covers, Merged, Place, Slot, State
from headrace.store.base import ObjectStore


def compact(
    cfg: Config,
    store: ObjectStore,
    *,
    now: Callable[[], float] = time.time,
    stop: threading.Event | None = None,
    notify: Callable[[str], None] = lambda _: None,
    topics: Sequence[str] = (),
    dry_run: bool = False,
    rebuild: bool = False,
) -> Report:
    """Compact the files of `topics`, by default of all that are archived. TransientError while the store is away.

    Interrupted anywhere, it has lost nothing: the next round goes on. `now`: seconds since 1970. Once `stop` is set it
    ends after the file that it is making. `notify` is called with what is done just now, in words. With `dry_run`
    nothing is written or removed: the report says what would be. With `rebuild` a manifest that was lost is first made
    anew: see rebuild.py.
    """
    report, halt = Report(), stop or threading.Event()
    for topic in topics or cfg.archived:
        if not halt.is_set():
            report.topics[topic] = Topic()
            _Round(cfg, store, topic, now, halt, notify, report.topics[topic], dry_run, rebuild).run()
    report.stopped = halt.is_set()
    return report


@dataclass
class _Round:
    """A round of one topic."""

    cfg: Config
    store: ObjectStore
    topic: str
    now: Callable[[], float]
    stop: threading.Event
    notify: Callable[[str], None]
    report: Topic
    dry_run: bool
    rebuild: bool
    sizes: dict[str, int] = field(default_factory=dict)  # of all that was in the folder when the round began

    def run(self) -> None:
        """See `compact`."""
        self.notify(f"listing the files of {self.topic}")
        listed = manifest.listing(self.store, self.topic)
        self.sizes = {i.key: i.size for i in listed}
        states = {(s.topic_id, s.partition): s for s in manifest.read(self.store, self.topic)}
        if self.rebuild and not self.dry_run:
            self._rebuild(states)
        loose = self._loose(list(states.values()))
        for place in loose:
            states.setdefault(place, State(self.topic, *place))
        count = sum(len(s.files) for s in states.values()) + sum(map(len, loose.values()))
        self.report.before = self.report.after = count
        piles = Counter((place, k.date, k.schema_id) for place, found in loose.items() for k, _ in found)
        self.report.small = sum(n for n in piles.values() if n >= self.cfg.compact.files)
        removal = clear.removable(self.topic, listed, states.values(), self.now(), self.cfg.compact.grace_seconds)
        self._remove([*removal.keys, *self._spare(removal.stray, list(states.values()))])
        lost = manifest.behind(self.topic, self.sizes, states.values())
        self.report.problems += [manifest.is_behind(*found) for found in lost.values()]
        for place in sorted(states.keys() - lost.keys()):
            if self.stop.is_set():
                return
            try:
                state = states[place]
                if place in removal.fence and not self.dry_run:
                    state = fenced(self.store, state)
                self._partition(state, loose.get(place, []))
            except Lost as e:
                self.report.problems.append(f"{self._name(state)}: {e}")

    def _rebuild(self, states: dict[Place, State]) -> None:
        for place, merged in rebuild.unknown(self.topic, self.sizes, states).items():
            state = states.get(place, State(self.topic, *place))
            self.notify(f"making the manifest of {self._name(state)} anew")
            try:
                states[place] = rebuild.rebuild(self.store, state, merged, self.sizes, self.now())
            except (Bad, Lost) as e:
                self.report.problems.append(f"{self._name(state)}: {e}")

    def _loose(self, states: Sequence[State]) -> dict[Place, list[tuple[DataKey, str]]]:
        """The archive's files that count, by place."""
        covers, out = Covers.of(states), defaultdict[Place, list[tuple[DataKey, str]]](list)
        for key in self.sizes:
            it = layout.parse_data_key(key, self.topic)
            if it is not None and covers.of_key(it) is None:
                out[it.topic_id, it.partition].append((it, key))
        return out

    def _spare(self, stray: Sequence[str], states: Sequence[State]) -> list[str]:
        out = []
        for key in stray:
            self.notify(f"asking the ledger whether {key} may go")
            if clear.spare(self.store, self.topic, key, self.sizes, states):
                out.append(key)
            else:
                self.report.problems.append(
                    f"{key}: no manifest names it, and not all of its rows are elsewhere. It stays. {manifest.LOST}"
                )
        return out

    def _remove(self, files: Sequence[str]) -> None:
        old = clear.old_states(i.key for i in self.store.list(layout.state_prefix(self.topic)))
        self.report.removed = len(files) + len(old)
        if not self.dry_run and self.report.removed:
            self.notify(f"removing {self.report.removed:,} objects of {self.topic}")
            clear.remove(self.store, [*files, *old])

    def _partition(self, state: State, loose: Sequence[tuple[DataKey, str]]) -> None:
        upto, prefix = max(state.upto, 0), layout.entries_prefix(self.topic, state.topic_id, state.partition)
        known, begin = chain.Chain(upto), upto
        if loose:
            self.notify(f"reading the ledger of {self._name(state)}")
            starts = {k.start for k, _ in loose}
            begin = state.upto if state.upto >= 0 else min(starts)
            known = chain.follow(self.store, prefix, begin, upto, starts, self.sizes)
        if known.problem:
            self.report.problems.append(f"{self._name(state)}: {known.problem}")
        slots = self._slots(state, [(k, key) for k, key in loose if k.start < known.upto])
        while not self.stop.is_set():
            merge = next(merges(slots, self.cfg.compact, self.now()), None)
            if merge is None:
                return
            if self.dry_run:
                self._count(merge, 0, 0)
                made = _pretended(merge, self.now())
            else:
                self.notify(f"merging {len(merge.items):,} files of {self._name(state)}, {merge.slot[0]}")
                try:
                    made = self._make(state, merge, known)
                except Bad as e:
                    self.report.problems.append(f"{self._name(state)}: {e}")
                    del slots[merge.slot]
                    continue
                made = made._replace(made_at=int(self.now()))  # the grace begins when it counts
                if known.upto > begin and known.entries:
                    copies.write(self.store, prefix, known.entries, begin, known.upto)
                    begin = known.upto
                state = commit(self.store, state, merge, made, known.upto, self._gone(state))
                self._count(merge, made.rows, made.size)
            slots[merge.slot] = _after(slots[merge.slot], merge, made)

    def _make(self, state: State, merge: Merge, known: chain.Chain) -> Merged:
        memory, level = self.cfg.compact.memory_bytes, self.cfg.archive.compression_level
        return make(self.store, state, merge, known.entries, now=self.now(), memory=memory, level=level)

    def _slots(self, state: State, loose: Sequence[tuple[DataKey, str]]) -> dict[Slot, list[Item]]:
        out: dict[Slot, list[Item]] = defaultdict(list)
        for k, key in loose:
            out[k.date, k.schema_id].append(Item(k.start, k.start + 1, key, self.sizes[key]))
        for f in state.files:
            out[f.date, f.schema_id].append(_item(f))
        return {slot: sorted(items) for slot, items in out.items()}

    def _gone(self, state: State) -> set[str]:
        """The retired files that are not there any more."""
        before = self.now() - self.cfg.compact.grace_seconds
        return {r.key for r in state.retired if r.key not in self.sizes and r.since < before}

    def _count(self, merge: Merge, rows: int, size: int) -> None:
        it = self.report
        it.merges, it.merged, it.after = it.merges + 1, it.merged + len(merge.items), it.after - len(merge.items) + 1
        it.rows, it.bytes = it.rows + rows, it.bytes + size
        it.small = max(0, it.small - sum(i.merged is None for i in merge.items))

    def _name(self, state: State) -> str:
        return f"{self.topic}/{state.partition}"


def _item(f: Merged) -> Item:
    return Item(f.start, f.end, f.key, f.size, f)


def _after(items: Sequence[Item], merge: Merge, made: Merged) -> list[Item]:
    """The files of a slot after a merge."""
    replaced = {i.key for i in merge.items}
    return sorted([*(i for i in items if i.key not in replaced), _item(made)])


def _pretended(merge: Merge, now: float) -> Merged:
    """What a merge would give, for a dry run."""
    size = sum(i.weight for i in merge.items)
    return Merged(*merge.slot, merge.start, merge.end, f"{merge.start}-{merge.end}", 0, size, "", int(now),
                  merge.level, merge.closed)  # fmt: skip
