"""One upload while it is loaded: its file, fetched and read, its rows as readings with numbers, in order."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headrace.contracts import columnar
from headrace.contracts.avro import read_record
from headrace.contracts.model import Contract
from headrace.errors import PoisonError, Reason
from headrace.protocol.names import DEVICE
from headrace.protocol.wire import ROW_HEADER_BYTES, frame, record_bytes
from headrace.readers.apart import Apart
from headrace.readers.source import Source
from headrace.uploads.mapping import Mapped, Refused, RowMapping
from headrace.uploads.order import Order
from headrace.uploads.profile import Profile
from processors.arrays import Ints

_PREFIX = "headrace-upload-"


class Piece(NamedTuple):
    """Rows of an upload that follow one another, some of them refused."""

    numbers: Ints
    keys: list[bytes]
    values: list[bytes]
    refused: list[Refused]
    next_row: int  # the first row after them


class Loading:
    """Reads an upload from `first` on. The file lies at `path`, which is removed at the end."""

    def __init__(
        self, apart: Apart, order: Order, profile: Profile, contract: Contract, path: Path, first: int
    ) -> None:
        """ConfigError: the file can't be read so."""
        self.order, self._first = order, first
        self.next_row = first
        self._path, self._node = path, read_record(contract.schema)
        self._source = Source(Path(order.file), at=path)
        with ExitStack() as opened:
            opened.push(self._source)
            self._reader = apart.open_file(self._source, profile.dialect, profile.format)
            opened.callback(self._reader.close)
            table = self._reader.tables[order.file_table]
            self._mapping = RowMapping(profile, contract, table, order.file, self._reader.dialect)
            self._batches = self._reader.batches(order.file_table)
            self._opened = opened.pop_all()

    def pieces(self, limit: int) -> Iterator[Piece]:
        """The rows. `limit`: bytes of the largest record. ConfigError where the file can't be read on."""
        for batch in self._batches:
            mapped = self._mapping.rows(batch)
            last = [int(batch.numbers[-1].as_py())] if len(batch.numbers) else []
            end = max([*last, *(it.number for it in batch.left_out[-1:])], default=-1) + 1
            if end > self._first:
                yield self._piece(_since(mapped, self._first), end, limit)

    def _piece(self, it: Mapped, end: int, limit: int) -> Piece:
        data = columnar.encode(self._node, it.columns, len(it.numbers), frame(self.order.schema_id, b""))
        starts = np.concatenate([[0], data.ends[:-1]]).tolist() if len(data) else []
        values = [data.data[a:b] for a, b in zip(starts, data.ends.tolist(), strict=True)]
        devices = it.columns[DEVICE]
        keys = [device.encode() for device in devices.to_pylist()] if len(data) else []
        numbers, refused = it.numbers, list(it.refused)
        if max(map(len, values), default=0) > limit // 2:
            large = {i for i, v in enumerate(values) if record_bytes(keys[i], v, []) + ROW_HEADER_BYTES > limit}
            refused += [Refused(int(numbers[i]), _too_large(len(values[i]), limit), values[i]) for i in sorted(large)]
            kept = [i for i in range(len(values)) if i not in large]
            keys, values, numbers = [keys[i] for i in kept], [values[i] for i in kept], numbers[kept]
        return Piece(numbers, keys, values, sorted(refused, key=lambda r: r.number), end)

    def close(self) -> None:
        """End reading, and remove the file."""
        self._batches.close()  # type: ignore[attr-defined]  # it is a generator
        self._opened.close()
        self._path.unlink(missing_ok=True)


def _since(it: Mapped, first: int) -> Mapped:
    """The rows from number `first` on."""
    if not len(it.numbers) or int(it.numbers[0]) >= first:
        return it._replace(refused=tuple(r for r in it.refused if r.number >= first))
    start = int(np.searchsorted(it.numbers, first))
    columns = {name: column[start:] for name, column in it.columns.items()}
    return Mapped(it.numbers[start:], columns, tuple(r for r in it.refused if r.number >= first))


def _too_large(size: int, limit: int) -> PoisonError:
    return PoisonError(
        Reason.TOO_LARGE, f"the reading has {size:,} bytes, its topic takes {limit:,} (max_message_bytes)"
    )


def place() -> Path:
    """A new temporary file."""
    with tempfile.NamedTemporaryFile(prefix=f"{_PREFIX}{os.getpid()}-", delete=False) as file:
        return Path(file.name)


def sweep() -> None:
    """Remove the temporary files of processes that were killed. Call it before this one has any."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and (int(pid) == os.getpid() or not _lives(int(pid))):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
