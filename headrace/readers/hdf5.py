"""HDF5, and MAT files of MATLAB 7.3: data sets of one length in a group are a table.

A data set of two dimensions gives a column for each of its own columns, `acc.0`; one of records, for each field. What
lies in other files is never read: links to them may lead anywhere on this machine.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers.base import BATCH_ROWS, SHOWN, Batch, Column, Reader, Table
from headrace.readers.options import check
from headrace.readers.packages import package
from headrace.readers.source import Source

_MAGIC = b"\x89HDF\r\n\x1a\n"
_MATLAB = b"MATLAB 7.3 MAT-file"
_WIDE = 1024  # columns of a data set: where the first dimension has fewer, the second is the one of rows
_MAX_TABLES = 1_000
_CACHE = 32 * 1024 * 1024  # bytes of unpacked chunks, for each data set
_CELLS = 500_000  # of a batch


def suits(head: bytes, name: str) -> bool:  # noqa: ARG001 - the first bytes tell
    """Whether it begins as HDF5 does, behind a block of the program that wrote it where there is one."""
    return any(head[at : at + 8] == _MAGIC for at in (0, 512, 1024, 2048, 4096, 8192, 16384, 32768))


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """No options."""
    check(options)
    return _Hdf5(source)


class _Part(NamedTuple):
    """A column, and where it comes from."""

    column: Column
    path: str  # of the data set
    of: int | str | None  # its column, or its field
    turned: bool  # its rows lie along the second dimension
    type: pa.DataType


class _Hdf5:
    """An open file."""

    def __init__(self, source: Source) -> None:
        h5py: Any = package("h5py", str(source.path))
        self._h5py = h5py
        self._source, self.dialect = source, dict[str, str]()
        matlab = source.head().startswith(_MATLAB)
        found: dict[str, list[Any]] = {}
        self._passed: list[str] = []

        def visit(name: str, it: Any) -> None:
            if not isinstance(it, h5py.Dataset) or name.startswith("#"):  # "#refs#" of MATLAB
                return
            reason = _passed(h5py, it)
            if reason:
                self._passed.append(f"{name} ({reason})")
            else:
                found.setdefault(name.rpartition("/")[0], []).append(it)

        try:
            self._file = h5py.File(source.whole(), "r", rdcc_nbytes=_CACHE)
            self._file.visititems(visit)
            self._parts = self._tables(found, matlab=matlab)
        except (OSError, RuntimeError, ValueError, KeyError) as e:
            raise self._broken("", e) from None
        if not self._parts:
            passed = f": {', '.join(self._passed[:5])}" if self._passed else ""
            raise ConfigError(f"{source.path}: it has no data set that is a column{passed}")
        if len(self._parts) > _MAX_TABLES:
            raise ConfigError(f"{source.path}: {len(self._parts):,} tables, where {_MAX_TABLES:,} are read")
        notes = tuple(f"passed over: {it}" for it in sorted(self._passed))
        self.tables = tuple(
            Table(name, tuple(it.column for it in parts), rows=rows, notes=notes)
            for (name, rows), parts in self._parts.items()
        )

    def _tables(self, found: dict[str, list[Any]], *, matlab: bool) -> dict[tuple[str, int], list[_Part]]:
        tables: dict[tuple[str, int], list[_Part]] = {}
        for group, sets in sorted(found.items()):
            lengths = {it.shape[0] for it in sets if it.ndim == 1}
            by_length: dict[int, list[_Part]] = {}
            for it in sorted(sets, key=lambda one: str(one.name)):
                turned = it.ndim == 2 and _turned(it.shape, lengths, matlab=matlab)
                by_length.setdefault(it.shape[int(turned)], []).extend(_columns(self._h5py, it, turned=turned))
            for length, parts in by_length.items():
                name = group if len(by_length) == 1 else f"{group}[{length}]"
                tables[name, length] = parts
        return tables

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        (_, rows), parts = list(self._parts.items())[table]
        most = max(1, min(BATCH_ROWS, _CELLS // len(parts)))
        for at in range(0, rows, most):
            end = min(rows, at + most)
            cut: dict[str, Any] = {}
            try:
                arrays = [self._array(it, slice(at, end), cut) for it in parts]
            except (OSError, RuntimeError, ValueError, pa.ArrowException) as e:
                raise self._broken(f"after row {at - 1}: " if at else "", e) from None
            batch = pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])
            yield Batch(pa.array(range(at, end), pa.int64()), batch, (), self._source.size * end // rows)

    def _array(self, it: _Part, rows: slice, cut: dict[str, Any]) -> pa.Array:
        if it.path not in cut:
            data = self._file[it.path]
            cut[it.path] = data[:, rows].T if it.turned else data[rows]
        values = cut[it.path]
        if isinstance(it.of, int):
            values = values[:, it.of]
        elif it.of is not None:
            values = values[it.of]
        if it.type == pa.string():
            texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
            return pa.array([text.strip("\0").strip() for text in texts], it.type)
        values = np.ascontiguousarray(values)
        return pa.array(values.astype(values.dtype.newbyteorder("="))).cast(it.type)

    def _broken(self, where: str, error: Exception) -> ConfigError:
        words = " ".join(str(error).split())[:SHOWN]
        return ConfigError(f"{self._source.path}: {where}{words}. Copy it again from where it was made")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _passed(h5py: Any, it: Any) -> str:
    """Why a data set is no column of a table; "" if it is."""
    if it.external or it.is_virtual:
        return "it lies in other files"
    if it.ndim not in {1, 2} or it.shape is None:
        return "one value" if it.ndim == 0 else f"{it.ndim} dimensions"
    if not it.size:
        return "empty"
    if it.attrs.get("MATLAB_class") == b"char":
        return "text"
    kinds = [it.dtype[name] for name in it.dtype.names] if it.dtype.names else [it.dtype]
    if it.ndim == 2 and (it.dtype.names or min(it.shape) > _WIDE):
        return f"{it.shape[0]:,} by {it.shape[1]:,}"
    return "" if all(_type(h5py, kind) is not None for kind in kinds) else f"the type {it.dtype}"


def _turned(shape: tuple[int, int], lengths: set[int], *, matlab: bool) -> bool:
    """Whether rows lie along the second dimension, as MATLAB writes them, or as channels one after the other."""
    if matlab or shape[1] > _WIDE:
        return True
    return shape[0] not in lengths and shape[1] in lengths


def _columns(h5py: Any, it: Any, *, turned: bool) -> Iterator[_Part]:
    name = it.name.rpartition("/")[2]
    told = it.attrs.get("units", it.attrs.get("unit", ""))
    unit = told.decode(errors="replace") if isinstance(told, bytes) else told if isinstance(told, str) else ""
    if it.dtype.names:
        for field in it.dtype.names:
            yield _Part(Column(f"{name}.{field}"), it.name, field, turned, _type(h5py, it.dtype[field]))
    elif it.ndim == 1:
        yield _Part(Column(name, unit), it.name, None, turned, _type(h5py, it.dtype))
    else:
        width = it.shape[int(not turned)]
        for i in range(width):
            yield _Part(Column(f"{name}.{i}" if width > 1 else name, unit), it.name, i, turned, _type(h5py, it.dtype))


def _type(h5py: Any, it: Any) -> pa.DataType | None:
    if h5py.check_string_dtype(it) is not None:
        return pa.string()
    if it.kind == "f":
        return {2: pa.float32(), 4: pa.float32(), 8: pa.float64()}.get(it.itemsize)
    return pa.from_numpy_dtype(it.newbyteorder("=")) if it.kind in "iub" and not it.subdtype else None
