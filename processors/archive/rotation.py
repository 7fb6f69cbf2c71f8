"""When a partition's buffer is stored, and where a batch ends: pure decisions."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from headrace.config.model import Archive
from processors.archive.buffer import I64

# Event times may alternate between far ends (a device with a dead clock): no batch smaller than this is cut for them.
LEAST_SPLIT = 1_000
_HOUR_US = 3_600_000_000


class Cause(StrEnum):
    """Why a batch was stored. Labels a metric."""

    BYTES = "bytes"
    RECORDS = "records"
    SPAN = "event_time"
    AGE = "age"
    IDLE = "idle"
    MEMORY = "memory"
    SHUTDOWN = "shutdown"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a partition's buffer is. Times are on one monotonic clock, in seconds."""

    records: int
    size: int  # bytes
    first_at: float
    last_at: float
    gap: int = 0  # offsets at the log's end that hold no record, where nothing else is buffered


def due(fill: Fill, limits: Archive, now: float) -> Cause | None:
    """Why the buffer is to be stored now, or None."""
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
    """The partition whose buffer is largest, or None when all are empty."""
    best = max(sizes, key=lambda k: (sizes[k], k), default=None)
    return best if best is not None and sizes[best] > 0 else None


def cuts(event_times: I64, max_records: int, max_span_hours: float) -> list[int]:
    """Where a batch of rows with these event times (microseconds, Kafka's order) is cut: the ends, the last included.

    No part holds more than `max_records` rows, nor, past LEAST_SPLIT rows, more than the span of event time.
    """
    out: list[int] = []
    n, start, span = len(event_times), 0, int(max_span_hours * _HOUR_US)
    while start < n:
        part = event_times[start : start + max_records]
        wide = np.maximum.accumulate(part) - np.minimum.accumulate(part) > span
        end = len(part)
        if wide.any():
            end = min(end, max(int(np.argmax(wide)), LEAST_SPLIT))
        start += end
        out.append(start)
    return out
