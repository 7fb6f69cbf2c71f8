"""Transforms that are written for polars: `def transform(df: polars.DataFrame)`. Around them all is as for pandas.

A column's type depends on the contract alone: text for strings and enums, times in UTC, lists, structs for records. A
value that is missing is null.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headrace.contracts.avro import Node
from headrace.contracts.model import Field
from headrace.transforms.table import UNITS

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


ROW = "_row"  # in a table of which other rows are made: of which row


def is_wanted(function: Callable[..., object]) -> bool:
    """Whether the function's first parameter is annotated as a table of polars."""
    parameters = inspect.signature(function).parameters.values() if inspect.isfunction(function) else ()
    said = next((p.annotation for p in parameters), None)
    if isinstance(said, str):
        return said.strip("\"'").startswith(("pl.", "polars."))
    return getattr(said, "__module__", "").startswith("polars")


def call(
    function: Callable[[Any], Any], fields: Sequence[Field], given: "pd.DataFrame", *, numbered: bool = False
) -> Any:
    """What the function makes of a pandas table, as one of pandas again; what is no table as it is.

    `numbered`: it may make other rows, and a column ROW says of which row each is made: the index of the table that is
    given, and of the one that is returned. Without that column it is returned with an index of its own.
    """
    import pandas as pd
    import polars as pl

    table = pl.DataFrame([_column(f, given[f.name]) for f in fields])
    if numbered:
        table = table.with_columns(pl.Series(ROW, given.index.to_numpy(), pl.Int64))
    got = function(table)
    if isinstance(got, pl.LazyFrame):
        got = got.collect()
    if not isinstance(got, pl.DataFrame):
        return got
    if numbered:
        rows = got[ROW].to_list() if ROW in got.columns else None
        return pd.DataFrame({it.name: _cells(it) for it in got.iter_columns() if it.name != ROW}, index=rows)
    index = given.index if got.height == len(given) else None
    return pd.DataFrame({it.name: _back(it, table, given) for it in got.iter_columns()}, index=index)


def _column(field: Field, values: "pd.Series[Any]") -> "pl.Series":
    import polars as pl

    cells = values.astype(object).where(values.notna(), None).tolist()
    if field.kind == "array":
        cells = [None if v is None else v.tolist() for v in cells]
    return pl.Series(field.name, cells, dtype=_type(field.type))


def _type(node: Node) -> Any:
    import polars as pl

    if node.logical in UNITS:
        return pl.Datetime(UNITS[node.logical], "UTC")  # type: ignore[arg-type]
    if node.logical == "decimal":
        return pl.Decimal(node.precision, node.scale)
    match node.kind:
        case "array":
            assert node.items is not None
            return pl.List(_type(node.items))
        case "record":
            return pl.Struct({m.name: _type(m.type) for m in node.members})
        case "bytes" | "fixed":
            return pl.Binary
        case "double" | "float" | "long" | "int" | "boolean":
            numbers = {"double": pl.Float64, "float": pl.Float32, "long": pl.Int64, "int": pl.Int32}
            return numbers.get(node.kind, pl.Boolean)
        case _:
            return pl.String


def _back(column: "pl.Series", table: "pl.DataFrame", given: "pd.DataFrame") -> Any:
    name = column.name
    if name in table.columns and table[name].dtype == column.dtype and table[name].equals(column):
        return given[name]
    return _cells(column)


def _cells(column: "pl.Series") -> Any:
    import numpy as np

    if column.dtype.is_float():
        return column.cast(float).to_numpy(writable=True)
    cells = np.empty(len(column), dtype=object)
    for i, v in enumerate(column.to_list()):  # one by one: lists of one length would become a matrix
        cells[i] = np.array(v) if isinstance(v, list) else v
    return cells
