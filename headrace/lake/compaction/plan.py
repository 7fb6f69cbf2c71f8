"""Which files to merge next. Pure: the same files give the same answer.

While rows of a date still come, `files` files of a level are merged into one of the next, so that a row is written anew
about twice a day. When a date has ended, all become one file, or several where they are larger than `target_bytes`.
Rows that come later still stay apart until they are many, or a quarter of what is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from headrace.config.model import Compact
from headrace.lake.manifest import Merged, Slot

_SETTLE_SECONDS = 3600  # after midnight: until then yesterday's rows still come
_SMALL_SHARE = 0.75  # of the bytes of small files, that a large one has about for the same rows
_SHARE = 4  # a closed file is merged with what is at least a quarter of it


class Item(NamedTuple):
    """A file that counts. Its batches begin in [start, end); `merged` is what the manifest says of it."""

    start: int
    end: int
    key: str
    size: int
    merged: Merged | None = None

    @property
    def level(self) -> int:
        """How often its rows were written anew."""
        return self.merged.level if self.merged is not None else 0

    @property
    def closed(self) -> bool:
        """Whether it was made after its date had ended."""
        return self.merged is not None and self.merged.closed

    @property
    def weight(self) -> int:
        """About its part of the bytes of a large file."""
        return self.size if self.merged is not None else int(self.size * _SMALL_SHARE)


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one slot to merge: all those whose batches begin between its first and its last."""

    slot: Slot
    items: tuple[Item, ...]
    level: int
    closed: bool

    @property
    def start(self) -> int:
        """Where the batches of its files begin."""
        return self.items[0].start

    @property
    def end(self) -> int:
        """One past the start of the last of these batches, at least."""
        return self.items[-1].end


def merges(slots: Mapping[Slot, Sequence[Item]], settings: Compact, now: float) -> Iterator[Merge]:
    """What to merge, oldest date first: one merge of each slot at most. The items of a slot are in order."""
    today = datetime.fromtimestamp(now - _SETTLE_SECONDS, UTC).date().isoformat()
    for slot in sorted(slots):
        found = next(
            _closed(slot, slots[slot], settings) if slot[0] < today else _open(slot, slots[slot], settings), None
        )
        if found is not None:
            yield found


def _closed(slot: Slot, items: Sequence[Item], settings: Compact) -> Iterator[Merge]:
    for run in _within(items, settings.target_bytes):
        first = not any(i.closed for i in run)
        chosen = tuple(run) if first else _worth(run, settings.files)
        if len(chosen) > 1:
            yield Merge(slot, chosen, max(i.level for i in chosen) + 1, closed=True)


def _worth(run: Sequence[Item], files: int) -> tuple[Item, ...]:
    """Of a run that has been merged before: all, or those on one side of its largest, or none."""
    if len(run) < 2:
        return ()
    at = max(range(len(run)), key=lambda i: run[i].weight)
    if (sum(i.weight for i in run) - run[at].weight) * _SHARE >= run[at].weight:
        return tuple(run)
    sides = (run[:at], run[at + 1 :])
    return next((found for side in sides if len(side) >= files and (found := _worth(side, files))), ())


def _open(slot: Slot, items: Sequence[Item], settings: Compact) -> Iterator[Merge]:
    for level in range(max((i.level for i in items), default=0) + 1):
        for run in _upto(items, level, settings.target_bytes // 2):
            if sum(i.level == level for i in run) >= settings.files:
                chosen = next(_within(run, settings.target_bytes))
                if len(chosen) > 1:
                    yield Merge(slot, tuple(chosen), level + 1, closed=False)


def _upto(items: Sequence[Item], level: int, size: int) -> Iterator[Sequence[Item]]:
    """The longest runs of files up to this level and size, with no other between them."""
    run: list[Item] = []
    for item in items:
        if item.level <= level and item.size < size:
            run.append(item)
        else:
            if run:
                yield run
            run = []
    if run:
        yield run


def _within(items: Sequence[Item], target: int) -> Iterator[Sequence[Item]]:
    """The items in runs of about `target` bytes at most."""
    run: list[Item] = []
    weight = 0
    for item in items:
        if run and weight + item.weight > target:
            yield run
            run, weight = [], 0
        run.append(item)
        weight += item.weight
    if run:
        yield run
