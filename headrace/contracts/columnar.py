"""Columns to Avro datums (Avro 1.12, binary encoding), many rows at a time: one pass over bytes a field, none a row.

The size of each value is computed first, so each row's place in the output is known; then each field writes its bytes
at all rows' places. A value takes its shortest encoding, as every known encoder writes it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.contracts.avro import Node
from headrace.errors import ConfigError

Ints = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]
_LIMITS = np.array([1 << (7 * k) for k in range(1, 10)], np.uint64)
_FIXED: dict[str, tuple[pa.DataType, str]] = {
    "double": (pa.float64(), "<f8"),
    "float": (pa.float32(), "<f4"),
}
_WHOLE = {"int": pa.int32(), "long": pa.int64()}


class Datums(NamedTuple):
    """Encoded rows. Row i is `data[ends[i - 1]:ends[i]]`."""

    data: bytes
    ends: Ints

    def __len__(self) -> int:
        return len(self.ends)

    def at(self, row: int) -> bytes:
        """One row."""
        return self.data[int(self.ends[row - 1]) if row else 0 : int(self.ends[row])]


def encode(node: Node, columns: Mapping[str, pa.Array], rows: int, prefix: bytes = b"") -> Datums:
    """`rows` datums of the record `node`, each after `prefix`. A member without a column is null in every row.

    A column has the type of `arrow_type`, or one that casts to it without loss. ConfigError where a value can't be: it
    is null and the member is not nullable, it does not fit the type, it is no symbol of the enum.
    """
    writers = [_writer(m.name, m.type, columns.get(m.name), rows) for m in node.members]
    sizes: Ints = np.full(rows, len(prefix), np.int64)
    for it in writers:
        sizes += it.sizes
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) if rows else 0, np.uint8)
    at = ends - sizes
    _fixed(out, at, np.broadcast_to(np.frombuffer(prefix, np.uint8), (rows, len(prefix))))
    at = at + len(prefix)
    for it in writers:
        it.write(out, at)
        at = at + it.sizes
    return Datums(out.tobytes(), ends)


def arrow_type(node: Node) -> pa.DataType:
    """The type of a column of the Avro type: numbers for times. ConfigError for one that has no columnar encoding."""
    if node.kind in _FIXED:
        return _FIXED[node.kind][0]
    if node.kind in _WHOLE:
        return _WHOLE[node.kind]
    match node.kind:
        case "boolean":
            return pa.bool_()
        case "string" | "enum":
            return pa.large_string()
        case "bytes" if not node.precision:
            return pa.large_binary()
        case "array" if node.items is not None and node.items.kind in _FIXED and not node.items.nullable:
            return pa.large_list(arrow_type(node.items))
    raise ConfigError(f"the Avro type {node.logical or node.kind} can't be filled from the columns of a file")


class _Column:
    """The bytes of one member. `live`: the rows that have a value; None: all. Sizes are of all rows."""

    def __init__(self, node: Node, live: npt.NDArray[np.bool_] | None, value: "_Value", rows: int) -> None:
        self._node, self._live, self._value = node, live, value
        sizes = value.sizes
        if live is not None:
            full = np.zeros(rows, np.int64)
            full[live] = sizes
            sizes = full
        self.sizes: Ints = sizes + 1 if node.nullable else sizes

    def write(self, out: Octets, at: Ints) -> None:
        """Write each row's bytes, at the places `at`."""
        if self._node.nullable:
            null, value = (0, 2) if self._node.null_index == 0 else (2, 0)
            out[at] = value if self._live is None else np.where(self._live, np.uint8(value), np.uint8(null))
            at = at + 1
        self._value.write(out, at if self._live is None else at[self._live])


class _Value(Protocol):
    """Values that are all there."""

    sizes: Ints  # bytes of each

    def write(self, out: Octets, at: Ints) -> None:
        """Write each value's bytes, at the places `at`."""


class _Fixed:
    """Values of the same number of bytes."""

    def __init__(self, matrix: Octets) -> None:
        self._matrix = matrix
        self.sizes: Ints = np.full(len(matrix), matrix.shape[1], np.int64)

    def write(self, out: Octets, at: Ints) -> None:
        """See _Value."""
        _fixed(out, at, self._matrix)


