"""What one partition has read and not yet stored, and when it is due to be stored."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.config.model import Archive
from processors.archive.chunk import Chunk, join

_SMALL = 512  # messages: in chunks with fewer, what a chunk takes by itself counts
_MANY = 32


class Cause(StrEnum):
    """Why a batch was stored. Labels a metric."""

    BYTES = "bytes"
    RECORDS = "records"
    AGE = "age"
    IDLE = "idle"
    MEMORY = "memory"
    SHUTDOWN = "shutdown"
    REDO = "redo"


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a buffer is. Times are on one monotonic clock, in seconds."""

    records: int
    size: int  # bytes
    first_at: float  # when the first of the messages came
    last_at: float  # when the last was
    gap: int = 0  # offsets without a record at the log's end, where no message is buffered


EMPTY = Fill(0, 0, 0.0, 0.0)


class Buffer:
    """The messages of the offsets [start, next) of a partition, in chunks, in Kafka's order."""

    def __init__(self, start: int, next_offset: int) -> None:
        """`start`: where the next batch begins. `next_offset`: of the next message to read; above `start` where the log
        has lost the records between.
        """
        self.start, self.next = start, next_offset
        self.size = self.records = 0  # size: bytes in memory, about
        self._chunks: list[Chunk] = []
        self._small = 0  # of the last chunks, how many are
        self._first_at = self._last_at = 0.0

    @property
    def gap(self) -> int:
        """How many offsets without a record there are at the log's end; 0 where messages are buffered."""
        return 0 if self._chunks else self.next - self.start

    def fill(self) -> Fill:
        """How full it is."""
        return Fill(self.records, self.size, self._first_at, self._last_at, self.gap)

    def add(self, chunk: Chunk, now: float, waited: float = 0.0) -> None:
        """Keep a chunk of at least one message, read at the time `now`, and in Kafka so many seconds before."""
        if not self._chunks:
            self._first_at = now - waited
        self._last_at = now
        self._chunks.append(chunk)
        self.records += len(chunk)
        self.size += chunk.size
        self.next = int(chunk.offsets[-1]) + 1
        self._small = self._small + 1 if len(chunk) < _SMALL else 0
        if self._small == _MANY:
            self._gather()

    def _gather(self) -> None:
        """Make one chunk of the last ones, which are small: each takes memory beside its messages."""
        last = self._chunks[-_MANY:]
        self.size -= sum(c.size for c in last)
        one = join(last)
        self._chunks[-_MANY:] = [one]
        self.size += one.size
        self._small = 1 if len(one) < _SMALL else 0

    def pass_over(self, end: int, now: float) -> None:
        """Note that no records come before offset `end`, which is above `next`."""
        if not self._chunks:
            self._first_at, self._last_at = now if self.gap == 0 else self._first_at, now
        self.next = end

    def take(self, end: int) -> list[Chunk]:
        """Remove and return the messages before offset `end`, which is at most `next`: the buffer starts there then."""
        mine: list[Chunk] = []
        later: list[Chunk] = []
        for chunk in self._chunks:
            row = int(chunk.offsets.searchsorted(end))
            mine += [chunk.cut(0, row)] if row else []
            later += [chunk.cut(row, len(chunk))] if row < len(chunk) else []
        self.start, self._chunks, self._small = end, later, 0
        self.records = sum(map(len, later))
        self.size = sum(c.size for c in later)
        return mine


def due(fill: Fill, limits: Archive, now: float) -> Cause | None:
    """Why the buffer must be stored at the time `now`; None when it need not be."""
    if fill.records == 0 and fill.gap == 0:
        return None
    if fill.size >= limits.max_bytes:
        return Cause.BYTES
    if fill.records >= limits.max_records:
        return Cause.RECORDS
    if now - fill.first_at >= limits.max_age_seconds:
        return Cause.AGE
    if now - fill.last_at >= limits.idle_seconds:
        return Cause.IDLE
    return None


def largest(sizes: dict[tuple[str, int], int]) -> tuple[str, int] | None:
    """The partition with the largest buffer; None when all are empty."""
    best = max(sizes, key=lambda k: (sizes[k], k), default=None)
    return best if best is not None and sizes[best] > 0 else None


def enough(sizes: dict[tuple[str, int], int], wanted: float) -> list[tuple[str, int]]:
    """The partitions with the largest buffers, one at least unless all are empty: so many that they hold `wanted`."""
    out = []
    for partition in sorted(filter(sizes.get, sizes), key=lambda k: (sizes[k], k), reverse=True):
        out.append(partition)
        wanted -= sizes[partition]
        if wanted <= 0:
            break
    return out
