"""The ledger: one object for each batch [start, end) of a partition, which accounts for every offset in it."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from headrace.errors import FatalError
from headrace.lake import layout
from headrace.protocol.tail import Tail
from headrace.protocol.wire import Position
from headrace.store.base import ObjectStore

VERSION = 1
_READERS = 8
Ranges = tuple[tuple[int, int], ...]  # of offsets, [first, one past the last), in order, with gaps between


class StoredFile(NamedTuple):
    """A data file. `size` in bytes, `sha256` in hexadecimal, of the whole object."""

    key: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of the offsets [start, end) of a partition: each is a row, a repeat, refused, skipped or lost."""

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int
    files: tuple[StoredFile, ...] = ()
    repeats: Ranges = ()  # rows whose source was stored before
    refused: Ranges = ()  # could not be decoded: dead letters
    skipped: Ranges = ()  # offsets without a record: control records, compaction
    lost: Ranges = ()  # no longer in the log when the batch had to be stored again
    last: Position | None = None  # source of the last row stored up to `end`
    tail: Tail | None = None  # the last record before `end`

    @property
    def rows(self) -> int:
        """How many rows the files hold together."""
        return sum(f.rows for f in self.files)

    @property
    def key(self) -> str:
        """The key of the entry's object in the store."""
        return layout.ledger_key(self.topic, self.topic_id, self.partition, self.start)

    def unaccounted(self) -> int:
        """How many offsets of [start, end) the entry does not account for: 0 when it is sound."""
        named = sum(map(count, (self.repeats, self.refused, self.skipped, self.lost)))
        return self.end - self.start - self.rows - named


def checksum(data: bytes) -> str:
    """The SHA-256 of an object, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def checksum_of(path: Path) -> str:
    """The SHA-256 of an object that is in a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def count(ranges: Ranges) -> int:
    """How many offsets the ranges hold."""
    return sum(b - a for a, b in ranges)


def ranges(offsets: Iterable[int]) -> Ranges:
    """Ascending offsets as ranges."""
    out: list[tuple[int, int]] = []
    for o in offsets:
        if out and out[-1][1] == o:
            out[-1] = (out[-1][0], o + 1)
        else:
            out.append((o, o + 1))
    return tuple(out)


def to_json(entry: Entry) -> bytes:
    """The entry as it is stored: the same bytes for the same entry."""
    data: dict[str, Any] = {
        "version": VERSION,
        "topic": entry.topic,
        "topic_id": entry.topic_id,
        "partition": entry.partition,
        "start": entry.start,
        "end": entry.end,
        "rows": entry.rows,
        "files": [f._asdict() for f in entry.files],
        "repeats": entry.repeats,
        "refused": entry.refused,
        "skipped": entry.skipped,
        "lost": entry.lost,
        "last": list(entry.last) if entry.last is not None else None,
        "tail": list(entry.tail) if entry.tail is not None else None,
    }
    return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(data: bytes, key: str = "") -> Entry:
    """An entry as it was stored; FatalError when the bytes are not one."""
    try:
        d = orjson.loads(data)
        if d["version"] != VERSION:
            raise FatalError(f"{key}: ledger version {d['version']}, this Headrace knows {VERSION}. Upgrade Headrace")
        return Entry(
            topic=d["topic"],
            topic_id=d["topic_id"],
            partition=d["partition"],
            start=d["start"],
            end=d["end"],
            files=tuple(StoredFile(**f) for f in d["files"]),
            repeats=_ranges(d["repeats"]),
            refused=_ranges(d["refused"]),
            skipped=_ranges(d["skipped"]),
            lost=_ranges(d["lost"]),
            last=Position(*d["last"]) if d["last"] is not None else None,
            tail=Tail(*d["tail"]) if d["tail"] is not None else None,
        )
    except (ValueError, KeyError, TypeError) as e:
        raise FatalError(f"{key}: not a ledger object: {e!r}") from e


def read(store: ObjectStore, prefix: str = f"{layout.LEDGER}/") -> Iterator[Entry]:
    """The entries under a prefix (see layout.ledger_prefix), in order of topic, incarnation, partition and start."""
    keys = sorted(info.key for info in store.list(prefix) if layout.parse_ledger_key(info.key) is not None)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ledger") as pool:
        yield from pool.map(lambda key: from_json(store.get(key), key), keys)


def _ranges(data: list[list[int]]) -> Ranges:
    return tuple((int(a), int(b)) for a, b in data)
