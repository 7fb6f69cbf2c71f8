"""Merges Parquet files into one that is sorted by device, time and offset, in bounded memory.

Rows are read in batches, sorted in memory, and where they are too many kept in a folder in sorted runs, which are then
merged. The types stay what they are: Arrow reads and writes them, as the archive did.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import FatalError
from headrace.lake.compaction import rowhash
from headrace.protocol import provenance
from headrace.protocol.names import DEVICE, TIME

ROW_GROUP = 262_144
_GROUP_BYTES = 64 * 1024 * 1024  # of rows in memory, of a row group of wide rows
_BATCH_BYTES = 1024 * 1024
Ints = npt.NDArray[np.int64]


class Sum(NamedTuple):
    """What must be the same before and after: the number of rows, and the hash of all that they hold."""

    rows: int
    hash: int

    def plus(self, batch: pa.RecordBatch) -> "Sum":
        """With the rows of a batch."""
        return Sum(self.rows + batch.num_rows, (self.hash + rowhash.total(batch)) % 2**64)


class Unlike(Exception):  # noqa: N818 - an answer
    """The files have not the same columns."""


def merge(sources: Sequence[Path], out: Path, folder: Path, memory: int, level: int) -> Sum:
    """Write the rows of `sources` to `out`, sorted; `folder` is for the runs. Unlike where their columns differ.

    The file is read again: FatalError where it has not the very rows of the sources.
    """
    schema = pq.read_schema(sources[0])
    found, runs = Sum(0, 0), _Runs(folder, schema)
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in _joined(_batches(sources, schema), schema):
        found = found.plus(batch)
        held.append(batch)
        size += batch.nbytes
        if size >= memory:
            runs.add(_sorted(held, schema))
            size = 0
    last = _sorted(held, schema)
    parts: Iterable[pa.Table] = runs.merged(last) if runs.files else iter([last])
    del last
    _write(parts, out, schema, level)
    written = Sum(0, 0)
    for batch in _joined(_batches([out], schema), schema):
        written = written.plus(batch)
    pa.default_memory_pool().release_unused()
    if written != found:
        raise FatalError(f"compaction wrote {written.rows:,} rows where {found.rows:,} were read, or changed some")
    return found


def _batches(files: Iterable[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path, buffer_size=_BATCH_BYTES, pre_buffer=False) as file:
            if not file.schema_arrow.equals(schema):
                raise Unlike(path.name)
            yield from file.iter_batches(_rows_of(file.metadata), use_threads=False)


def _joined(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Small batches together: each costs as much to hash as a large one."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= _BATCH_BYTES * 4:
            yield from pa.Table.from_batches(held, schema).combine_chunks().to_batches()
            held, size = [], 0
    if held:
        yield from pa.Table.from_batches(held, schema).combine_chunks().to_batches()


def _rows_of(metadata: pq.FileMetaData) -> int:
    """How many rows have about a batch's bytes in memory."""
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return int(min(ROW_GROUP // 4, max(16, _BATCH_BYTES * 4 * metadata.num_rows // max(size, 1))))


def _sorted(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The rows, sorted. Empties the list, so that they are in memory twice at most."""
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    batches.clear()
    return table.take(pa.array(np.lexsort(_keys(table, None)[::-1])))


def _keys(table: pa.Table | pa.RecordBatch, ranks: dict[str | None, int] | None) -> list[Ints]:
    """The columns to sort by, as numbers. `ranks`: of the devices of all runs; else those of the table count."""
    out: list[Ints] = []
    for name in (DEVICE, TIME, provenance.OFFSET.name):
        if name not in table.schema.names:
            continue
        column = table.column(name)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_string(column.type):
            few = column.dictionary_encode()
            names = few.dictionary.to_pylist()
            order = ranks or {name: i for i, name in enumerate(sorted(names))}
            places = np.array([order[n] for n in names], np.int64)
            codes = few.indices.fill_null(-1).to_numpy()
            out.append(np.where(codes < 0, -1, np.append(places, 0)[codes]))
        elif pa.types.is_timestamp(column.type) or pa.types.is_integer(column.type):
            whole = column.cast(pa.int64()).fill_null(np.iinfo(np.int64).min)
            out.append(whole.to_numpy(zero_copy_only=False))
    return out


@dataclass
class _Cursor:
    """A run that is being read: the rows that are not written yet, of the batch at hand."""

    rest: Iterator[pa.RecordBatch]
    ranks: dict[str | None, int]
    batch: pa.RecordBatch | None = None

    def fill(self) -> None:
        """Take the next batch where there is none at hand."""
        while self.batch is None or self.batch.num_rows == 0:
            self.batch = next(self.rest, None)
            if self.batch is None:
                return
        self.keys = _keys(self.batch, self.ranks)

    def last(self) -> tuple[int, ...]:
        """The key of the last row at hand."""
        return tuple(int(k[-1]) for k in self.keys)

    def upto(self, cut: tuple[int, ...]) -> pa.RecordBatch:
        """Take the rows at hand whose key is at most `cut`."""
        assert self.batch is not None
        within = np.ones(self.batch.num_rows, np.bool_)
        for key, value in zip(reversed(self.keys), reversed(cut), strict=True):
            within = (key < value) | ((key == value) & within)
        n = int(within.sum())
        taken, self.batch = self.batch.slice(0, n), self.batch.slice(n)
        self.keys = [k[n:] for k in self.keys]
        return taken


class _Runs:
    """Sorted runs of rows in a folder."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._devices: set[str] = set()
        self.files: list[Path] = []

    def add(self, table: pa.Table) -> None:
        """Keep a sorted table."""
        if DEVICE in table.schema.names and pa.types.is_string(table.schema.field(DEVICE).type):
            self._devices.update(d for d in table.column(DEVICE).unique().to_pylist() if d is not None)
        path = self._folder / f"run-{len(self.files)}.arrow"
        rows = max(16, _BATCH_BYTES * table.num_rows // max(table.nbytes, 1))
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_table(table, max_chunksize=rows)
        self.files.append(path)

    def merged(self, last: pa.Table) -> Iterator[pa.Table]:
        """The rows of all runs and of `last`, in order, in parts."""
        if last.num_rows:
            self.add(last)
        ranks: dict[str | None, int] = {name: i for i, name in enumerate(sorted(self._devices))}
        ranks[None] = -1
        cursors = [_Cursor(_read(path), ranks) for path in self.files]
        while True:
            for c in cursors:
                c.fill()
            cursors = [c for c in cursors if c.batch is not None]
            if not cursors:
                return
            cut = min(c.last() for c in cursors)
            part = pa.Table.from_batches([c.upto(cut) for c in cursors], self._schema).combine_chunks()
            yield part.take(pa.array(np.lexsort(_keys(part, ranks)[::-1])))


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _write(parts: Iterable[pa.Table], out: Path, schema: pa.Schema, level: int) -> None:
    text = [f.name for f in schema if pa.types.is_string(f.type) or f.name == provenance.PARTITION.name]
    whole = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type)]
    steps = {name: "DELTA_BINARY_PACKED" for name in whole if name not in text}
    with pq.ParquetWriter(
        out, schema, version="2.6", compression="zstd", compression_level=level, use_dictionary=text,
        column_encoding=steps or None, write_statistics=True, store_schema=False,
    ) as writer:  # fmt: skip
        held: list[pa.Table] = []
        rows = size = 0
        for part in parts:
            for i in range(0, part.num_rows, ROW_GROUP // 8):
                piece = part.slice(i, ROW_GROUP // 8)
                held.append(piece)
                rows, size = rows + piece.num_rows, size + piece.nbytes
                if rows >= ROW_GROUP or size >= _GROUP_BYTES:  # one group, if a little larger: no rest of a few rows
                    writer.write_table(pa.concat_tables(held), row_group_size=rows)
                    held, rows, size = [], 0, 0
        if rows:
            writer.write_table(pa.concat_tables(held), row_group_size=rows)
