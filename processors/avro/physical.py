"""Column types of Avro types: as the values are stored, and as a reader wants them."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from headrace.contracts.avro import Node, decimal_of
from headrace.contracts.model import Field

_PRIMITIVE: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "string": pl.String(),
    "bytes": pl.Binary(),
    "fixed": pl.Binary(),
    "enum": pl.String(),
}
_LOGICAL: dict[tuple[str, str | None], pl.DataType] = {
    ("long", "timestamp-millis"): pl.Datetime("ms", "UTC"),
    ("long", "timestamp-micros"): pl.Datetime("us", "UTC"),
    ("long", "timestamp-nanos"): pl.Datetime("ns", "UTC"),
    ("long", "local-timestamp-millis"): pl.Datetime("ms"),
    ("long", "local-timestamp-micros"): pl.Datetime("us"),
    ("long", "local-timestamp-nanos"): pl.Datetime("ns"),
    ("int", "date"): pl.Date(),
}
_NUMBERS = frozenset({"int", "long", "float", "double"})


def physical_dtype(node: Node) -> pl.DataType:
    """The column type of values as `stored` gives them: numbers for timestamps."""
    return _dtype(node, lambda n: _decimal(n) or _PRIMITIVE[n.kind])


def dtype(node: Node) -> pl.DataType:
    """The column type of values as a reader wants them: a timestamp, not its number."""
    return _dtype(node, lambda n: _decimal(n) or _LOGICAL.get((n.kind, n.logical)) or _PRIMITIVE[n.kind])


def restore(table: pl.DataFrame, node: Node) -> pl.DataFrame:
    """The columns as a reader wants them, from columns as they are stored."""
    wanted, have = {m.name: dtype(m.type) for m in node.members}, table.schema
    changed = [table[name].cast(kind) for name, kind in wanted.items() if have[name] != kind]
    return table.with_columns(changed) if changed else table


def columns_of(frame: pl.DataFrame, fields: Sequence[Field]) -> dict[str, list[object]]:
    """The fields' values as stored, of messages that are good: times are numbers, in lists and records too.

    They are the same whether the messages were read in columns or one by one.
    """
    return {f.name: _cells(frame[f.name].cast(physical_dtype(f.type)), f.type) for f in fields}


def _cells(column: pl.Series, node: Node) -> list[object]:
    """Lists of numbers are NumPy arrays over the column's own memory: the samples of a waveform are not copied."""
    items = node.items
    if node.kind != "array" or items is None or items.nullable or items.kind not in _NUMBERS:
        return column.to_list()
    return [None if cell is None else cell.to_numpy() for cell in column]


def stored(value: Any, node: Node) -> Any:
    """A value as fastavro reads it, as polars takes it for `physical_dtype`: Decimal, lists of key and value."""
    if value is None:
        return None
    match node.kind:
        case "record":
            return {m.name: stored(value[m.name], m.type) for m in node.members}
        case "array":
            assert node.items is not None
            return (
                value
                if node.items.kind in _PRIMITIVE and not node.items.precision
                else [stored(v, node.items) for v in value]
            )
        case "map":
            items = node.items
            assert items is not None
            return [{"key": k, "value": stored(v, items)} for k, v in value.items()]
    return decimal_of(node, value) if node.precision else value


def _decimal(node: Node) -> pl.DataType | None:
    return pl.Decimal(node.precision, node.scale) if node.precision else None


def _dtype(node: Node, leaf: Callable[[Node], pl.DataType]) -> pl.DataType:
    match node.kind:
        case "record":
            return pl.Struct([pl.Field(m.name, _dtype(m.type, leaf)) for m in node.members])
        case "array":
            assert node.items is not None
            return pl.List(_dtype(node.items, leaf))
        case "map":
            assert node.items is not None
            return pl.List(pl.Struct([pl.Field("key", pl.String()), pl.Field("value", _dtype(node.items, leaf))]))
    return leaf(node)
