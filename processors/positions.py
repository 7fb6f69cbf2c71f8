"""Source positions in columns: which rows of a topic to take, by what their headers say.

A processor numbers each row that it emits with `src`, the position that the row came from, and with `prev`, the `src`
of the row emitted before it (`processors.provenance.placed`). A reader of its topic keeps the last `src` it took, and
so finds repeats and holes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import FatalError
from headrace.protocol.wire import HAS_POSITION, Position
from processors.arrays import Bools, Ints
from processors.provenance import PREV, SRC, Marks, fields, has


class Sources(NamedTuple):
    """`src` of each row, in columns."""

    epoch: npt.NDArray[np.int32]
    offset: Ints
    item: npt.NDArray[np.int32]

    def at(self, row: int) -> Position:
        """The source of one row."""
        return Position(int(self.epoch[row]), int(self.offset[row]), int(self.item[row]))


def sources(rows: Marks) -> Sources:
    """`src` of each row."""
    it = fields(rows)
    return Sources(it["epoch"].astype(np.int32), it["offset"].astype(np.int64), it["item"].astype(np.int32))


def new_rows(rows: Marks, last: Position | None, *, loose: bool = False) -> Bools:
    """Which of consecutive rows of a partition to take. All of them have positions.

    `last` is the source of the row taken before them. A row whose `src` is not after the row taken before it is a
    repeat: False. With `last` None, the first row is taken as it is; with `loose`, the first row after `last` is too.
    FatalError where a row's `prev` is after the row taken before it: a reading is missing between the two.
    """
    if not len(rows):
        return np.zeros(0, np.bool_)
    it = fields(rows)
    src = [it[name].astype(np.int64) for name in SRC]
    prev = [it[name].astype(np.int64) for name in PREV]
    first = prev if last is None else [np.array([k]) for k in last]
    before = [np.concatenate([f[:1], s[:-1]]) for f, s in zip(first, src, strict=True)]
    taken = _after(src, before)
    if taken.all():  # as is nearly always the case
        holes = _after(prev, before)
    else:
        taken, holes = _by_rank(src, prev, last)
    if loose and taken.any():
        holes[int(np.argmax(taken))] = False
    if holes.any():
        row = it[int(np.argmax(holes))]
        source, missing = ("/".join(str(row[name]) for name in names) for names in (SRC, PREV))
        raise FatalError(f"a reading is missing: the row of source {source} follows {missing}, which never came")
    return taken


def new_messages(messages: Marks, last: Position | None) -> tuple[Bools, Position | None]:
    """Which of consecutive messages of a partition were not taken before, and the position of the last one taken.

    `last` is that of the row taken before. A message without a position is none of a processor's, and new. FatalError
    as `new_rows`.
    """
    which = np.flatnonzero(has(messages, HAS_POSITION))
    rows = messages[which]
    new = new_rows(rows, last)
    mask = np.ones(len(messages), np.bool_)
    mask[which] = new
    return mask, sources(rows).at(int(np.flatnonzero(new)[-1])) if new.any() else last


def _after(a: list[Ints], b: list[Ints]) -> Bools:
    """Whether each position of `a` is after that of `b`. Both are [epochs, offsets, items]."""
    out: Bools = (a[0] > b[0]) | ((a[0] == b[0]) & ((a[1] > b[1]) | ((a[1] == b[1]) & (a[2] > b[2]))))
    return out


def _by_rank(src: list[Ints], prev: list[Ints], last: Position | None) -> tuple[Bools, Bools]:
    """(taken, hole) of each row where some rows are repeats: each row is compared with the highest one before it."""
    n = len(src[0])
    extra = [np.array([k], np.int64) for k in (last or (0, 0, 0))]
    columns = [np.concatenate(parts) for parts in zip(src, prev, extra, strict=True)]
    order = np.lexsort(columns[::-1])
    changed = np.zeros(len(order), np.bool_)
    for c in columns:
        changed[1:] |= c[order][1:] != c[order][:-1]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.cumsum(changed)
    before = -1 if last is None else rank[-1]
    highest = np.maximum.accumulate(np.concatenate([[before], rank[:n]]))[:-1]
    taken = rank[:n] > highest
    return taken, taken & (rank[n : 2 * n] > highest) & (highest >= 0)
