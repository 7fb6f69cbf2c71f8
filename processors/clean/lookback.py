"""What clean knows of the last L offsets of a raw partition: a cache of the log, read again when it is assigned.

Whatever it answers about a message depends on the L raw offsets before that message, never on the batches in which they
were read, nor on what was emitted.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import polars as pl

from processors.arrays import Bools
from processors.clean.arrivals import Arrivals
from processors.clean.event_ids import EventIds, Ids
from processors.clean.history import History
from processors.clean.rules.rule import Order


class Key(NamedTuple):
    """Which values a memory keeps."""

    schema_id: int
    field: str
    order: Order


Values = dict[Key, pl.DataFrame]  # of fields whose rules look back: frames with `history.COLUMNS`


class Memory(Protocol):
    """The values of one field in the last offsets of a partition: a function of those offsets alone."""

    end: int  # one past the last offset

    def before(self, rows: pl.DataFrame, wanted: Bools) -> pl.DataFrame:
        """What came before each of the n `rows`, which follow all that were added. `wanted` (n,): for which to say."""

    def add(self, rows: pl.DataFrame) -> None:
        """Remember these rows, which follow all that were added before."""

    def kept(self) -> pl.DataFrame | None:
        """All rows that are remembered, as if they had come at once; None if there are none."""


MEMORIES: dict[Order, Callable[[int], Memory]] = {"time": History, "log": Arrivals}


class Seen(NamedTuple):
    """What the look-back keeps of consecutive messages of a partition."""

    end: int  # one past the last offset
    ids: Ids
    values: Values


class Lookback:
    """The event ids of a partition's last `length` offsets, and the values of fields whose rules look back."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._ids = EventIds(length)
        self._memories: dict[Key, Memory] = {}
        self.end = -1  # one past the last offset that was added; -1: none was

    def repeats(self, ids: Ids) -> Bools:
        """Which of these messages repeat one before them."""
        return self._ids.repeats(ids)

    def before(self, key: Key, values: pl.DataFrame, wanted: Bools) -> pl.DataFrame:
        """What came before each of `values`: see `Memory.before`."""
        return self._memory(key).before(values, wanted)

    def add(self, seen: Seen) -> None:
        """Move on: the messages follow all that were added before."""
        self._ids.add(seen.ids)
        self.end = seen.end
        for key, values in seen.values.items():
            memory = self._memories[key] = self._memory(key)
            memory.add(values)
        for key in [k for k, m in self._memories.items() if m.end <= seen.end - self._length]:
            del self._memories[key]

    def kept(self) -> Seen:
        """All that it knows, as if it had been added at once: whoever adds it knows the same."""
        found = {key: memory.kept() for key, memory in self._memories.items()}
        return Seen(self.end, self._ids.kept(), {key: rows for key, rows in found.items() if rows is not None})

    def _memory(self, key: Key) -> Memory:
        return self._memories.get(key) or MEMORIES[key.order](self._length)
