"""Messages on their way to the lake, in columns. Values are still as they came."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.kafka import Message, columns
from headrace.protocol.tail import Tail, fingerprint
from headrace.protocol.wire import EVENT_ID, EVENT_ID_BYTES, POSITION, POSITION_BYTES, RECEIVED_AT
from processors.arrays import Bools, Bytes, Ints
from processors.joined import Joined

_LATEST = 2**63 - 1
_NO_ID = bytes(EVENT_ID_BYTES)
_NO_POSITION = bytes(POSITION_BYTES)
_DIGITS = 18  # of a number that surely fits 64 bits
# Bytes of memory that a message takes beside its value, in the columns; and that a chunk takes beside its messages.
OVERHEAD = 8 + EVENT_ID_BYTES + POSITION_BYTES + 3 * 8 + 4 + 2
OF_CHUNK = 1500
_NO_VALUES = Joined.of([])


class _Headers(NamedTuple):
    """The headers of messages in columns."""

    event_ids: Bytes
    has_event_id: Bools
    received: Ints
    positions: Bytes
    has_position: Bools


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition in Kafka's order. Each column has one element a message."""

    offsets: Ints
    times: Ints  # Kafka's timestamp, microseconds since 1970 UTC
    epochs: npt.NDArray[np.int32]  # leader epoch
    event_ids: Bytes  # (n, 16); zeros where absent
    has_event_id: Bools
    received: Ints  # the bridge's receive time, microseconds; -1 where absent
    positions: Bytes  # (n, POSITION_BYTES), as in the header; zeros where absent
    has_position: Bools
    values: Joined  # a message without a value has an empty one

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return len(self.values.data) + OVERHEAD * len(self) + OF_CHUNK

    def tail(self, row: int) -> Tail:
        """The message at `row`, as a note describes the last record before an offset."""
        crc = fingerprint(self.values.at(row), int(self.times[row]))
        return Tail(int(self.offsets[row]), int(self.epochs[row]), crc)

    def cut(self, first: int, end: int) -> "Chunk":
        """The messages from row `first` to before row `end`, in memory of their own."""
        if first == 0 and end == len(self):
            return self
        return _chunk([column[first:end].copy() for column in self.columns()], self.values.cut(first, end))

    def without_values(self) -> "Chunk":
        """The same messages, with all columns but their values."""
        return replace(self, values=_NO_VALUES)

    def columns(self) -> tuple[Any, ...]:
        """All columns but the values, in the order of the fields."""
        return (
            self.offsets,
            self.times,
            self.epochs,
            self.event_ids,
            self.has_event_id,
            self.received,
            self.positions,
            self.has_position,
        )


def take(messages: Sequence[Message]) -> Chunk:
    """The messages of one partition, in Kafka's order and none with an error, as a chunk."""
    headers = [h or [] for h in columns.headers(messages)]
    return Chunk(
        np.array(columns.offsets(messages), np.int64),
        np.array(columns.appended_ms(messages), np.int64) * 1000,
        np.array(columns.epochs(messages), np.int32),
        *(_same_headers(headers) or _any_headers(headers)),
        Joined.of(columns.values(messages)),
    )


def join(chunks: list[Chunk]) -> Chunk:
    """At least one chunk, one after the other, as one chunk. The list is empty then, so that they need not stay."""
    if len(chunks) == 1:
        return chunks.pop()
    values = [c.values for c in chunks]
    left = list(zip(*(c.columns() for c in chunks), strict=True))
    chunks.clear()
    joined = []
    while left:  # column by column: never all of them twice
        joined.append(np.concatenate(left.pop(0)))
    return _chunk(joined, Joined.concat(values))


def _chunk(but_values: list[Any], values: Joined) -> Chunk:
    return Chunk(*[*but_values, values])


def _same_headers(headers: list[Any]) -> _Headers | None:
    """The headers in columns, if every message has the headers that clean writes, in its order; else None."""
    n = len(headers)
    if set(map(len, headers)) != {3}:
        return None
    flat = list(chain.from_iterable(chain.from_iterable(headers)))  # name, value, name, value
    if any(flat[2 * k :: 6].count(name) != n for k, name in enumerate((EVENT_ID, RECEIVED_AT, POSITION))):
        return None
    all_of = np.ones(n, np.bool_)
    try:
        ids, received, positions = flat[1::6], flat[3::6], flat[5::6]
        if set(map(len, ids)) != {EVENT_ID_BYTES} or set(map(len, positions)) != {POSITION_BYTES}:
            return None
        return _Headers(_matrix(ids, n), all_of, _numbers(received), _matrix(positions, n), all_of)
    except TypeError:  # a foreign producer's header may hold None
        return None


def _any_headers(headers: list[Any]) -> _Headers:
    """The headers in columns, whatever headers each message has. If a header is repeated, the last counts."""
    n = len(headers)
    by_name = [dict(h) for h in headers]
    received = np.fromiter([_micros(h.get(RECEIVED_AT)) for h in by_name], np.int64, n)
    ids = [_sized(h.get(EVENT_ID), EVENT_ID_BYTES) for h in by_name]
    positions = [_sized(h.get(POSITION), POSITION_BYTES) for h in by_name]
    return _Headers(
        _matrix([i or _NO_ID for i in ids], n),
        np.fromiter([i is not None for i in ids], np.bool_, n),
        received,
        _matrix([p or _NO_POSITION for p in positions], n),
        np.fromiter([p is not None for p in positions], np.bool_, n),
    )


def _matrix(parts: Sequence[bytes], n: int) -> Bytes:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(n, -1)


def _numbers(texts: Sequence[bytes]) -> Ints:
    """The numbers in headers, as `_micros` reads each. TypeError where one is None."""
    sizes = set(map(len, texts))
    if len(sizes) == 1 and 0 < (size := sizes.pop()) <= _DIGITS:
        digits = _matrix(texts, len(texts)) - np.uint8(ord("0"))
        if (digits <= 9).all():
            powers = np.array([10**k for k in range(size - 1, -1, -1)], np.int64)
            return digits.astype(np.int64) @ powers
    return np.fromiter(map(_micros, texts), np.int64, len(texts))


def _sized(header: str | bytes | None, size: int) -> bytes | None:
    return header if isinstance(header, bytes) and len(header) == size else None


def _micros(header: str | bytes | None) -> int:
    try:
        found = int(header) if header is not None else -1
    except ValueError:
        return -1
    return found if 0 <= found <= _LATEST else -1
