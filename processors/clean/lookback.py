"""What clean knows of the last L offsets of a raw partition: a cache of the log, read again when it is assigned.

Whatever it answers about a message depends on the L raw offsets before that message, never on the batches in which they
were read, nor on what was emitted.
"""

from typing import NamedTuple

import polars as pl

from processors.arrays import Bools
from processors.clean.event_ids import EventIds, Ids
from processors.clean.history import History

Key = tuple[int, str]  # schema id and field
Values = dict[Key, pl.DataFrame]  # of fields whose rules look back: see `History`


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
        self._histories: dict[Key, History] = {}

    def repeats(self, ids: Ids) -> Bools:
        """Which of these messages repeat one before them."""
        return self._ids.repeats(ids)

    def before(self, key: Key, values: pl.DataFrame, wanted: Bools) -> pl.Series:
        """The device's value before each of `values`: see `History.before`."""
        return self._histories.get(key, History(self._length)).before(values, wanted)

    def add(self, seen: Seen) -> None:
        """Move on: the messages follow all that were added before."""
        self._ids.add(seen.ids)
        for key, values in seen.values.items():
            self._histories.setdefault(key, History(self._length)).add(values)
        for key in [k for k, h in self._histories.items() if h.end <= seen.end - self._length]:
            del self._histories[key]
