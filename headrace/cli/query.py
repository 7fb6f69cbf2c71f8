"""`headrace query`."""

import shutil
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import say
from headrace.errors import ConfigError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


_COPY = {
    Format.CSV: "FORMAT csv, HEADER",
    Format.JSON: "FORMAT json, ARRAY true",
    Format.PARQUET: "FORMAT parquet, COMPRESSION zstd",
}
_BATCH = 50_000
# Types whose values DuckDB gives as Arrow does. Arrow is for the others: its import costs more than a short query.
_NUMBERS = frozenset({
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "FLOAT",
    "DOUBLE", "DECIMAL",
})  # fmt: skip
_PLAIN = frozenset({"BOOLEAN", "VARCHAR", "BLOB"})
_ITEMS = 6  # of an array, in a table


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Format of the answer.")]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write to this file instead of standard output.", show_default=False),
]
LimitOption = Annotated[int, typer.Option(min=1, help="Rows to show in a table, at most.")]


def query(
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One query in DuckDB's SQL; - reads it from standard input.")
    ],
    format_: FormatOption = Format.TABLE,
    out: OutOption = None,
    limit: LimitOption = 100,
) -> None:
    """Run SQL over the lake: every stream is a table.

    The columns are those of the contract, with times in UTC. `date` is the partition: a query that names it reads less.
    _topic, _partition and _offset say where in Kafka a row came from. The samples of a waveform: select unnest(samples)
    from vibration. Readings that the archive has not stored yet are not there.
    """
    from headrace.lake.sql import connect, explained, run

    if sql == "-":
        sql = sys.stdin.read()
    check(format_, out)
    cfg = context.config()
    with connect(cfg, sql, empty=nothing_stored) as lake, explained(cfg):
        show(run(lake, sql), format_, out, limit)


def check(format_: Format, out: Path | None) -> None:
    """ConfigError for an answer that can't be written there."""
    if format_ is Format.PARQUET and out is None and sys.stdout.isatty():
        raise ConfigError("parquet is binary and can't be shown on a terminal. Name a file with --out")


def show(answer: "duckdb.DuckDBPyConnection", format_: Format, out: Path | None, limit: int) -> None:
    """Write the answer that the connection has ready."""
    if format_ is not Format.TABLE:
        _write(answer, answer.to_arrow_reader(_BATCH), format_, out)
    elif out is None:
        _table(answer, limit, sys.stdout)
    else:
        with out.open("w", encoding="utf-8") as file:
            _table(answer, limit, file)


def nothing_stored(stream: str) -> None:
    """Say why the answer may be empty."""
    say(
        f"nothing of {stream} is stored yet. The archive stores a batch when it is full, old enough or idle. "
        "If nothing comes, `headrace dlq list` says what was refused"
    )


def _write(lake: "duckdb.DuckDBPyConnection", reader: "pa.RecordBatchReader", form: Format, out: Path | None) -> None:
    """Write the answer with DuckDB's own writers, first to a file beside the target: the target appears as a whole."""
    from headrace.lake.remote import literal

    writer = lake.cursor()  # the connection itself is busy giving out the answer
    writer.register("answer", reader)
    with tempfile.TemporaryDirectory(prefix=".headrace-", dir=out.absolute().parent if out else None) as folder:
        file = Path(folder) / f"answer.{form}"
        writer.execute(f"COPY answer TO {literal(file)} ({_COPY[form]})")
        if out is not None:
            file.replace(out)
            return
        sys.stdout.flush()
        with file.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)


def _table(answer: "duckdb.DuckDBPyConnection", limit: int, file: Any) -> None:
    """Print a table; each row as a block of lines when the table is wider than the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    names, numeric, rows = _rows(answer, limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(names, numeric, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=file)
    width = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    if not console.is_terminal:
        console = Console(file=file, width=max(width, 80))
    if width <= console.width or len(names) == 1:
        console.print(table)
    else:
        pad = max(map(len, names))
        for i, row in enumerate(rows, 1):
            console.print(
                Text("\n".join([f"-- row {i}", *(f"{n:{pad}}  {v}" for n, v in zip(names, row, strict=True))]))
            )
    if more:
        say(f"these are the first {limit} rows; --limit shows more, --format csv all")


def _rows(answer: "duckdb.DuckDBPyConnection", most: int) -> tuple[list[str], list[bool], list[list[str]]]:
    """The names of the columns, which of them hold numbers, and up to `most` rows, as a table shows them."""
    told = [(str(name), str(kind)) for name, kind, *_ in answer.description or ()]
    if {kind.partition("(")[0] for _, kind in told} <= _NUMBERS | _PLAIN:
        rows = [[cell(v) for v in row] for row in answer.fetchmany(most)]
        return [n for n, _ in told], [kind.partition("(")[0] in _NUMBERS for _, kind in told], rows
    reader = answer.to_arrow_reader(_BATCH)
    rows = []
    for batch in reader:
        columns = [column.to_pylist() for column in batch.slice(0, most - len(rows)).columns]
        rows += [[cell(v) for v in row] for row in zip(*columns, strict=True)]
        if len(rows) == most:
            break
    return reader.schema.names, [_is_number(t) for t in reader.schema.types], rows


def _is_number(kind: "pa.DataType") -> bool:
    from pyarrow.types import is_decimal, is_floating, is_integer

    return bool(is_integer(kind) or is_floating(kind) or is_decimal(kind))


def cell(value: object) -> str:
    """A value as a table shows it: short, times in UTC without their zone, bytes in hexadecimal, null as nothing."""
    from datetime import datetime

    match value:
        case None:
            return ""
        case datetime():
            return value.replace(tzinfo=None).isoformat(sep=" ")
        case bytes():
            return value.hex()
        case list() if len(value) > _ITEMS:
            return f"[{', '.join(map(cell, value[:_ITEMS]))}, ... {len(value):,} items]"
        case list():
            return f"[{', '.join(map(cell, value))}]"
        case _:
            return str(value)
