"""Readers in a process of their own, as `headrace.readers.apart` starts it: files come from strangers.

`python -m headrace.readers.child PATH --format F --options JSON` writes a table of the file to stdout, as a stream of
Arrow IPC. Without PATH it takes requests from stdin, a JSON object a line, and answers each with such a stream. In it:

- the schema's metadata: `told`, the reader's tables and dialect as JSON; or `error`, why the file can't be opened;
- a batch: the table's columns, then the rows' numbers; its metadata: `left_out` as JSON, and `done`;
- a last batch without rows: its metadata has `end`, or the `error` that ended it. Without it, a stream is cut.
"""

import argparse
import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers import formats
from headrace.readers.base import Batch, Column, LeftOut, Reader, Table
from headrace.readers.source import Source

NO_MEMORY = 3  # exit code
NUMBERS = "numbers"  # the last column
_MORE = 10  # seconds of CPU time from the signal that ends the process to the one that kills it


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    it = argparse.ArgumentParser(prog="headrace.readers.child", description=__doc__.splitlines()[0])
    it.add_argument("path", nargs="?", help="the file; without it, requests come from stdin")
    it.add_argument("--format", default="", help="found by the file's content, if not given")
    it.add_argument("--options", default="{}", help="a JSON object")
    it.add_argument("--table", type=int, default=0)
    it.add_argument("--memory", type=int, default=0, help="bytes of address space; macOS does not enforce it")
    it.add_argument("--cpu", type=int, default=0, help="seconds of CPU time for each file")
    told = it.parse_args(argv)
    out = os.fdopen(os.dup(1), "wb", buffering=1024 * 1024)
    os.dup2(2, 1)  # whatever a library prints must not stand between the tables
    _limit(told.memory)
    one = {"at": told.path, "format": told.format, "options": orjson.loads(told.options), "table": told.table}
    for request in [one] if told.path else map(orjson.loads, sys.stdin.buffer):
        _limit_time(told.cpu)
        try:
            answer(request, out)
            out.flush()
        except MemoryError:
            os._exit(NO_MEMORY)  # without a byte more
    return 0


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        with contextlib.suppress(ValueError, OSError):  # on macOS
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _limit_time(cpu: int) -> None:
    if cpu:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + cpu
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def answer(request: dict[str, Any], out: BinaryIO) -> None:
    """Write the table that the request asks for."""
    at = Path(request["at"])
    try:
        with Source(Path(request.get("path") or at), at) as source:
            reader = formats.open_file(source, request["options"], request["format"])
            try:
                _write(reader, request["table"], out)
            finally:
                reader.close()
    except ConfigError as e:
        schema = pa.schema([], {"error": str(e)})
        pa.ipc.new_stream(out, schema).close()


def _write(reader: Reader, table: int, out: BinaryIO) -> None:
    batches = _until_error(reader.batches(table))
    first = next(batches)
    fields = list(first.rows.schema) if isinstance(first, Batch) else []
    file = {"dialect": reader.dialect, "tables": [_table(it) for it in reader.tables]}
    schema = pa.schema([*fields, pa.field(NUMBERS, pa.int64())], {"told": orjson.dumps(file)})
    with pa.ipc.new_stream(out, schema) as writer:
        item: Batch | str = first
        while isinstance(item, Batch):
            rows = pa.RecordBatch.from_arrays([*item.rows.columns, item.numbers], schema=schema)
            told = orjson.dumps([list(it) for it in item.left_out])
            writer.write_batch(rows, {"left_out": told, "done": str(item.done)})
            out.flush()  # these rows are read, whatever becomes of the next
            item = next(batches)
        none = pa.RecordBatch.from_arrays([pa.array([], it.type) for it in schema], schema=schema)
        writer.write_batch(none, {"error": item} if item else {"end": ""})


def _until_error(batches: Iterator[Batch]) -> Iterator[Batch | str]:
    """The batches, then the words of the ConfigError that ended them, or ""."""
    try:
        yield from batches
    except ConfigError as e:
        yield str(e)
    else:
        yield ""


def _table(it: Table) -> dict[str, Any]:
    return it._asdict() | {"start": it.start and it.start.isoformat(), "columns": [list(c) for c in it.columns]}


def table(told: dict[str, Any]) -> Table:
    """A table from what is told of it."""
    columns = tuple(Column(*c) for c in told["columns"])
    start = datetime.fromisoformat(told["start"]) if told["start"] else None
    return Table(told["name"], columns, start, told["rate"], told["rows"], tuple(told["notes"]))


def left_out(told: bytes) -> tuple[LeftOut, ...]:
    """The rows left out, from what is told of them."""
    return tuple(LeftOut(*it) for it in orjson.loads(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
