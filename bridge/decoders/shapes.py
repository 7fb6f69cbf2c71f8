"""Objects with the same keys are read alike: where each field is, is found out once for each set of keys.

Only objects in which nothing is odd are read so. The exact way in `objects.py` reads the others, and finds the words.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import repeat
from math import isfinite
from typing import Any, NamedTuple

from bridge.decoders import unknown
from bridge.decoders.base import Source
from bridge.decoders.row import Row
from bridge.decoders.unknown import Known

_SCALARS = frozenset({str, int, float})
_FLOATS = {float}
_MAX_SHAPES = 300  # remembered, of a route
_MAX_KEYS = 8_192  # bytes of the keys of such a shape, about
_KEY = 64  # bytes of a key beside its characters
_INFINITE = float("inf")


class Shape(NamedTuple):
    """What is the same for all objects with certain keys."""

    reads: tuple[tuple[int, str | None, bool, Row], ...]  # position, key (None: ask the row), whether a double, the row
    own: tuple[int, ...]  # positions of which one must have a value
    more: tuple[str, ...]  # keys that the contract does not have
    deep: tuple[str, ...]  # keys with others inside, which the contract may not have


class Shapes:
    """The shapes of one contract's objects. `own`: positions of the fields of which one must have a value.

    `time`: the position of the field whose value stays as it came. `absent`: fields that an object need not have.
    """

    def __init__(
        self, rows: Sequence[Row], known: Known, own: Sequence[int], time: int, absent: frozenset[str]
    ) -> None:
        self._rows, self._known, self._own, self._time, self._absent = rows, known, own, time, absent
        self._shapes: dict[tuple[str, ...], Shape | None] = {}

    def of(self, found: Mapping[str, Any]) -> Shape | None:
        """The shape of an object; None where the exact way is to be asked."""
        keys = tuple(found)
        shape = self._shapes.get(keys) or self._learnt(keys)
        if shape is None or not shape.deep:
            return shape
        return None if unknown.unknown({key: found[key] for key in shape.deep}, self._known) else shape

    def fill(self, values: list[Any], found: Mapping[str, Any], shape: Shape, source: Source, *, said: bool) -> bool:
        """Put the values of an object of this shape into `values`, by position, as the exact way has them.

        False: ask that way. PoisonError: likewise. `said`: it says something that is no field of its own.
        """
        for i, key, double, row in shape.reads:
            if key is not None:
                value = found[key]
                if double and type(value) is float and -_INFINITE < value < _INFINITE:
                    values[i] = value
                    continue
            else:
                value, given = row.pick(found)
                if row.property:
                    value = source.properties.get(row.property)
                said = said or (given and value is not None and i in self._own)
            if value is None:
                if not row.nullable and row.name not in self._absent:
                    return False
            elif row.sentinels and type(value) in _SCALARS and value in row.sentinels:
                return False
            else:
                values[i] = value if i == self._time else row.read(value)
        return said or any(values[i] is not None for i in shape.own)

    def columns(self, found: Mapping[str, Sequence[Any]], shape: Shape, width: int) -> list[Iterable[Any]] | None:
        """As `fill`, for many objects at once: the values of each position; of one at least these are no end of None.

        None, PoisonError: ask the exact way.
        """
        if shape.deep or not shape.reads:
            return None
        values: list[Iterable[Any]] = [repeat(None)] * width
        for i, key, double, row in shape.reads:
            if key is None:
                return None
            column = found[key]
            kinds = set(map(type, column))
            if double and kinds == _FLOATS and all(map(isfinite, column)):
                values[i] = column
            elif type(None) in kinds or timedelta in kinds or (row.sentinels and kinds & _SCALARS):
                return None
            else:
                values[i] = column if i == self._time else [row.read(v) for v in column]
        return values if shape.own or not self._own else None

    def _learnt(self, keys: tuple[str, ...]) -> Shape | None:
        if keys in self._shapes:
            return None
        shape = self._shape(keys)
        if sum(map(len, keys)) + len(keys) * _KEY <= _MAX_KEYS:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            self._shapes[keys] = shape
        return shape

    def _shape(self, keys: tuple[str, ...]) -> Shape | None:
        reads: list[tuple[int, str | None, bool, Row]] = []
        own = []
        for i, row in enumerate(self._rows):
            there = [key for key in row.keys if key in keys]
            if len(there) > 1:
                return None
            if there:
                reads.append((i, there[0], row.plain and i != self._time, row))
                if i in self._own:
                    own.append(i)
            elif not row.keys or row.default is not None:
                reads.append((i, None, False, row))
            elif not row.nullable and row.name not in self._absent:
                return None
        more = tuple(key for key in keys if key not in self._known)
        deep = tuple(key for key in keys if self._known.get(key) is not None)
        return Shape(tuple(reads), tuple(own), more, deep)
