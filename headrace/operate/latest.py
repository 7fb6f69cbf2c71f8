"""The newest records of a topic, for a page that asks every second: each call reads only what has come since."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Protocol

from headrace import kafka
from headrace.operate.live import Part, Record, is_end

_FIRST = 8  # records of each partition, read first to learn how large they are
_BYTES = 1024 * 1024  # that are kept of each partition
_POLL_SECONDS = 0.02
_QUIET_SECONDS = 1.0  # when Kafka sends nothing for so long, answer with what is there


class Log(Protocol):
    """What is asked of a topic: `live.Reader` has it."""

    def look(self) -> list[Part]: ...  # noqa: D102
    def seek(self, starts: Mapping[int, int]) -> None: ...  # noqa: D102
    def poll(self, seconds: float) -> list[kafka.Message]: ...  # noqa: D102
    def record(self, m: kafka.Message) -> Record: ...  # noqa: D102


class Latest:
    """Keeps the newest records of each partition: `count` at most, and about a megabyte."""

    def __init__(self, log: Log, count: int) -> None:
        self._log, self._count = log, count
        self._kept: dict[int, deque[kafka.Message]] = {}
        self._next: dict[int, int] = {}  # offset to read on from, by partition

    def read(self) -> Iterator[Record]:
        """The newest records that are there now, the newest first, each decoded when it is taken.

        TransientError where Kafka or the registry is away, ConfigError where one refuses us.
        """
        if not self._next:
            self._catch_up(_FIRST)
            sizes = [_size(m) for kept in self._kept.values() for m in kept]
            self._count = max(1, min(self._count, _BYTES * len(sizes) // max(1, sum(sizes)))) if sizes else self._count
        self._catch_up(self._count)
        for kept in self._kept.values():
            while len(kept) > 1 and sum(map(_size, kept)) > _BYTES:
                kept.popleft()
        newest = sorted((m for kept in self._kept.values() for m in kept), key=lambda m: m.timestamp()[1])
        return map(self._log.record, reversed(newest))

    def _catch_up(self, count: int) -> None:
        """Read on to where each log ends now, but at most the last `count` records of each partition."""
        ends = {p.number: p for p in self._log.look()}
        starts = {n: max(p.low, p.high - count) for n, p in ends.items()}
        for n, kept in self._kept.items():  # go on where it stopped, if nothing would be missing between
            if kept.maxlen == count and starts[n] <= self._next[n] <= ends[n].high:
                starts[n] = self._next[n]
        if starts != self._next:
            same = {n for n, at in self._next.items() if starts[n] == at}
            self._kept = {n: self._kept[n] if n in same else deque(maxlen=count) for n in ends}
            self._next = starts
            self._log.seek(starts)
        behind = {n for n, p in ends.items() if self._next[n] < p.high}
        heard = time.monotonic()
        while behind and time.monotonic() - heard < _QUIET_SECONDS:
            for m in self._log.poll(_POLL_SECONDS):
                heard = time.monotonic()
                n, offset = m.partition() or 0, m.offset() or 0
                if not is_end(m):
                    self._kept[n].append(m)
                    offset += 1
                self._next[n] = max(self._next[n], offset)  # a log may end with something that is no record
                if self._next[n] >= ends[n].high:
                    behind.discard(n)


def _size(m: kafka.Message) -> int:
    return len(m.value() or b"")
