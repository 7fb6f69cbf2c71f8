"""Proves, column by column, that a batch of Avro datums was cut where its messages end.

The fast reader takes datums one after another from a single block and knows nothing of message boundaries: a message
with two datums, or with one byte too many, would shift every row after it. So each row's encoded length is computed
from the decoded columns and compared with the message's, and the bytes the reader does not check itself are looked at
here: union branches, booleans, the last byte of numbers at the edge of their type.

Why that is proof: a value's length is computed in its shortest encoding. Had the reader taken more bytes for any row
than that row's message has, it would have run out of bytes at the end of the block, which is an error. So all were
taken in the shortest encoding, and by induction every row starts where its message does.
"""

from collections.abc import Collection

import numpy as np
import polars as pl

from headrace.contracts.avro import Node
from processors.arrays import Bools, Bytes, Ints

# The longest a number of the type can be, and the most its last byte may then hold without overflowing the type.
_EDGE = {"int": (5, 0x0F), "long": (10, 0x01)}
_LIMITS = np.array([1 << (7 * k) for k in range(1, 10)], dtype=np.uint64)


class Mismatch(Exception):  # noqa: N818 - not an error: it says to read the batch row by row
    """The columns do not account for the messages' bytes."""


def is_fast(node: Node) -> bool:
    """Whether the columnar reader takes the type, and `check` can account for its bytes."""
    if node.precision:  # a decimal's bytes may be padded: its value doesn't give their number
        return False
    match node.kind:
        case "record":
            return not node.nullable and bool(node.members) and all(is_fast(m.type) for m in node.members)
        case "enum":
            return len(node.symbols) <= 64 and not node.nullable  # one byte each; the reader fails on nulls
        case "fixed":
            return node.size > 0
        case "array":
            assert node.items is not None
            return not node.items.nullable and node.items.kind in {"float", "double", "int", "long", "string", "bytes"}
        case "map":
            return False
    return True


def check(frame: pl.DataFrame, node: Node, block: Bytes, ends: Ints, wanted: Collection[str] = ()) -> dict[str, Ints]:
    """Raise Mismatch unless row i of `frame`, of type `node`, is all of `block` from ends[i-1] to ends[i].

    Where in `block` each of the `wanted` members begins, by row: with its union branch, if it is nullable.
    """
    cursor = _Cursor(block, ends)
    found = {}
    for m in node.members:
        if m.name in wanted:
            found[m.name] = cursor.at + cursor.fixed
        _column(frame[m.name], m.type, cursor)
    if not np.array_equal(cursor.at + cursor.fixed, ends):
        raise Mismatch("lengths")
    return found


class _Cursor:
    """How far each row has been accounted for."""

    def __init__(self, block: Bytes, ends: Ints) -> None:
        self.bytes = block
        self.at = np.empty_like(ends)
        self.at[0] = 0
        self.at[1:] = ends[:-1]
        self.fixed = 0  # added to every row

    def skip(self, size: Ints | int) -> None:
        if isinstance(size, int):
            self.fixed += size
        else:
            self.at += size

    def peek(self, ahead: int, rows: Bools | None = None) -> Bytes:
        """Each row's byte, so many ahead. Clipped at the end: a row that got there does not add up anyway."""
        at = self.at if rows is None else self.at[rows]
        return self.bytes.take(at + (self.fixed + ahead), mode="clip")


def _column(column: pl.Series, node: Node, cursor: _Cursor) -> None:
    live: Bools | None = None
    if node.nullable:
        live = _branches(column, node, cursor)
        if live is not None and not live.any():
            return
    if node.kind == "record":
        fields = column.struct
        for m in node.members:
            _column(fields.field(m.name), m.type, cursor)
        return
    if node.kind == "boolean" and (cursor.peek(0, live) > 1).any():
        raise Mismatch("boolean")
    size = _sizes(column, node, live, cursor)
    cursor.skip(size if live is None else np.where(live, size, 0))


def _branches(column: pl.Series, node: Node, cursor: _Cursor) -> Bools | None:
    """Which rows hold a value, None if all do. Mismatch unless each row's union branch says the same."""
    null, value = (0, 2) if node.null_index == 0 else (2, 0)
    branch = cursor.peek(0)
    nulls = column.null_count()
    cursor.skip(1)
    if nulls in {0, len(column)}:
        if (branch != (null if nulls else value)).any():
            raise Mismatch("branch")
        return np.zeros(len(column), dtype=np.bool_) if nulls else None
    live = column.is_not_null().to_numpy()
    if not np.array_equal(branch, np.where(live, np.uint8(value), np.uint8(null))):
        raise Mismatch("branch")
    return live


def _sizes(column: pl.Series, node: Node, live: Bools | None, cursor: _Cursor) -> Ints | int:
    """Encoded bytes of each value; meaningless for rows that are not live."""
    if node.size:
        return node.size
    match node.kind:
        case "enum":
            return 1
        case "string" | "bytes":
            n = _filled(column.str.len_bytes() if node.kind == "string" else column.bin.size())
            return n + _varint_sizes(n)
        case "array":
            return _array_sizes(column, node)
    values = _filled(column)
    size = _varint_sizes(values)
    top, limit = _EDGE[node.kind]
    if np.max(size, initial=0) == top:
        edge = np.broadcast_to(np.asarray(size) == top, values.shape)
        if (cursor.peek(top - 1, edge if live is None else edge & live) > limit).any():
            raise Mismatch("number")
    return size


def _array_sizes(column: pl.Series, node: Node) -> Ints:
    """One block with its count and the end mark: how every known encoder writes, and the shortest way."""
    assert node.items is not None
    n = _filled(column.list.len())
    if node.items.size:
        size = n * node.items.size
    else:
        values = column.filter(pl.Series(n > 0)).explode()
        if node.items.kind in _EDGE:
            each = np.broadcast_to(_varint_sizes(_filled(values)), (len(values),))
            if np.max(each, initial=0) == _EDGE[node.items.kind][0]:  # rare: let it be read row by row
                raise Mismatch("number in an array")
        else:
            length = _filled(values.str.len_bytes() if node.items.kind == "string" else values.bin.size())
            each = length + _varint_sizes(length)
        total = np.concatenate(([0], np.cumsum(each)))
        after = np.cumsum(n)
        size = total[after] - total[after - n]
    return np.where(n > 0, size + _varint_sizes(n), 0) + 1


def _filled(column: pl.Series) -> Ints:
    whole = column.cast(pl.Int64)
    # Polars makes a query of the second: a quarter of a millisecond.
    return whole.to_numpy() if whole.null_count() == 0 else whole.fill_null(0).to_numpy()


def _varint_sizes(values: Ints) -> Ints | int:
    """Bytes of each value as a zigzag variable-length number; one figure where they all take the same."""
    if not len(values):
        return 1
    low, high = _varint_size(int(values.min())), _varint_size(int(values.max()))
    if low == high and (values.min() < 0) == (values.max() < 0):  # of one sign: the magnitudes lie between
        return low
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    return np.searchsorted(_LIMITS, zigzag, side="right").astype(np.int64) + 1


def _varint_size(n: int) -> int:
    return max(1, -(-((n << 1) ^ (n >> 63)).bit_length() // 7))
