"""Which readings stood in the last L offsets of a partition already: by their event ids, in a few bytes each."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headrace.wire import EVENT_ID_BYTES

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]
_PIECE = 16_384  # rows dealt with at a time
_EMPTY = -1
_SMALL = 2 * _PIECE
_NO_ID = bytes(EVENT_ID_BYTES)


class Lookback:
    """The event ids of a partition's last `length` offsets: about 40 bytes each, 10 MB for the usual 200,000.

    `repeats` only asks; `add` moves on. A row is a repeat when its id stands at one of the `length` offsets before its
    own: that depends on the log alone, not on how it was cut into batches. Rows without an id are never repeats.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._first: int | None = None  # the first offset added
        self._allocate(_SMALL)

    def repeats(self, ids: Sequence[bytes | None], offsets: Ints) -> Mask:
        """Which rows repeat one that was added, or one before them in `ids`. Offsets ascend, from those added too."""
        out = np.zeros(len(ids), dtype=np.bool_)
        for keys, which in _pieces(ids):
            place, _ = self._find(keys)
            at = offsets[which]
            out[which] = (place >= 0) & (self._offsets[place] >= at - self._length) & (self._offsets[place] < at)
        if _may_repeat(_keys(ids)):
            self._mark_inside(ids, offsets, out)
        return out

    def add(self, ids: Sequence[bytes | None], offsets: Ints) -> None:
        """Remember these rows. Offsets ascend, from those added before too."""
        for keys, which in _pieces(ids):
            self._insert(keys, offsets[which])

    def _mark_inside(self, ids: Sequence[bytes | None], offsets: Ints, out: Mask) -> None:
        last: dict[bytes, int] = {}
        for i, (key, offset) in enumerate(zip(ids, offsets.tolist(), strict=True)):
            if key is not None:
                if last.get(key, -self._length - 1) >= offset - self._length:
                    out[i] = True
                last[key] = offset

    def _find(self, keys: _Keys) -> tuple[Ints, Ints]:
        """Each key's place in the ring and its slot in the table; -1 for both where it is not there."""
        found, slots = np.full((2, len(keys)), -1, dtype=np.int64)
        active = np.arange(len(keys))
        slot = self._home(keys)
        while len(active):
            place = self._table[slot]
            there = place != _EMPTY
            active, slot, place = active[there], slot[there], place[there].astype(np.int64)
            same = (self._ids[place] == keys[active]).all(axis=1) & (self._offsets[place] >= 0)
            found[active[same]], slots[active[same]] = place[same], slot[same]
            active, slot = active[~same], self._next(slot[~same])
        return found, slots

    def _allocate(self, ring_size: int) -> None:
        # Ids lie in a ring by their offset; a hash table with linear probing holds places in the ring. Places whose id
        # was overwritten stay in the table, as mere stepping stones, until it is built anew.
        self._ids: _Keys = np.zeros((ring_size, 2), dtype=np.uint64)
        self._offsets: Ints = np.full(ring_size, -1, dtype=np.int64)
        self._table = np.full(4 * ring_size, _EMPTY, dtype=np.int32)
        self._used = 0

    def _grow(self, first: int, last: int) -> None:
        """Make room before ids that are still within the look-back would be overwritten."""
        need = _power_of_two(min(self._length, last - first) + _SMALL)
        if need <= len(self._offsets):
            return
        ids, offsets = self._ids, self._offsets
        self._allocate(need)
        live = np.flatnonzero(offsets >= 0)
        place = self._place(offsets[live])
        self._ids[place], self._offsets[place] = ids[live], offsets[live]
        self._link(ids[live], place)

    def _place(self, offsets: Ints) -> Ints:
        return offsets & (len(self._offsets) - 1)

    def _insert(self, keys: _Keys, offsets: Ints) -> None:
        if self._first is None:
            self._first = int(offsets[0])
        self._grow(self._first, int(offsets[-1]))
        if self._used + len(keys) > len(self._table) // 2:
            self._rebuild()
        if _may_repeat(keys):  # of equal ids the last one counts
            last = {key: i for i, key in enumerate(map(bytes, keys))}
            chosen = np.fromiter(last.values(), dtype=np.int64)
            keys, offsets = keys[chosen], offsets[chosen]
        old, slot = self._find(keys)
        known, place = old >= 0, self._place(offsets)
        self._offsets[old[known]] = -1
        self._ids[place], self._offsets[place] = keys, offsets
        self._table[slot[known]] = place[known]  # one slot an id, else a reading sent without end would make a long way
        self._link(keys[~known], place[~known])

    def _link(self, keys: _Keys, place: Ints) -> None:
        """Enter places into the table: each in the first free slot from its key's home on."""
        self._used += len(keys)
        slot = self._home(keys)
        while len(place):
            free = self._table[slot] == _EMPTY
            self._table[slot[free]] = place[free]  # of several that want one slot, the last gets it
            left = self._table[slot] != place
            place, slot = place[left], self._next(slot[left])

    def _rebuild(self) -> None:
        self._table.fill(_EMPTY)
        self._used = 0
        place = np.flatnonzero(self._offsets >= 0)
        self._link(self._ids[place], place)

    def _home(self, keys: _Keys) -> Ints:
        return (keys[:, 0] & np.uint64(len(self._table) - 1)).astype(np.int64)

    def _next(self, slot: Ints) -> Ints:
        return (slot + 1) & (len(self._table) - 1)


def _pieces(ids: Sequence[bytes | None]) -> list[tuple[_Keys, Ints]]:
    """The ids that are there as (keys, their indices), a piece at a time."""
    known = np.fromiter((i is not None for i in ids), dtype=np.bool_, count=len(ids))
    keys = _keys([i or _NO_ID for i in ids])
    which = np.flatnonzero(known)
    return [(keys[which[i : i + _PIECE]], which[i : i + _PIECE]) for i in range(0, len(which), _PIECE)]


def _keys(ids: Sequence[bytes | None]) -> _Keys:
    return np.frombuffer(b"".join([i for i in ids if i is not None]), dtype=np.uint64).reshape(-1, 2)


def _may_repeat(keys: _Keys) -> bool:
    return len(np.unique(keys[:, 0])) < len(keys)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
