"""What the notes of clean and of the archive share: how a record is recognised, and how long a note may be.

Both keep their note in Kafka's own metadata of a committed offset.
"""

import zlib
from typing import NamedTuple

MAX_NOTE_BYTES = 511  # Kafka's default limit is 4,096; the limit of other brokers is not known, so stay far below


class Tail(NamedTuple):
    """The last record before an offset: its own offset, its leader epoch, and a CRC-32 of its content.

    A log that was truncated and written again has another record there.
    """

    offset: int
    epoch: int
    crc: int


def fingerprint(value: bytes | None, time_us: int) -> int:
    """The CRC-32 of a record's value and Kafka timestamp (microseconds since 1970 UTC), by which it is recognised."""
    return zlib.crc32(time_us.to_bytes(8, "big", signed=True), zlib.crc32(value or b""))
