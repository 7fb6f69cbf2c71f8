"""Rows with names and values of any kind as a table: its columns and types are found by a pass over the whole file.

So no key that comes late is lost, and no number loses a digit: a column whose numbers neither 64 bits nor a double
hold as they are written is text, and so is one with values of several kinds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers.base import BATCH_ROWS, Batch, Column, LeftOut, Table
from headrace.readers.jsontext import LONG, Bad, Item, Number, shown, written
from headrace.readers.source import Source

MAX_COLUMNS = 5_000
_CELLS = 500_000  # of a batch, about
_BYTES = 8 * 1024 * 1024  # of a batch, as its rows stand in the file
_EXACT = 2**53  # integers up to here are doubles too

# Kinds of values that a column has. Those of the elements of its lists stand _LISTS bits higher.
_BOOL, _INT, _LONG, _FLOAT, _TEXT, _NUMBER, _LIST = (1 << bit for bit in range(7))
_LISTS = 7
_SCALARS = _LIST - 1
_KINDS: dict[type, int] = {float: _FLOAT, str: _TEXT, bool: _BOOL, type(None): 0, Number: _NUMBER}

Items = Callable[[bool], Iterator[Item]]  # the file's items; with True, each number as `Number`. A value: row, or Bad


class Objects:
    """A reader of a file with one table, whose rows are mappings from a column's name to a value."""

    def __init__(
        self, source: Source, items: Items, dialect: Mapping[str, str], word: str, first: Sequence[str] = ()
    ) -> None:
        """`word`: for the place of an item, such as "line". `first`: columns that come first, where they are."""
        self._source, self._items, self._word = source, items, word
        self.dialect = dict(dialect)
        types, self._literal = _columns(source, items, word)
        self._types = {name: types[name] for name in (*(it for it in first if it in types), *types)}
        self.tables = (Table("", tuple(Column(name) for name in self._types)),)

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        most = max(1, min(BATCH_ROWS, _CELLS // len(self.tables[table].columns)))
        numbers: list[int] = []
        rows: list[dict[str, Any]] = []
        left_out: list[LeftOut] = []
        size = 0
        try:
            for number, (at, value, text) in enumerate(self._items(self._literal)):
                if type(value) is Bad:
                    left_out.append(LeftOut(number, f"{self._word} {at}", value.reason, shown(text)))
                else:
                    numbers.append(number)
                    rows.append(value)
                size += len(text)
                if len(rows) + len(left_out) >= most or size > _BYTES:
                    yield self._batch(numbers, rows, left_out)
                    numbers, rows, left_out, size = [], [], [], 0
        except ConfigError:
            if rows or left_out:
                yield self._batch(numbers, rows, left_out)
            raise
        if rows or left_out:
            yield self._batch(numbers, rows, left_out)

    def _batch(self, numbers: list[int], rows: list[dict[str, Any]], left_out: list[LeftOut]) -> Batch:
        known = self._types.keys()
        try:
            if not all(row.keys() <= known for row in rows):
                raise ValueError
            arrays = [_array([row.get(name) for row in rows], it) for name, it in self._types.items()]
        except (ValueError, TypeError, pa.ArrowException):
            raise ConfigError(f"{self._source.path}: it has changed while it was read. Read it again") from None
        names = [str(i) for i in range(len(arrays))]
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        return Batch(pa.array(numbers, pa.int64()), batch, tuple(left_out), self._source.done)

    def close(self) -> None:
        """Nothing is open between two batches but what the source closes."""


def _columns(source: Source, items: Items, word: str) -> tuple[dict[str, pa.DataType], bool]:
    """The columns in the order in which they first come, and whether a text column has values that are no text.

    ConfigError: there are none, or too many.
    """
    kinds: dict[str, int] = {}
    refused, error, at = "", None, 0
    try:
        for at, value, _ in items(False):
            if type(value) is Bad:
                refused = refused or f"{word} {at}: {value.reason}"
                continue
            for name, it in value.items():
                kind = _KINDS.get(type(it))
                kinds[name] = kinds.get(name, 0) | (_kind(it) if kind is None else kind)
            if len(kinds) > MAX_COLUMNS:
                break
    except ConfigError as e:  # it comes again after the rows before it
        error = e
    if len(kinds) > MAX_COLUMNS:
        words = "Where keys are times or names of devices, have them written as values"
        raise ConfigError(f"{source.path}: {word} {at}: more than {MAX_COLUMNS:,} different keys. {words}")
    if not kinds:
        raise error or ConfigError(f"{source.path}: no row can be read: {refused or 'it is empty'}")
    types = {name: _type(bits) for name, bits in kinds.items()}
    return types, any(it == pa.string() and kinds[name] & ~_TEXT for name, it in types.items())


def _kind(value: Any) -> int:
    if type(value) is int:
        return _INT if -_EXACT <= value <= _EXACT else _LONG if -LONG <= value < LONG else _NUMBER
    if type(value) is list:
        bits = _LIST
        for it in value:
            bits |= _TEXT if type(it) in {list, dict} else _kind(it)
        return bits << _LISTS
    return _KINDS[type(value)]


def _type(bits: int) -> pa.DataType:
    if bits >> _LISTS:
        of = (bits >> _LISTS) & _SCALARS
        inner = _type(of) if of else pa.float64()
        numbers = inner in (pa.int64(), pa.float64())
        return pa.list_(inner) if numbers and not bits & _SCALARS else pa.string()
    if bits == _BOOL:
        return pa.bool_()
    if bits and not bits & ~(_INT | _LONG):
        return pa.int64()
    return pa.float64() if bits and not bits & ~(_INT | _FLOAT) else pa.string()


def _array(values: list[Any], it: pa.DataType) -> pa.Array:
    """The values as an array. `Number`s are made numbers where the column has numbers."""
    if it == pa.string():
        return pa.array([v.strip() if type(v) is str else None if v is None else written(v) for v in values], it)
    number = int if it in (pa.int64(), pa.list_(pa.int64())) else float
    if any(type(v) is Number for v in values):
        values = [number(v) if type(v) is Number else v for v in values]
    elif pa.types.is_list(it):
        values = [v and [number(x) if type(x) is Number else x for x in v] for v in values]
    return pa.array(values, it)
