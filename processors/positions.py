"""Source positions in columns: one half writes the `position` headers of rows, the other half checks them.

A processor numbers each row that it emits with `src`, the position that the row came from, and with `prev`, the `src`
of the row emitted before it. A reader of its topic keeps the last `src` it took, and so finds repeats and holes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import FatalError
from headrace.kafka import Message, headers_of
from headrace.protocol.wire import POSITION, POSITION_BYTES, POSITION_FORMAT, Position, header
from processors.arrays import Bools, Bytes, Ints

_SRC = ("epoch", "offset", "item")
_PREV = ("prev_epoch", "prev_offset", "prev_item")
# The same layout as in `headrace.protocol.wire`, from the same text: one byte order, then one letter a number.
_LAYOUT = np.dtype([
    (name, POSITION_FORMAT[0] + code) for name, code in zip((*_SRC, *_PREV), POSITION_FORMAT[1:], strict=True)
])  # fmt: skip


class Sources(NamedTuple):
    """`src` of each row, in columns."""

    epoch: npt.NDArray[np.int32]
    offset: Ints
    item: npt.NDArray[np.int32]

    def at(self, row: int) -> Position:
        """The source of one row."""
        return Position(int(self.epoch[row]), int(self.offset[row]), int(self.item[row]))


def position_headers(epochs: Ints, offsets: Ints, before: Position, items: Ints | None = None) -> list[bytes]:
    """The `position` header of each row, as `wire.pack_position` writes it.

    The rows are emitted one after another; their sources are given by leader epoch and offset, and by `items` where
    several rows are made of one message. `before` is the source of the row emitted before the first.
    """
    out = np.zeros(len(offsets), dtype=_LAYOUT)
    out["epoch"], out["offset"] = epochs, offsets
    if items is not None:
        out["item"] = items
    for name, prev in zip(_SRC, _PREV, strict=True):
        out[prev][1:] = out[name][:-1]
    for name, number in zip(_PREV, before, strict=True):
        out[name][:1] = number
    data = out.tobytes()
    return [data[i : i + POSITION_BYTES] for i in range(0, len(data), POSITION_BYTES)]


def sources(headers: Bytes) -> Sources:
    """`src` from the bytes of n `position` headers, shape (n, POSITION_BYTES)."""
    rows = _rows(headers)
    return Sources(rows["epoch"].astype(np.int32), rows["offset"].astype(np.int64), rows["item"].astype(np.int32))


def new_rows(headers: Bytes, last: Position | None, *, loose: bool = False) -> Bools:
    """Which of n consecutive rows of a partition to take, from their `position` headers, shape (n, POSITION_BYTES).

    `last` is the source of the row taken before them. A row whose `src` is not after the row taken before it is a
    repeat: False. With `last` None, the first row is taken as it is; with `loose`, the first row after `last` is too.
    FatalError where a row's `prev` is after the row taken before it: a reading is missing between the two.
    """
    rows = _rows(headers)
    if not len(rows):
        return np.zeros(0, np.bool_)
    src = [rows[name].astype(np.int64) for name in _SRC]
    prev = [rows[name].astype(np.int64) for name in _PREV]
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
        row = rows[int(np.argmax(holes))]
        source, missing = ("/".join(str(row[name]) for name in names) for names in (_SRC, _PREV))
        raise FatalError(f"a reading is missing: the row of source {source} follows {missing}, which never came")
    return taken


def new_messages(messages: Sequence[Message], last: Position | None) -> tuple[Bools, Position | None]:
    """Which of consecutive messages of a partition were not taken before, and the position of the last one taken.

    `last` is that of the row taken before. A message without a position is none of a processor's, and new. FatalError
    as `new_rows`.
    """
    found = [header(headers_of(m), POSITION) or b"" for m in messages]
    which = [i for i, h in enumerate(found) if len(h) == POSITION_BYTES]
    wire = np.frombuffer(b"".join(found[i] for i in which), np.uint8).reshape(-1, POSITION_BYTES)
    new = new_rows(wire, last)
    mask = np.ones(len(messages), np.bool_)
    mask[which] = new
    return mask, sources(wire).at(int(np.flatnonzero(new)[-1])) if new.any() else last


def _rows(headers: Bytes) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(headers).view(_LAYOUT).reshape(len(headers))


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
