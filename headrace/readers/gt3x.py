"""ActiGraph's gt3x: a zip file with `info.txt`, and `log.bin` of records, each of one second. It streams.

Samples are divided by the scale that info.txt tells. Times are those of the device, without a zone: seconds in which it
slept are not there.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import ConfigError
from headrace.readers.base import BATCH_ROWS, Batch, Column, LeftOut, Reader, Table
from headrace.readers.options import check
from headrace.readers.source import Source

_LOG, _INFO = "log.bin", "info.txt"
_SEPARATOR, _HEADER = 0x1E, struct.Struct("<BBIH")
_PACKED, _BATTERY, _LIGHT, _PLAIN = 0x00, 0x02, 0x05, 0x1A  # types of records
_SCALES = {"NEO": 341.0, "CLE": 341.0, "MOS": 256.0, "TAS": 256.0}  # by serial number, where info.txt tells none
_TIME = Column("time")
_TABLES: dict[str, tuple[tuple[int, ...], tuple[Column, ...]]] = {
    "acceleration": ((_PACKED, _PLAIN), (_TIME, Column("x", "g"), Column("y", "g"), Column("z", "g"))),
    "light": ((_LIGHT,), (_TIME, Column("light", "lux"))),
    "battery": ((_BATTERY,), (_TIME, Column("voltage", "mV"))),
}
_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


def suits(head: bytes, name: str) -> bool:
    """Whether it is such a zip file; its name counts, for the members may lie anywhere in it."""
    return head.startswith(b"PK\3\4") and (name.lower().endswith(".gt3x") or _LOG.encode() in head[:200])


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """No options."""
    check(options)
    return _Gt3x(source)


class _Record(NamedTuple):
    at: int  # in log.bin
    kind: int
    time: int  # seconds since 1970
    payload: bytes
    good: bool  # by its checksum


class _Gt3x:
    """An open file."""

    def __init__(self, source: Source) -> None:
        self._source, self.dialect = source, dict[str, str]()
        try:
            self._zip = zipfile.ZipFile(source.whole())
            if "activity.bin" in self._zip.namelist() and _LOG not in self._zip.namelist():
                words = "the form of GT3X+ with firmware up to 2.5, which is not read. Export it as CSV with ActiLife"
                raise ConfigError(f"{source.path}: {words}")
            info = self._zip.read(_INFO).decode(errors="replace")
            self._size = max(1, self._zip.getinfo(_LOG).file_size)
        except KeyError as e:
            raise ConfigError(f"{source.path}: no file of ActiGraph: {e.args[0]}") from None
        except _ERRORS as e:
            raise self._broken(str(e)) from None
        told = dict(it.split(": ", 1) for it in info.splitlines() if ": " in it)
        try:
            self._rate = float(told["Sample Rate"])
            serial = told.get("Serial Number", "")
            self._scale = float(told.get("Acceleration Scale") or _SCALES[serial[:3]])
            if not (0 < self._rate <= 10_000 and self._scale > 0):
                raise ValueError
        except (KeyError, ValueError):
            raise self._broken("info.txt tells no rate and scale that can be") from None
        found: set[int] = set()
        try:
            for record in self._records():
                found.add(record.kind)
        except ConfigError:
            if not found:
                raise
            # else it comes again, after the rows before it
        notes = (f"{told.get('Device Type', 'ActiGraph')} {serial}", "times are those of the device, without a zone")
        self._names = [name for name, (kinds, _) in _TABLES.items() if found & set(kinds)]
        if not self._names:
            raise ConfigError(f"{source.path}: it has no samples")
        self.tables = tuple(Table(name, _TABLES[name][1], notes=notes) for name in self._names)

    def _records(self) -> Iterator[_Record]:
        at = 0
        try:
            member = self._zip.open(_LOG)
        except _ERRORS as e:
            raise self._broken(str(e)) from None
        with member as raw:
            log = io.BufferedReader(cast("io.RawIOBase", raw), 1024 * 1024)
            while True:
                try:
                    head = log.read(_HEADER.size)
                    if not head.rstrip(b"\0"):
                        return
                    if len(head) < _HEADER.size or head[0] != _SEPARATOR:
                        raise self._broken(f"byte {at} of log.bin: no record begins there")
                    _, kind, time, size = _HEADER.unpack(head)
                    payload = log.read(size + 1)
                except _ERRORS as e:
                    raise self._broken(f"byte {at} of log.bin: {e}") from None
                if len(payload) <= size:
                    raise self._broken(f"byte {at} of log.bin: it ends within a record")
                sums = np.frombuffer(head + payload, np.uint8)
                yield _Record(at, kind, time, payload[:-1], int(np.bitwise_xor.reduce(sums)) == 0xFF)
                at += _HEADER.size + size + 1

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        kinds, columns = _TABLES[self._names[table]]
        parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        numbers: list[range] = []
        left_out: list[LeftOut] = []
        number = done = 0
        try:
            for record in self._records():
                if record.kind not in kinds:
                    continue
                done = self._source.size * record.at // self._size
                if not record.good:
                    text = record.payload[:20].hex()
                    left_out.append(LeftOut(number, f"byte {record.at} of log.bin", "a wrong checksum", text))
                    number += 1
                    continue
                values = _values(record)
                if record.kind in {_PACKED, _PLAIN}:
                    values = values / self._scale
                    step = np.arange(len(values)) * (1e6 / self._rate)
                else:
                    step = np.zeros(len(values))
                parts.append((record.time * 1_000_000 + np.rint(step).astype(np.int64), values))
                numbers.append(range(number, number + len(values)))
                number += len(values)
                if sum(map(len, numbers)) >= BATCH_ROWS // 2:
                    yield from _batches(parts, numbers, left_out, columns, done)
                    parts, numbers, left_out = [], [], []
        except ConfigError:
            yield from _batches(parts, numbers, left_out, columns, done)
            raise
        yield from _batches(parts, numbers, left_out, columns, self._source.size)

    def _broken(self, words: str) -> ConfigError:
        return ConfigError(f"{self._source.path}: broken: {words}. Copy it again from where it was made")

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _values(record: _Record) -> NDArray[np.float64]:
    """The samples of a record, a row each."""
    if record.kind == _PLAIN:
        return np.frombuffer(record.payload[: len(record.payload) // 6 * 6], "<i2").reshape(-1, 3).astype(np.float64)
    if record.kind in {_LIGHT, _BATTERY}:
        return np.frombuffer(record.payload[:2], "<u2").reshape(-1, 1).astype(np.float64)
    count = len(record.payload) * 8 // 36
    three = np.frombuffer(record.payload + bytes(-len(record.payload) % 3), np.uint8).reshape(-1, 3).astype(np.int32)
    both = np.empty((len(three), 2), np.int32)
    both[:, 0] = three[:, 0] << 4 | three[:, 1] >> 4
    both[:, 1] = (three[:, 1] & 15) << 8 | three[:, 2]
    yxz = ((both.reshape(-1)[: count * 3] ^ 0x800) - 0x800).reshape(-1, 3)
    return yxz[:, (1, 0, 2)].astype(np.float64)


def _batches(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]],
    numbers: list[range],
    left_out: list[LeftOut],
    columns: tuple[Column, ...],
    done: int,
) -> Iterator[Batch]:
    if not parts and not left_out:
        return
    times = np.concatenate([np.zeros(0, np.int64), *(it for it, _ in parts)])
    values = np.concatenate([np.zeros((0, len(columns) - 1)), *(it for _, it in parts)])
    arrays = [pa.array(times.astype("datetime64[us]")), *(pa.array(np.ascontiguousarray(it)) for it in values.T)]
    rows = pa.RecordBatch.from_arrays(arrays, [str(i) for i in range(len(columns))])
    yield Batch(pa.array([n for it in numbers for n in it], pa.int64()), rows, tuple(left_out), done)
