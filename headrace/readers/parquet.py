"""Parquet and Arrow files (IPC, its stream, Feather), as they stream: a batch in memory, whatever the size of the file.

A struct gives columns with a path, `acc.x`. Types stay what they are; dictionaries and wide forms are made plain.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import ConfigError
from headrace.readers import options as words
from headrace.readers.base import BATCH_ROWS, Batch, Column, Reader, Table
from headrace.readers.source import Source

_PARQUET, _LOCKED, _FILE, _STREAM, _FEATHER = b"PAR1", b"PARE", b"ARROW1", b"\xff\xff\xff\xff", b"FEA1"
_NAMES = (".arrows", ".arrow", ".ipc", ".feather")
_CELLS = 1_000_000  # of a batch, about
_BUFFER = 1024 * 1024
_ERRORS = (pa.ArrowException, OSError, ValueError)


def suits(head: bytes, name: str) -> bool:
    """Whether it begins as these files do."""
    stream = head.startswith(_STREAM) and name.lower().endswith(_NAMES)
    return head.startswith((_PARQUET, _LOCKED, _FILE, _FEATHER)) or stream


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """Options: `without`, names of columns to pass over, a comma between them."""
    words.check(options, without=())
    head = source.head()
    if head.startswith(_FEATHER):
        raise ConfigError(f"{source.path}: Feather of version 1, which is not read. Write it as Parquet")
    if head.startswith(_LOCKED):
        raise ConfigError(f"{source.path}: encrypted Parquet, which is not read. Write it without encryption")
    without = [it for it in options.get("without", "").split(",") if it]
    try:
        return _Columnar(source, without, (_Parquet if head.startswith(_PARQUET) else _Arrow)(source))
    except _ERRORS as e:
        raise _broken(source, "its beginning or its end", e) from None


class _Inner(Protocol):
    """A file of one of the forms. `place`: what is being read, in words."""

    schema: pa.Schema
    rows: int | None  # where they are known
    place: str

    def parts(self, most: int) -> Iterator[tuple[pa.RecordBatch, float]]:
        """Parts of the file, of about so many rows, and the share of it that is read with each."""

    def close(self) -> None:
        """Close the file."""


class _Columnar:
    """A reader of either form."""

    def __init__(self, source: Source, without: list[str], inner: _Inner) -> None:
        self._source, self._inner, schema = source, inner, inner.schema
        self.dialect = {"without": ",".join(without)} if without else {}
        missing = [name for name in without if name not in schema.names]
        if missing:
            raise ConfigError(f"{source.path}: option without: there is no column {missing[0]!r}")
        self._kept = [i for i, name in enumerate(schema.names) if name not in without]
        leaves = [leaf for i in self._kept for leaf in _leaves(source, schema.field(i), "")]
        if not leaves:
            raise ConfigError(f"{source.path}: it has no column")
        self._types = [it for _, it in leaves]
        notes = (f"passed over: {', '.join(without)}",) if without else ()
        self.tables = (Table("", tuple(column for column, _ in leaves), rows=inner.rows, notes=notes),)
        self._rows = max(1, min(BATCH_ROWS, _CELLS // len(leaves)))

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        names = [str(i) for i in range(len(self.tables[table].columns))]
        parts, number = self._inner.parts(self._rows), 0
        while True:
            try:
                part = next(parts, None)
                if part is None:
                    return
                arrays = [a for i in self._kept for a in _plain(part[0].column(i))]
                arrays = [_cast(a, it) for a, it in zip(arrays, self._types, strict=True)]
            except _ERRORS as e:
                where = f"{self._inner.place}, after row {number - 1}" if number else self._inner.place
                raise _broken(self._source, where, e) from None
            rows, done = pa.RecordBatch.from_arrays(arrays, names), int(self._source.size * part[1])
            for at in range(0, len(rows), self._rows):
                some = rows.slice(at, self._rows)
                yield Batch(pa.array(range(number, number + len(some)), pa.int64()), some, (), done)
                number += len(some)

    def close(self) -> None:
        """Close the file."""
        self._inner.close()


class _Parquet:
    """See _Inner."""

    def __init__(self, source: Source) -> None:
        self._file = pq.ParquetFile(
            source.whole(), pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
        )
        self.schema, self.place = self._file.schema_arrow, ""
        self.rows: int | None = self._file.metadata.num_rows

    def parts(self, most: int) -> Iterator[tuple[pa.RecordBatch, float]]:
        """See _Inner."""
        read = 0
        for group in range(self._file.num_row_groups):
            self.place = f"row group {group}"
            for batch in self._file.iter_batches(most, row_groups=[group], use_threads=False):
                read += len(batch)
                yield batch, read / self._file.metadata.num_rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Arrow:
    """See _Inner. Its batches are as large as they were written."""

    rows: int | None = None

    def __init__(self, source: Source) -> None:
        self._file = pa.OSFile(str(source.whole()))
        self._stream = not source.head().startswith(_FILE)
        with self._reader() as it:
            self.schema, self.place = it.schema, ""

    def _reader(self) -> Any:
        self._file.seek(0)
        return pa.ipc.open_stream(self._file) if self._stream else pa.ipc.open_file(self._file)

    def parts(self, most: int) -> Iterator[tuple[pa.RecordBatch, float]]:  # noqa: ARG002 - see above
        """See _Inner."""
        with self._reader() as it:
            self.place = "batch 0"
            for number, batch in enumerate(it if self._stream else map(it.get_batch, range(it.num_record_batches)), 1):
                batch.validate(full=True)  # a stranger's offsets must not lead out of the buffers
                yield batch, self._file.tell() / self._file.size() if self._stream else number / it.num_record_batches
                self.place = f"batch {number}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _leaves(source: Source, field: pa.Field, path: str) -> Iterator[tuple[Column, pa.DataType]]:
    """A field's columns, and the types in which they are given."""
    name = path + field.name
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _leaves(source, inner, f"{name}.")
        return
    it = _type(field.type)
    try:
        if it is not None:
            _cast(pa.nulls(0, field.type), it)
    except pa.ArrowException:
        it = None
    if it is None:
        raise ConfigError(
            f"{source.path}: the column {name!r} has the type {field.type}, which is no reading's. "
            f"Pass it over: the option `without: {(path or name).partition('.')[0]}`"
        )
    unit = (field.metadata or {}).get(b"unit", b"")
    yield Column(name, unit.decode(errors="replace")), it


