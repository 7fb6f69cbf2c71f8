"""EDF and BDF, with EDF+ and BDF+: signals of one rate are a table, in the units that the header tells.

Annotations are not read. A recording with gaps (EDF+D) gets a column with the seconds since its start.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from io import BufferedReader
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import ConfigError
from headrace.readers.base import BATCH_ROWS, Batch, Column, LeftOut, Reader, Table
from headrace.readers.options import check
from headrace.readers.source import Source, broken

_EDF, _BDF = b"0       ", b"\xffBIOSEMI"
_HEADER = 256
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # of what is told of a signal
_MAX_RECORD = 64 * 1024 * 1024
_MAX_SIGNALS = 5_000
_ONSET = re.compile(rb"^([+-]\d+(?:\.\d*)?)(?:\x15[\d.]*)?\x14\x14")
_CELLS = 1_000_000  # of a batch


def suits(head: bytes, name: str) -> bool:  # noqa: ARG001 - the first bytes tell
    """Whether it begins as EDF or BDF does."""
    edf = head.startswith(_EDF) and head[168:184].replace(b".", b"").isdigit() and head[184:192].strip().isdigit()
    return edf or head.startswith(_BDF)


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """Options: `values`, `physical` or `digital` (as they stand); `length`, `header` or `file` (whatever is there)."""
    check(options, values=("physical", "digital"), length=("header", "file"))
    return _Edf(source, options.get("values", "physical"), options.get("length", "header"))


class _Signal(NamedTuple):
    label: str
    unit: str
    gain: float
    offset: float  # a value is gain * (sample + offset)
    at: int  # samples before it in a record
    samples: int  # in a record

    @property
    def annotations(self) -> bool:
        return self.label in {"EDF Annotations", "BDF Annotations"}


class _Edf:
    """A reader of one file."""

    def __init__(self, source: Source, values: str, length: str) -> None:
        self._source, self._digital = source, values == "digital"
        self.dialect = {"values": values, "length": length}
        with source.stream() as it:
            try:
                self._head(it)
                first = it.read(self._record)
            except (OSError, EOFError) as e:
                raise broken(source.path, e) from None
        onset = self._onset(first) if len(first) == self._record else 0.0
        groups: dict[int, list[_Signal]] = {}
        for signal in self._signals:
            if not signal.annotations:
                groups.setdefault(signal.samples, []).append(signal)
        if not groups or 0 in groups or not self._seconds > 0:
            raise ConfigError(f"{source.path}: it has no signals with samples, only annotations at most")
        self._groups = list(groups.values())
        self._tables = tuple(self._table(group, onset) for group in self._groups)

    @property
    def tables(self) -> tuple[Table, ...]:
        """One for each rate."""
        return self._tables

    def _table(self, group: list[_Signal], onset: float) -> Table:
        rate = group[0].samples / self._seconds
        columns = [Column(it.label, "" if self._digital else it.unit) for it in group]
        notes = ["annotations are passed over"] if any(it.annotations for it in self._signals) else []
        if self._gaps:
            columns.insert(0, Column("time", "s"))
            notes.append("with gaps (EDF+D): the first column is made of the times of its records")
        if self._records is None:
            notes.append("the header tells no length: records up to the end of the file")
        rows = None if self._records is None or self.dialect["length"] == "file" else self._records * group[0].samples
        start = self._start and self._start + timedelta(seconds=0 if self._gaps else onset)
        name = f"{rate:g} Hz" if len(self._groups) > 1 else ""
        return Table(name, tuple(columns), start, None if self._gaps else rate, rows, tuple(notes))

    def _head(self, it: BinaryIO) -> None:
        fixed = it.read(_HEADER)
        self._width = 3 if fixed.startswith(_BDF) else 2
        count = self._number(fixed[252:256], "number of signals")
        if not 0 < count <= _MAX_SIGNALS:
            raise ConfigError(f"{self._source.path}: {count:g} signals, where 1 to {_MAX_SIGNALS:,} are read")
        signals = int(count)
        told = it.read(_HEADER * signals)
        fields, at = [], 0
        for width in _WIDTHS:
            fields.append([told[at + i * width : at + (i + 1) * width] for i in range(signals)])
            at += width * signals
        self._signals, samples = [], 0
        for i in range(signals):
            signal = self._signal([field[i] for field in fields], samples, i)
            samples += signal.samples
            self._signals.append(signal)
        self._record = samples * self._width
        if not 0 < self._record <= _MAX_RECORD:
            raise ConfigError(f"{self._source.path}: records of {self._record:,} bytes, where at most 64 MiB are read")
        records = self._number(fixed[236:244], "number of records")
        self._records = int(records) if records >= 0 else None
        self._seconds = self._number(fixed[244:252], "duration of a record")
        self._gaps = fixed[192:197] in {b"EDF+D", b"BDF+D"}
        self._start = _start(fixed)

    def _signal(self, told: list[bytes], at: int, number: int) -> _Signal:
        label, _, unit, *limits, _, count, _ = (it.decode("latin-1").strip("\0 ") for it in told)
        samples = int(self._number(count.encode("latin-1"), f"samples of signal {number}"))
        if samples < 0:
            raise ConfigError(f"{self._source.path}: its header has a negative number of samples of signal {number}")
        if label.endswith(" Annotations"):
            return _Signal(label, unit, 1.0, 0.0, at, samples)
        low, high, least, most = (self._number(it.encode("latin-1"), f"limits of {label}") for it in limits)
        if most == least or high == low:
            if not self._digital:
                words = f"the limits of {label} tell no scale. Read it with `values: digital`"
                raise ConfigError(f"{self._source.path}: {words}")
            return _Signal(label, unit, 1.0, 0.0, at, samples)
        gain = (high - low) / (most - least)
        return _Signal(label, unit, gain, high / gain - most, at, samples)

    def _number(self, told: bytes, what: str) -> float:
        try:
            value = float(told.strip(b"\0 "))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            words = f"{what}: {told.decode('latin-1').strip()!r} is no number. Copy it again from where it was made"
            raise ConfigError(f"{self._source.path}: its header is broken: {words}")
        return value

    def _onset(self, record: bytes) -> float:
        """Seconds since the recording's start, by the record's first annotation; 0 without."""
        for it in self._signals:
            if it.annotations:
                found = _ONSET.match(record[it.at * self._width : (it.at + it.samples) * self._width])
                return float(found[1]) if found else 0.0
        return 0.0

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        group, columns = self._groups[table], len(self.tables[table].columns)
        count, rest, number, records = group[0].samples, b"", 0, self._records
        most = max(1, min(BATCH_ROWS, _CELLS // columns))
        with self._source.stream() as it:
            try:
                it.read(_HEADER * (1 + len(self._signals)))
                while records is None or records > 0:
                    several = max(1, min(most // count, 16 * 1024 * 1024 // self._record))
                    want = self._record * (several if records is None else min(several, records)) - len(rest)
                    data = cast("BufferedReader", it).read1(
                        want
                    )  # read() of a broken gzip file loses what comes before
                    if not data:
                        break
                    data = rest + data
                    whole = len(data) // self._record
                    rest = data[whole * self._record :]
                    rows = self._rows(data[: whole * self._record], group)
                    for at in range(0, len(rows), most):
                        some = rows.slice(at, most)
                        numbers = pa.array(range(number, number + len(some)), pa.int64())
                        number += len(some)
                        yield Batch(numbers, some, (), self._source.done)
                    records = None if records is None else records - whole
            except (OSError, EOFError) as e:
                raise broken(self._source.path, e) from None
            if rest:
                cut = LeftOut(number, f"record {number // count}", "half a record at the end", rest[:20].hex())
                yield Batch(pa.array([], pa.int64()), self._rows(b"", group), (cut,), self._source.done)
        if records and self.dialect["length"] == "header":
            raise ConfigError(
                f"{self._source.path}: it ends after row {number - 1}, {records:,} records before its header says. "
                "Copy it again from where it was made. If its recorder lost its power, open it with `length: file`"
            )

    def _rows(self, data: bytes, group: list[_Signal]) -> pa.RecordBatch:
        samples = self._record // self._width
        cells: NDArray[np.signedinteger]
        if self._width == 3:
            four = np.zeros((len(data) // 3, 4), np.uint8)
            four[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            cells = four.view("<i4").reshape(-1, samples) >> 8
        else:
            cells = np.frombuffer(data, "<i2").reshape(-1, samples)
        arrays = []
        if self._gaps:
            onsets = [self._onset(data[at : at + self._record]) for at in range(0, len(data), self._record)]
            within = np.arange(group[0].samples) * (self._seconds / group[0].samples)
            arrays.append(pa.array((np.array(onsets, np.float64).reshape(-1, 1) + within).reshape(-1)))
        for it in group:
            part = cells[:, it.at : it.at + it.samples].reshape(-1)
            arrays.append(pa.array(part if self._digital else it.gain * (part + it.offset)))
        return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])

    def close(self) -> None:
        """Nothing is open between two batches but what the source closes."""


def _start(fixed: bytes) -> datetime | None:
    """Years from 85 on are of the century before, as the standard has it."""
    try:
        day, month, year = map(int, fixed[168:176].split(b"."))
        hour, minute, second = map(int, fixed[176:184].split(b"."))
        return datetime(year + (1900 if year >= 85 else 2000), month, day, hour, minute, second)  # noqa: DTZ001
    except ValueError:
        return None
