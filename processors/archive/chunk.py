"""Messages on their way to the lake, in columns. Values are still as they came."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.kafka import Message, columns
from headrace.protocol.tail import Tail, fingerprint
from processors.arrays import Ints
from processors.joined import Joined
from processors.provenance import BYTES, Marks, marks

# Bytes of memory that a message takes beside its value, in the columns; and that a chunk takes beside its messages.
OVERHEAD = BYTES + 4 * 8 + 4
OF_CHUNK = 1500
_NO_VALUES = Joined.of([])


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition in Kafka's order. Each column has one element a message."""

    offsets: Ints
    times: Ints  # Kafka's timestamp, microseconds since 1970 UTC
    epochs: npt.NDArray[np.int32]  # leader epoch
    marks: Marks  # what the headers say
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
        return self.offsets, self.times, self.epochs, self.marks


def take(messages: Sequence[Message]) -> Chunk:
    """The messages of one partition, in Kafka's order and none with an error, as a chunk."""
    return Chunk(
        np.array(columns.offsets(messages), np.int64),
        np.array(columns.appended_ms(messages), np.int64) * 1000,
        np.array(columns.epochs(messages), np.int32),
        marks(columns.headers(messages)),
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