def _type(it: pa.DataType) -> pa.DataType | None:
    """The plain form of a type; None: there is none."""
    kind = pa.types
    if kind.is_dictionary(it) or kind.is_run_end_encoded(it):
        return _type(it.value_type)
    if isinstance(it, pa.BaseExtensionType):
        return _type(it.storage_type)
    if kind.is_string(it) or kind.is_large_string(it) or kind.is_string_view(it) or kind.is_null(it):
        return pa.string()
    if kind.is_binary(it) or kind.is_large_binary(it) or kind.is_binary_view(it) or kind.is_fixed_size_binary(it):
        return pa.binary()
    if kind.is_list(it) or kind.is_large_list(it) or kind.is_fixed_size_list(it):
        inner = _type(it.value_type)
        return None if inner is None or kind.is_nested(inner) else pa.list_(inner)
    if kind.is_float16(it):
        return pa.float32()
    return it if (kind.is_primitive(it) or kind.is_decimal(it)) and not kind.is_interval(it) else None


def _plain(array: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_struct(array.type):
        for inner in array.flatten():
            yield from _plain(inner)
    else:
        yield array


def _cast(array: pa.Array, to: pa.DataType | None) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    array = array if array.type == to else array.cast(to)
    return pc.utf8_trim_whitespace(array) if to == pa.string() else array


def _broken(source: Source, where: str, error: Exception) -> ConfigError:
    words = " ".join(str(error).split())[:200]
    if isinstance(error, MemoryError):  # also of a broken file, which asks for anything
        words += ", more memory than there is. If the file is good, have it written in smaller parts; else"
        return ConfigError(f"{source.path}: {where}: {words} copy it again from where it was made")
    return ConfigError(f"{source.path}: {where}: {words}. Copy it again from where it was made")
