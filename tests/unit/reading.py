"""Reads files by a reader, and checks what every reader promises."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers.base import Batch, LeftOut, Reader, Table
from headrace.readers.formats import Format
from headrace.readers.source import Source


class Read(NamedTuple):
    table: Table
    columns: dict[str, list[Any]]  # by name, or by place where it has none
    types: dict[str, str]
    left_out: list[LeftOut]
    numbers: list[int]
    error: str  # that ended it


def read(format_: Any, path: Path, table: int = 0, **options: str) -> Read:
    """A table of a file, as a whole."""
    module: Format = format_
    with Source(path) as source:
        reader = module.open_file(source, options)
        found = all_of(reader, table, source.size)
        if not found.error:
            again = module.open_file(source, reader.dialect)
            assert (again.dialect, again.tables) == (reader.dialect, reader.tables)
            again.close()
        reader.close()
        return found


def all_of(reader: Reader, table: int, size: int) -> Read:
    told = reader.tables[table]
    batches, error = until_error(reader.batches(table))
    names = [c.name or str(i) for i, c in enumerate(told.columns)]
    done, last = 0, -1
    for batch in batches:
        assert batch.rows.schema.names == [str(i) for i in range(len(names))]
        assert batch.rows.num_rows == len(batch.numbers) <= 10_000
        found = sorted([*batch.numbers.to_pylist(), *(it.number for it in batch.left_out)])
        assert found == list(range(last + 1, last + 1 + len(found)))  # each row once, in its place
        assert done <= batch.done <= size
        done, last = batch.done, found[-1] if found else last
    assert error or not batches or size - done < 100  # what ends a file has no rows
    schema = batches[0].rows.schema if batches else pa.schema([(str(i), pa.null()) for i in range(len(names))])
    whole = pa.Table.from_batches([b.rows for b in batches], schema)
    return Read(
        told,
        dict(zip(names, (c.to_pylist() for c in whole.columns), strict=True)),
        dict(zip(names, map(str, schema.types), strict=True)),
        [it for b in batches for it in b.left_out],
        [n for b in batches for n in b.numbers.to_pylist()],
        error,
    )


def until_error(batches: Iterable[Batch]) -> tuple[list[Batch], str]:
    """The batches, and the words of the ConfigError that ended them."""
    found = []
    try:
        for batch in batches:
            found.append(batch)  # noqa: PERF402 - those before the error
    except ConfigError as e:
        return found, str(e)
    return found, ""
