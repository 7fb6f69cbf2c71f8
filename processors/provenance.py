"""The `provenance` headers of many records at once, in columns. `headrace.protocol.wire` says what is in them."""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from headrace.protocol.wire import (
    EVENT_ID_BYTES,
    FIXED_BYTES,
    FIXED_FORMAT,
    HAS_EVENT_ID,
    HAS_POSITION,
    NUMBERED,
    POSITION_BYTES,
    POSITION_FORMAT,
    PROVENANCE,
    VERSION,
    Headers,
    Position,
    Provenance,
    packed,
    unpack,
)
from processors.arrays import Bools, Bytes, Ints

_FIRST = ("version", "flags", "received")
SRC = ("epoch", "offset", "item")
PREV = ("prev_epoch", "prev_offset", "prev_item")
# The same layout as in `headrace.protocol.wire`, from the same texts: one byte order, then one letter a number.
_POSITION = [(name, POSITION_FORMAT[0] + code) for name, code in zip((*SRC, *PREV), POSITION_FORMAT[1:], strict=True)]
_FIXED = [(name, FIXED_FORMAT[0] + code) for name, code in zip(_FIRST, FIXED_FORMAT[1:4], strict=True)]
LAYOUT = np.dtype([*_FIXED, ("event_id", np.uint8, EVENT_ID_BYTES), *_POSITION])
BYTES = FIXED_BYTES + POSITION_BYTES
# (n,), each the BYTES of a row's header; without event id, receive time or position: zeros, -1, zeros. They move as
# wholes: numpy picks and copies a structure field by field, and joins some in another byte order. `fields` names them.
Marks = npt.NDArray[np.void]
_WHOLE = np.dtype((np.void, BYTES))
_NOTHING = np.frombuffer(Provenance().header()[1].ljust(BYTES, b"\0"), _WHOLE)


def marks(headers: Sequence[Headers | None]) -> Marks:
    """What the headers of each record say, as `wire.provenance` has it of one. The MQTT topics are left out."""
    data = _packed(headers)
    n = len(data)
    sizes = np.fromiter(map(len, data), np.int64, n)
    if (sizes == BYTES).all():
        out = np.frombuffer(b"".join(data), _WHOLE)
    else:
        out = np.frombuffer(b"".join([it[:BYTES].ljust(BYTES, b"\0") for it in data]), _WHOLE)
    placed = has(out, HAS_POSITION)
    good = (fields(out)["version"] == VERSION) & (sizes >= np.where(placed, BYTES, FIXED_BYTES))
    if good.all() and placed.all() and has(out, HAS_EVENT_ID).all():  # as clean writes them
        return out
    out = out.copy()
    out[~good] = _NOTHING[0]
    octets = matrix(out)
    octets[~has(out, HAS_POSITION), FIXED_BYTES:] = 0
    octets[~has(out, HAS_EVENT_ID), FIXED_BYTES - EVENT_ID_BYTES : FIXED_BYTES] = 0
    return out


def nothing(count: int) -> Marks:
    """Of that many records without a header."""
    return np.repeat(_NOTHING, count)


def fields(it: Marks) -> npt.NDArray[np.void]:
    """The same memory with the fields of LAYOUT."""
    return it.view(LAYOUT)


def has(it: Marks, flag: int) -> Bools:
    """Which of them have this flag."""
    out: Bools = (fields(it)["flags"] & flag) != 0
    return out


def at(it: Marks, row: int) -> Provenance:
    """What one of them says."""
    data = it[row].tobytes()
    return unpack(data if has(it[row : row + 1], HAS_POSITION).all() else data[:FIXED_BYTES])


def matrix(it: Marks) -> Bytes:
    """Their bytes, shape (n, BYTES)."""
    return it.view(np.uint8).reshape(len(it), BYTES)


def placed(it: Marks, epochs: Ints, offsets: Ints, before: Position, items: Ints | None = None) -> list[Headers]:
    """The headers of rows that a processor emits one after another: what `it` says of each, and its position.

    The sources of the rows are given by leader epoch and offset, and by `items` where several rows are made of one
    message. `before` is the source of the row emitted before the first.
    """
    wholes = it.copy()
    out = fields(wholes)
    out["flags"] = (out["flags"] & ~np.uint8(NUMBERED)) | HAS_POSITION
    out["epoch"], out["offset"] = epochs, offsets
    out["item"] = 0 if items is None else items
    for name, prev in zip(SRC, PREV, strict=True):
        out[prev][1:] = out[name][:-1]
    for name, number in zip(PREV, before, strict=True):
        out[name][:1] = number
    data = wholes.tobytes()
    return [[(PROVENANCE, data[i : i + BYTES])] for i in range(0, len(data), BYTES)]


def _packed(headers: Sequence[Headers | None]) -> list[bytes]:
    """The header of each; empty where there is none."""
    if all(headers):
        first: Any = map(itemgetter(0), cast("Sequence[Headers]", headers))
        flat = list(chain.from_iterable(first))  # name, value, name, value
        data = flat[1::2]
        if flat[::2].count(PROVENANCE) == len(data) and None not in data:  # it is the first, as we write it
            return data
    return [packed(it) for it in headers]
