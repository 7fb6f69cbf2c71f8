"""What activity monitors write: Axivity's cwa, GENEActiv's bin. By actfast.

Each kind of sensor in the file is a table. A file is read whole, so its size is limited.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers.base import BATCH_ROWS, SHOWN, Batch, Column, Reader, Table
from headrace.readers.options import check
from headrace.readers.packages import package
from headrace.readers.source import Source

MAX_SIZE = 512 * 1024**2  # bytes of a file; in memory it takes several times as much
_UNITS = {"acceleration": "g", "gyroscope": "deg/s", "temperature": "degC"}
_TIME = "datetime"
_PAGE = 300  # samples of a page of GENEActiv
_SECTOR = 512  # bytes of Axivity's


def suits(head: bytes, name: str) -> bool:  # noqa: ARG001 - the first bytes tell
    """Whether it begins as one of these does."""
    return head.startswith((b"MD\xfc\x03", b"Device Identity"))


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """No options."""
    check(options)
    return _Activity(source)


class _Activity:
    """A file in memory."""

    def __init__(self, source: Source) -> None:
        actfast: Any = package("actfast", str(source.path))
        self._source, self.dialect = source, dict[str, str]()
        path = source.whole()
        if (size := path.stat().st_size) > MAX_SIZE:
            words = f"{size:,} bytes, where {MAX_SIZE:,} are read. It is read whole: split the recording"
            raise ConfigError(f"{source.path}: {words}")
        try:
            found = actfast.read(str(path))
        except (ValueError, OSError) as e:
            words = " ".join(str(e).split())[:SHOWN]
            raise ConfigError(f"{source.path}: broken, or not of a kind that is read: {words}. Copy it again") from None
        self._columns: list[list[tuple[Column, np.ndarray[Any, Any]]]] = []
        tables = []
        for name, series in sorted(found["timeseries"].items()):
            rows = len(series[_TIME])
            columns = [it for key in sorted(series, key=lambda it: (it != _TIME, it)) for it in _flat(key, series[key])]
            if rows and all(len(values) == rows for _, values in columns):
                self._columns.append(columns)
                notes = (f"{found['format']}; times are those of the device, without a zone",)
                tables.append(Table(name, tuple(column for column, _ in columns), rows=rows, notes=notes))
        if not tables:
            raise ConfigError(f"{source.path}: it has no samples")
        self.tables = tuple(tables)
        self._cut = _cut(found, size)

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        columns, rows = self._columns[table], len(self._columns[table][0][1])
        for at in range(0, rows, BATCH_ROWS):
            end = min(rows, at + BATCH_ROWS)
            arrays = [_array(column, values[at:end]) for column, values in columns]
            batch = pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(arrays))])
            yield Batch(pa.array(range(at, end), pa.int64()), batch, (), self._source.size * end // rows)

        if self._cut:
            raise ConfigError(f"{self._source.path}: after row {rows - 1}: {self._cut}. Copy it again")

    def close(self) -> None:
        """Give the memory back."""
        self._columns = []


def _cut(found: Any, size: int) -> str:
    """How a file ends early, which the package does not say."""
    if found["format"] == "Axivity CWA" and size % _SECTOR:
        return "half a sector at the end"
    told = found["metadata"].get("Memory Status", {}).get("Number of Pages", "")
    if not told.isdigit() or "low_frequency" not in found["timeseries"]:
        return ""
    pages = len(found["timeseries"]["low_frequency"][_TIME])
    if pages < int(told):
        return f"it has {pages:,} pages, where its header says {int(told):,}"
    samples = len(found["timeseries"]["high_frequency"][_TIME])
    return f"{samples:,} samples in {pages:,} pages of {_PAGE}: a page was cut off" if samples < pages * _PAGE else ""


def _flat(key: str, values: Any) -> Iterator[tuple[Column, Any]]:
    unit = _UNITS.get(key, "")
    if values.ndim == 1:
        yield Column(key, unit), values
    else:
        names = "xyz" if values.shape[1] == 3 else map(str, range(values.shape[1]))
        for i, axis in enumerate(names):
            yield Column(f"{key}.{axis}", unit), values[:, i]


def _array(column: Column, values: Any) -> pa.Array:
    if column.name == _TIME:
        return pa.array(values.astype("datetime64[ns]"))
    return pa.array(np.ascontiguousarray(values))
