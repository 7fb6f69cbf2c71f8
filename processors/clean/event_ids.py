"""Which readings repeat one of the last L offsets of a partition: by their event ids, in a few bytes each."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.protocol.wire import HAS_EVENT_ID
from processors.arrays import Bools, Ints
from processors.provenance import Marks, fields, has

_Keys = npt.NDArray[np.uint64]
_PIECE = 16_384  # rows dealt with at a time
_EMPTY = -1
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio: Knuth's multiplicative hashing
_LEAST = 1024  # places in a ring: there may be hundreds of partitions with little in each


class Ids(NamedTuple):
    """The event ids of consecutive messages of one partition."""

    size: int  # messages
    keys: _Keys  # the ids of the messages that have one, as two numbers each
    which: Ints  # the indices of these messages
    offsets: Ints  # the offsets of these messages


def ids_of(messages: Marks, offsets: Ints) -> Ids:
    """The event ids of messages at these offsets, ascending."""
    which = np.flatnonzero(has(messages, HAS_EVENT_ID))
    keys = np.ascontiguousarray(fields(messages)["event_id"][which]).view(np.uint64)
    return Ids(len(messages), keys, which, offsets[which])


class EventIds:
    """The event ids of a partition's last `length` offsets: about 40 bytes each, 10 MB for the usual 200,000.

    `repeats` only asks; `add` moves on. A message is a repeat when its id occurs at one of the `length` offsets before
    its own: that depends on the log alone, not on how it was cut into batches. Without an id it is never a repeat.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._first: int | None = None  # the first offset added
        self._allocate(_LEAST)

    def repeats(self, batch: Ids) -> Bools:
        """Which messages repeat one that was added, or one before them in `batch`."""
        out = np.zeros(batch.size, dtype=np.bool_)
        for keys, which, at in _pieces(batch):
            place, _ = self._find(keys)
            out[which] = (place >= 0) & (self._offsets[place] >= at - self._length)
        if _may_repeat(batch.keys):
            self._mark_inside(batch, out)
        return out

    def add(self, batch: Ids) -> None:
        """Remember these messages. They come after all that were added before."""
        if len(batch.which) > _PIECE:  # at once: else each doubling links again what the pieces before it have brought
            self._grow(int(batch.offsets[0]) if self._first is None else self._first, batch.offsets)
        for keys, _, at in _pieces(batch):
            self._insert(keys, at)

    def kept(self) -> Ids:
        """Those that a later message may repeat, as if they were all that was added."""
        last = int(self._offsets.max())
        place = np.flatnonzero(self._offsets > max(-1, last - self._length))
        place = place[np.argsort(self._offsets[place], kind="stable")]
        return Ids(len(place), self._ids[:, place].T.copy(), np.arange(len(place)), self._offsets[place])

    def _mark_inside(self, batch: Ids, out: Bools) -> None:
        last: dict[bytes, int] = {}
        for i, key, offset in zip(batch.which.tolist(), map(bytes, batch.keys), batch.offsets.tolist(), strict=True):
            if last.get(key, -self._length - 1) >= offset - self._length:
                out[i] = True
            last[key] = offset

    def _find(self, keys: _Keys) -> tuple[Ints, Ints]:
        """Each key's place in the ring and its slot in the table; -1 for both if it is not there."""
        found, slots = np.full((2, len(keys)), -1, dtype=np.int64)
        active = np.arange(len(keys))
        slot = self._home(keys.T)
        while len(active):
            place = self._table[slot]
            there = place != _EMPTY
            active, slot, place = active[there], slot[there], place[there].astype(np.int64)
            same = (self._ids[0][place] == keys[active, 0]) & (self._offsets[place] >= 0)
            same[same] = self._ids[1][place[same]] == keys[active[same], 1]
            found[active[same]], slots[active[same]] = place[same], slot[same]
            active, slot = active[~same], self._next(slot[~same])
        return found, slots

    def _allocate(self, ring_size: int) -> None:
        # Ids lie in a ring by their offset; a hash table with linear probing holds places in the ring. A place whose id
        # was overwritten stays in the table, as a step of the probing, until the table is built anew.
        self._ids: _Keys = np.zeros((2, ring_size), dtype=np.uint64)
        self._offsets: Ints = np.full(ring_size, -1, dtype=np.int64)
        self._table = np.full(4 * ring_size, _EMPTY, dtype=np.int32)
        self._used = 0

    def _grow(self, first: int, offsets: Ints) -> None:
        """Make room for these before an id that is still within the look-back would be overwritten."""
        last = int(offsets[-1])
        more = min(last + 1 - int(offsets[0]), 2 * _PIECE)  # more are far apart: they do not need each other
        need = _power_of_two(min(self._length, last - first) + more)
        if need <= len(self._offsets):
            return
        ids, kept = self._ids, self._offsets
        self._allocate(need)
        live = np.flatnonzero(kept >= 0)
        place = self._place(kept[live])
        self._ids[:, place], self._offsets[place] = ids[:, live], kept[live]
        self._link(self._ids[:, place], place)

    def _place(self, offsets: Ints) -> Ints:
        return offsets & (len(self._offsets) - 1)

    def _insert(self, keys: _Keys, offsets: Ints) -> None:
        if self._first is None:
            self._first = int(offsets[0])
        self._grow(self._first, offsets)
        if self._used + len(keys) > len(self._table) // 2:
            self._rebuild()
        if _may_repeat(keys):  # of equal ids the last counts, and in one place the later stays
            last = {key: i for i, key in enumerate(map(bytes, keys))}
            chosen = np.sort(np.fromiter(last.values(), dtype=np.int64))
            keys, offsets = keys[chosen], offsets[chosen]
        old, slot = self._find(keys)
        known, place = old >= 0, self._place(offsets)
        self._offsets[old[known]] = -1
        self._ids[0][place], self._ids[1][place], self._offsets[place] = keys[:, 0], keys[:, 1], offsets
        self._table[slot[known]] = place[known]  # one slot an id: copies without end must not fill the table
        self._link(keys[~known].T, place[~known])

    def _link(self, ids: _Keys, place: Ints) -> None:
        """Enter places into the table: each in the first free slot from its key's home on. `ids`: shape (2, n)."""
        self._used += len(place)
        slot = self._home(ids)
        while len(place):
            free = self._table[slot] == _EMPTY
            self._table[slot[free]] = place[free]  # of several that want one slot, the last gets it
            left = self._table[slot] != place
            place, slot = place[left], self._next(slot[left])

    def _rebuild(self) -> None:
        self._table.fill(_EMPTY)
        self._used = 0
        place = np.flatnonzero(self._offsets >= 0)
        self._link(self._ids[:, place], place)

    def _home(self, ids: _Keys) -> Ints:
        """Where to begin looking for ids, shape (2, n)."""
        return (_mixed(ids) >> np.uint64(65 - len(self._table).bit_length())).astype(np.int64)

    def _next(self, slot: Ints) -> Ints:
        return (slot + 1) & (len(self._table) - 1)


def _pieces(batch: Ids) -> Iterator[tuple[_Keys, Ints, Ints]]:
    for i in range(0, len(batch.which), _PIECE):
        yield batch.keys[i : i + _PIECE], batch.which[i : i + _PIECE], batch.offsets[i : i + _PIECE]


def _may_repeat(keys: _Keys) -> bool:
    mixed = np.sort(_mixed(keys.T))
    return bool((mixed[1:] == mixed[:-1]).any())


def _mixed(ids: _Keys) -> _Keys:
    """A hash of ids, shape (2, n), made of all their bytes: those of a file's rows begin alike, and then count."""
    out: _Keys = ids[0] ^ ids[1]
    out ^= out >> np.uint64(32)
    out *= _ODD
    return out


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
