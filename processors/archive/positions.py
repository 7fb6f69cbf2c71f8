"""The consumer's half of the position rule: which rows of a `.clean` partition are new, and whether one is missing."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import FatalError
from headrace.wire import Position
from processors.archive.buffer import I64, Bools

_WIRE = np.dtype(
    [("epoch", ">i4"), ("offset", ">i8"), ("item", ">i4"), ("p_epoch", ">i4"), ("p_offset", ">i8"), ("p_item", ">i4")]
)


class Sources(NamedTuple):
    """`src` of each row, in columns."""

    epoch: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    item: npt.NDArray[np.int32]

    def at(self, row: int) -> Position:
        """One row's source."""
        return Position(int(self.epoch[row]), int(self.offset[row]), int(self.item[row]))


def sources(headers: npt.NDArray[np.uint8]) -> Sources:
    """`src` from the (n, 32) bytes of n `position` headers."""
    wire = _rows(headers)
    return Sources(wire["epoch"].astype(np.int32), wire["offset"].astype(np.int64), wire["item"].astype(np.int32))


def new_rows(headers: npt.NDArray[np.uint8], last: Position | None, *, loose: bool = False) -> Bools:
    """Which rows to take, of consecutive rows of a partition whose `position` headers are given, (n, 32) bytes.

    A row whose `src` is not after the one taken before it is a repeat: False. The first row after `last` None is
    taken as it comes; so is the first taken when `loose`. FatalError where a row's `prev` is after the row taken
    before it: a reading is missing between them.
    """
    wire = _rows(headers)
    n = len(wire)
    if n == 0:
        return np.zeros(0, np.bool_)
    src = [wire[f].astype(np.int64) for f in ("epoch", "offset", "item")]
    prev = [wire[f].astype(np.int64) for f in ("p_epoch", "p_offset", "p_item")]
    first = prev if last is None else [np.array([k]) for k in last]
    before = [np.concatenate([f[:1], s[:-1]]) for f, s in zip(first, src, strict=True)]
    taken = _after(src, before)
    if taken.all():  # as it nearly always is
        holes = _after(prev, before)
    else:
        taken, holes = _by_rank(src, prev, last)
    if loose and taken.any():
        holes[int(np.argmax(taken))] = False
    if holes.any():
        row = int(np.argmax(holes))
        w = wire[row]
        raise FatalError(
            f"a reading is missing: the row of source {w['epoch']}/{w['offset']}/{w['item']} follows "
            f"{w['p_epoch']}/{w['p_offset']}/{w['p_item']}, which never came"
        )
    return taken


def _rows(headers: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(headers).view(_WIRE).reshape(len(headers))


def _after(a: list[I64], b: list[I64]) -> Bools:
    """Whether each position of `a` is after that of `b`. Both are (epochs, offsets, items)."""
    out: Bools = (a[0] > b[0]) | ((a[0] == b[0]) & ((a[1] > b[1]) | ((a[1] == b[1]) & (a[2] > b[2]))))
    return out


def _by_rank(src: list[I64], prev: list[I64], last: Position | None) -> tuple[Bools, Bools]:
    """(taken, hole) of each row, where some rows are repeats: each is held against the highest one before it."""
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