class _Whole:
    """Numbers as zigzag varints."""

    def __init__(self, numbers: Ints) -> None:
        self._zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
        self.sizes: Ints = np.searchsorted(_LIMITS, self._zigzag, side="right").astype(np.int64) + 1

    def write(self, out: Octets, at: Ints) -> None:
        """See _Value."""
        rest, sizes = self._zigzag, self.sizes
        for k in range(int(sizes.max(initial=0))):
            more = sizes > k
            if not more.all():
                rest, at, sizes = rest[more], at[more], sizes[more]
            last = sizes == k + 1
            out[at + k] = (rest & np.uint64(0x7F)).astype(np.uint8) | np.where(last, np.uint8(0), np.uint8(0x80))
            rest = rest >> np.uint64(7)


class _Runs:
    """Runs of bytes, each after its length or count; `end`: with a zero byte after those that are not empty."""

    def __init__(self, data: Octets, counts: Ints, width: int = 1, *, end: bool = False) -> None:
        self._data, self._lengths, self._end = data, counts * width, end
        self._head = _Whole(counts)
        self.sizes: Ints = self._head.sizes + self._lengths + (counts > 0) * int(end)

    def write(self, out: Octets, at: Ints) -> None:
        """See _Value."""
        self._head.write(out, at)
        begins, lengths = at + self._head.sizes, self._lengths
        if len(self._data):
            before = np.cumsum(lengths) - lengths
            out[np.repeat(begins - before, lengths) + np.arange(len(self._data))] = self._data
        if self._end:
            some = lengths > 0
            out[(begins + lengths)[some]] = 0


def _writer(name: str, node: Node, column: pa.Array | None, rows: int) -> _Column:
    if column is None or column.null_count:
        if not node.nullable:
            raise ConfigError(f"{name}: a row has no value, and the contract wants one in each")
        if column is None or column.null_count == rows:
            return _Column(node, np.zeros(rows, np.bool_), _Fixed(np.zeros((0, 0), np.uint8)), rows)
        live = column.is_valid().to_numpy(zero_copy_only=False)
        return _Column(node, live, _value(name, node, column.drop_null()), rows)
    return _Column(node, None, _value(name, node, column), rows)


def _value(name: str, node: Node, column: pa.Array) -> _Value:
    wanted = arrow_type(node)
    if column.type != wanted:
        try:
            column = column.cast(wanted)
        except pa.ArrowInvalid as e:
            raise ConfigError(f"{name}: {e}") from None
    match node.kind:
        case "double" | "float":
            kind = _FIXED[node.kind][1]
            numbers = np.ascontiguousarray(column.to_numpy(), dtype=kind)
            return _Fixed(numbers.view(np.uint8).reshape(len(numbers), node.size))
        case "boolean":
            return _Fixed(column.to_numpy(zero_copy_only=False).astype(np.uint8).reshape(-1, 1))
        case "enum":
            return _Whole(_symbols(name, node, column))
        case "array":
            assert node.items is not None
            width = node.items.size
            counts = np.diff(column.offsets.to_numpy())
            numbers = np.ascontiguousarray(column.flatten().to_numpy(), dtype=_FIXED[node.items.kind][1])
            return _Runs(numbers.view(np.uint8), counts, width, end=True)
        case "string" | "bytes":
            return _Runs(*_text(column))
    return _Whole(column.to_numpy().astype(np.int64))


def _symbols(name: str, node: Node, column: pa.Array) -> Ints:
    found = pc.index_in(column, pa.array(node.symbols, column.type))
    if found.null_count:
        wrong = column.filter(found.is_null())[0].as_py()
        raise ConfigError(f"{name}: {wrong!r:.80} is none of {', '.join(node.symbols)}")
    symbols: Ints = found.to_numpy().astype(np.int64)
    return symbols


def _text(column: Any) -> tuple[Octets, Ints]:
    """The bytes of all texts, one after the other, and the length of each."""
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int64, len(column) + 1, column.offset * 8)
    block = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return block[places[0] : places[-1]], np.diff(places)


def _fixed(out: Octets, at: Ints, matrix: Octets) -> None:
    for k in range(matrix.shape[1]):
        out[at + k] = matrix[:, k]
