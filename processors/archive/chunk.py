"""Messages on their way to the lake, in columns. Values and headers are still as they came."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from headrace.kafka import Message
from headrace.protocol.tail import Tail, fingerprint
from headrace.protocol.wire import EVENT_ID, EVENT_ID_BYTES, POSITION, POSITION_BYTES, RECEIVED_AT
from processors.arrays import Bools, Bytes, Ints

_Columns = tuple[Sequence[bytes | None], Ints, Sequence[bytes | None]]  # event ids, receive times, positions
_LATEST = 2**63 - 1
_NO_ID = bytes(EVENT_ID_BYTES)
_NO_POSITION = bytes(POSITION_BYTES)
# Bytes of memory that a message takes beside its value: the bytes object, its reference in the list, the columns.
OVERHEAD = 33 + 8 + EVENT_ID_BYTES + POSITION_BYTES + 3 * 8 + 4 + 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition in Kafka's order. Each column has one element a message."""

    offsets: Ints
    times: Ints  # Kafka's timestamp, microseconds since 1970 UTC
    epochs: npt.NDArray[np.int32]  # leader epoch
    values: list[bytes | None]
    event_ids: Bytes  # (n, 16); zeros where absent
    has_event_id: Bools
    received: Ints  # the bridge's receive time, microseconds; -1 where absent
    positions: Bytes  # (n, POSITION_BYTES), as in the header; zeros where absent
    has_position: Bools
    size: int  # bytes in memory, about

    def __len__(self) -> int:
        return len(self.values)

    def tail(self, row: int) -> Tail:
        """The message at `row`, as a note describes the last record before an offset."""
        return Tail(int(self.offsets[row]), int(self.epochs[row]), fingerprint(self.values[row], int(self.times[row])))

    def cut(self, first: int, end: int) -> "Chunk":
        """The messages from row `first` to before row `end`."""
        if first == 0 and end == len(self):
            return self
        values = self.values[first:end]
        return Chunk(
            self.offsets[first:end],
            self.times[first:end],
            self.epochs[first:end],
            values,
            self.event_ids[first:end],
            self.has_event_id[first:end],
            self.received[first:end],
            self.positions[first:end],
            self.has_position[first:end],
            _size(values),
        )


def take(messages: Sequence[Message]) -> Chunk:
    """The messages of one partition, in Kafka's order and none with an error, as a chunk."""
    n = len(messages)
    values = cast("list[bytes | None]", [m.value() for m in messages])
    headers = [m.headers() or [] for m in messages]
    ids, received, positions = _same_headers(headers) or _any_headers(headers)
    return Chunk(
        np.fromiter([m.offset() for m in messages], np.int64, n),
        np.fromiter([m.timestamp()[1] for m in messages], np.int64, n) * 1000,
        np.fromiter([-1 if (e := m.leader_epoch()) is None else e for m in messages], np.int32, n),
        values,
        _matrix(ids, _NO_ID),
        np.fromiter([i is not None for i in ids], np.bool_, n),
        received,
        _matrix(positions, _NO_POSITION),
        np.fromiter([p is not None for p in positions], np.bool_, n),
        _size(values),
    )


def join(chunks: Sequence[Chunk]) -> Chunk:
    """At least one chunk, one after the other, as one chunk."""
    if len(chunks) == 1:
        return chunks[0]
    return Chunk(
        np.concatenate([c.offsets for c in chunks]),
        np.concatenate([c.times for c in chunks]),
        np.concatenate([c.epochs for c in chunks]),
        list(chain.from_iterable(c.values for c in chunks)),
        np.concatenate([c.event_ids for c in chunks]),
        np.concatenate([c.has_event_id for c in chunks]),
        np.concatenate([c.received for c in chunks]),
        np.concatenate([c.positions for c in chunks]),
        np.concatenate([c.has_position for c in chunks]),
        sum(c.size for c in chunks),
    )


def _same_headers(headers: list[Any]) -> _Columns | None:
    """The headers in columns, if every message has the headers that clean writes, in its order; else None."""
    flat = list(chain.from_iterable(headers))
    n = len(headers)
    if len(flat) != 3 * n:
        return None
    names, found = zip(*flat, strict=True)
    if any(set(names[k::3]) != {name} for k, name in enumerate((EVENT_ID, RECEIVED_AT, POSITION))):
        return None
    ids, positions = found[0::3], found[2::3]
    try:
        if set(map(len, ids)) != {EVENT_ID_BYTES} or set(map(len, positions)) != {POSITION_BYTES}:
            return None
        return ids, np.array(found[1::3]).astype(np.int64), positions
    except (TypeError, ValueError, OverflowError):  # a foreign producer's header may hold None
        return None


def _any_headers(headers: list[Any]) -> _Columns:
    """The headers in columns, whatever headers each message has. If a header is repeated, the last counts."""
    by_name = [dict(h) for h in headers]
    received = np.fromiter([_micros(h.get(RECEIVED_AT)) for h in by_name], np.int64, len(headers))
    ids = [_sized(h.get(EVENT_ID), EVENT_ID_BYTES) for h in by_name]
    return ids, received, [_sized(h.get(POSITION), POSITION_BYTES) for h in by_name]


def _size(values: Sequence[bytes | None]) -> int:
    return sum(map(len, filter(None, values))) + OVERHEAD * len(values)


def _matrix(parts: Sequence[bytes | None], absent: bytes) -> Bytes:
    data = b"".join([p or absent for p in parts])
    return np.frombuffer(data, np.uint8).reshape(len(parts), len(absent))


def _sized(header: str | bytes | None, size: int) -> bytes | None:
    return header if isinstance(header, bytes) and len(header) == size else None


def _micros(header: str | bytes | None) -> int:
    try:
        found = int(header) if header is not None else -1
    except ValueError:
        return -1
    return found if 0 <= found <= _LATEST else -1
