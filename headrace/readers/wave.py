"""WAV: each channel is a column, samples as they stand: integers of 8 to 32 bits, or floats. WAVE, RF64 and BW64.

`wave` of the standard library reads no floats, no RF64, and no file whose length its recorder did not write.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from io import BufferedReader
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import ConfigError
from headrace.readers import options as words
from headrace.readers.base import BATCH_ROWS, Batch, Column, LeftOut, Reader, Table
from headrace.readers.source import Source, broken

_FORMS = (b"RIFF", b"RF64", b"BW64")
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN = 0xFFFFFFFF
_NAMES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3"}
_TYPES: dict[tuple[int, int], str] = {
    (_PCM, 1): "u1", (_PCM, 2): "<i2", (_PCM, 3): "<i4", (_PCM, 4): "<i4", (_FLOAT, 4): "<f4", (_FLOAT, 8): "<f8",
}  # fmt: skip
_CELLS = 1_000_000  # of a batch
_START = 64 * 1024  # bytes of a chunk that are read; that of `bext` has its times at 320


def suits(head: bytes, name: str) -> bool:  # noqa: ARG001 - the first bytes tell
    """Whether it begins as WAV does."""
    return head[:4] in _FORMS and head[8:12] == b"WAVE"


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """Options: `length`, `header` (what it says; a shorter file is an error) or `file` (whatever is there)."""
    words.check(options, length=("header", "file"))
    return _Wave(source, options.get("length", "header"))


class _Header(NamedTuple):
    kind: int
    channels: int
    rate: int
    bits: int
    frame: int  # bytes of a row
    offset: int  # of the first
    length: int | None  # of the samples in bytes; None: up to the file's end
    start: datetime | None


class _Wave:
    """A reader of one file."""

    def __init__(self, source: Source, length: str) -> None:
        self._source, self.dialect = source, {"length": length}
        with source.stream() as it:
            try:
                self._header = head = _header(it, source)
            except (OSError, EOFError) as e:
                raise broken(source.path, e) from None
        self._dtype = _TYPES[head.kind, head.frame // head.channels]
        notes = []
        if head.length is None:
            notes.append("the header tells no length: samples up to the end of the file")
        if head.bits < (size := head.frame // head.channels * 8):
            notes.append(f"{head.bits} bits in {size}: the lowest bits of a sample are padding")
        told = None if head.length is None or length == "file" else head.length // head.frame
        self.tables = (Table("", (Column(""),) * head.channels, head.start, float(head.rate), told, tuple(notes)),)

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        head, names = self._header, [str(i) for i in range(len(self.tables[table].columns))]
        most = max(1, min(BATCH_ROWS, _CELLS // head.channels)) * head.frame
        left, number, rest = head.length, 0, b""
        with self._source.stream() as it:
            try:
                _skip(it, head.offset)
                while left is None or left > 0:
                    # read() of a broken gzip file would lose what comes before
                    data = cast("BufferedReader", it).read1(most if left is None else min(most, left))
                    if not data:
                        break
                    left = None if left is None else left - len(data)
                    data = rest + data
                    whole = len(data) // head.frame * head.frame
                    rows, rest = self._rows(data[:whole], names), data[whole:]
                    if len(rows):
                        numbers = pa.array(range(number, number + len(rows)), pa.int64())
                        yield Batch(numbers, rows, (), self._source.done)
                    number += len(rows)
            except (OSError, EOFError) as e:
                raise broken(self._source.path, e) from None
            yield from self._ending(number, rest, names)
        if left and self.dialect["length"] == "header":
            raise ConfigError(
                f"{self._source.path}: it ends after row {number - 1}, {left:,} bytes before its header says. Copy it "
                "again from where it was made. If its recorder lost its power, open it with `length: file`"
            )

    def _ending(self, number: int, rest: bytes, names: list[str]) -> Iterator[Batch]:
        """A batch without rows, where half a row stands at the end."""
        if rest:
            reason = LeftOut(number, f"sample {number}", "half a row at the end", rest.hex())
            yield Batch(pa.array([], pa.int64()), self._rows(b"", names), (reason,), self._source.done)

    def _rows(self, data: bytes, names: list[str]) -> pa.RecordBatch:
        channels, size = self._header.channels, self._header.frame // self._header.channels
        cells: NDArray[np.generic]
        if size == 3:
            three = np.frombuffer(data, np.uint8).reshape(-1, 3)
            four = np.zeros((len(three), 4), np.uint8)
            four[:, 1:] = three
            cells = four.view("<i4").reshape(-1) >> 8
        else:
            cells = np.frombuffer(data, self._dtype)
        columns = np.ascontiguousarray(cells.reshape(-1, channels).T)
        return pa.RecordBatch.from_arrays([pa.array(it) for it in columns], names=names)

    def close(self) -> None:
        """Nothing is open between two batches but what the source closes."""


def _header(it: BinaryIO, source: Source) -> _Header:
    """What stands before the samples."""
    first = it.read(12)
    if not suits(first, ""):
        raise ConfigError(f"{source.path}: no WAV: it does not begin with RIFF and WAVE")
    fmt, start, long, at = b"", None, None, len(first)
    while len(told := it.read(8)) == 8:
        name, size = told[:4], int.from_bytes(told[4:], "little")
        at += 8
        if name == b"data":
            end = int.from_bytes(first[4:8], "little") + 8
            unknown = size == _UNKNOWN or (not size and (end == 8 or end <= at))
            return _checked(fmt, at, long if unknown else size, start, source)
        body = it.read(min(size, _START))
        _skip(it, size + size % 2 - len(body))
        at += size + size % 2
        if name == b"fmt ":
            fmt = body
        elif name == b"ds64":
            long = int.from_bytes(body[8:16], "little")
        elif name == b"bext":
            start = body
    raise ConfigError(f"{source.path}: it has no samples: no chunk `data` up to its end. Copy it again")


def _checked(fmt: bytes, offset: int, length: int | None, bext: bytes | None, source: Source) -> _Header:
    if len(fmt) < 16:
        raise ConfigError(f"{source.path}: no chunk `fmt ` before its samples. Have its maker write it again")
    kind, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", fmt[:16])
    if kind == _EXTENSIBLE and len(fmt) >= 26:
        bits, kind = int.from_bytes(fmt[18:20], "little") or bits, int.from_bytes(fmt[24:26], "little")
    size = frame // max(1, channels)
    if not channels or not rate or frame != size * channels or (kind, size) not in _TYPES or bits > size * 8:
        form = f"{_NAMES.get(kind, f'form {kind}')}, {bits} bits, {channels} channels in {frame} bytes, {rate} Hz"
        raise ConfigError(
            f"{source.path}: samples of a kind that is not read ({form}). Make it plain: "
            f"`ffmpeg -i {source.name} -c:a pcm_s16le plain.wav`"
        )
    return _Header(kind, channels, rate, bits, frame, offset, length, _start(bext, rate) if bext else None)


def _start(bext: bytes, rate: int) -> datetime | None:
    """When the first sample was taken, by a Broadcast WAV (EBU Tech 3285)."""
    digits = [int(it) for it in re.findall(rb"[0-9]+", bext[320:330] + b" " + bext[330:338])]
    try:
        year, month, day, hour, minute, second = digits
        midnight = datetime(year, month, day)  # noqa: DTZ001 - it tells no zone
        start = midnight.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        return None
    exact = midnight + timedelta(seconds=min(int.from_bytes(bext[338:346], "little") / rate, 1e6))
    return exact if abs(exact - start) < timedelta(seconds=1) else start


def _skip(it: BinaryIO, size: int) -> None:
    while size > 0 and (data := it.read(min(size, _START))):
        size -= len(data)
