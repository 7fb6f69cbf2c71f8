"""A look-back as bytes: what clean knew of a raw partition before an offset, to go on from without reading it again.

The log is the truth, and this a copy of what was read of it: `serves` says of which log, and up to where. Where it does
not serve, the log is read. Layout: MAGIC, the length of the head (4 bytes), the head (JSON), the event ids (16 bytes
each), how far before the end each stood (4 bytes each), the frames of values (Arrow), a CRC-32 of all that.
"""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import orjson
import polars as pl

from headrace import __version__
from headrace.protocol.clean_note import CleanNote
from headrace.protocol.tail import Tail
from processors.clean.event_ids import Ids
from processors.clean.history import COLUMNS
from processors.clean.lookback import Key, Seen, Values
from processors.clean.rules.rule import Order

MAGIC = b"HRlook1\n"
_HEAD, _CRC = len(MAGIC) + 4, 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a look-back of `length` offsets knew once all before `seen.end` was dealt with."""

    topic_id: str
    length: int
    tail: Tail  # the last record before the end
    seen: Seen


class UnreadableError(Exception):
    """These bytes are no snapshot, or not one of this version."""


def serves(it: Snapshot, note: CleanNote, position: int, low: int, length: int) -> bool:
    """Whether it knows the offsets before its end as they are in the log that `note` is of, and none is missing there.

    `note` is committed at `position`; the log begins at `low`. Records that one leader wrote in one epoch never part:
    if the newer of two is in a log, so is the older. In another epoch the log may have been truncated meanwhile.
    """
    tail = note.tail
    return (
        it.topic_id == note.topic_id
        and it.length == length
        and max(low, position - length) <= it.seen.end <= position
        and tail is not None
        and it.tail.epoch == tail.epoch >= 0
        and (it.tail.offset < tail.offset or it.tail == tail)
    )


def encode(it: Snapshot) -> bytes:
    """The snapshot as an object of the store."""
    end, ids, values = it.seen
    frames = [(list(key), _frame_bytes(rows)) for key, rows in values.items()]
    head = orjson.dumps({
        "id": it.topic_id, "length": it.length, "tail": list(it.tail), "end": end, "ids": len(ids.which),
        "version": __version__, "frames": [[key, len(data)] for key, data in frames],
    })  # fmt: skip
    parts = [
        MAGIC,
        len(head).to_bytes(4, "little"),
        head,
        np.ascontiguousarray(ids.keys).tobytes(),
        (end - ids.offsets).astype("<u4").tobytes(),
        *(data for _, data in frames),
    ]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join([*parts, crc.to_bytes(_CRC, "little")])


def decode(data: bytes) -> Snapshot:
    """The snapshot in an object. UnreadableError if there is none that this version can use."""
    if not data.startswith(MAGIC) or zlib.crc32(data[:-_CRC]) != int.from_bytes(data[-_CRC:], "little"):
        raise UnreadableError("it is not whole")
    try:
        begin = _HEAD + int.from_bytes(data[len(MAGIC) : _HEAD], "little")
        head = orjson.loads(data[_HEAD:begin])
        count, end = head["ids"], head["end"]
        keys = np.frombuffer(data, np.uint64, 2 * count, begin).reshape(-1, 2)
        begin += keys.nbytes
        back = np.frombuffer(data, "<u4", count, begin)
        # Which values are kept of a reading, and what of it can be decoded, is for the code to say.
        if head["frames"] and head["version"] != __version__:
            raise UnreadableError(f"it holds values, and was made by version {head['version']}")
        values = _values(data[begin + back.nbytes : -_CRC], head["frames"])
        ids = Ids(count, keys, np.arange(count), end - back.astype(np.int64))
        return Snapshot(head["id"], head["length"], Tail(*head["tail"]), Seen(end, ids, values))
    except (ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as e:
        raise UnreadableError(f"it can't be read: {e}") from e


def _frame_bytes(rows: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    rows.write_ipc(out, compression="zstd")
    return out.getvalue()


def _values(data: bytes, told: Sequence[tuple[tuple[int, str, Order], int]]) -> Values:
    out, begin = Values(), 0
    for (schema_id, field, order), size in told:
        if order not in get_args(Order):
            raise UnreadableError(f"it holds values in an order {order!r}")
        out[Key(schema_id, field, order)] = pl.read_ipc(io.BytesIO(data[begin : begin + size])).select(COLUMNS)
        begin += size
    return out
