"""Readings as clean writes them, and the records of a log that hold them."""

import io
from collections.abc import Sequence
from typing import Any

import fastavro

from headrace.kafka import Message, headers_of
from headrace.protocol.wire import Headers, Position, Provenance, frame, pack_position, provenance, unpack_position
from processors.archive.chunk import Chunk, take
from tests.unit.toy_kafka import APPENDED_MS

TOPIC, ID = "imu.clean", "AAAAAAAAAAAAAAAAAAAAAA"
SCHEMA_ID = 7
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "imu",
    "fields": [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "ax", "type": "double"},
        {"name": "_quality", "type": ["null", "string"], "default": None},
    ],
}
DAY = 86_400_000_000
_PARSED = fastavro.parse_schema(SCHEMA)


def row(number: int, day: int = 0, schema_id: int = SCHEMA_ID) -> bytes:
    """A framed reading that says its number."""
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, _PARSED, {"device_id": "d", "event_time": day * DAY + number, "ax": float(number), "_quality": None}
    )
    return frame(schema_id, out.getvalue())


def record(at: int, value: bytes | None, headers: Headers | None = None, epoch: int = 1) -> Message:
    """A record of the log, as the Kafka client hands it out."""
    return Message(
        topic=TOPIC,
        partition=0,
        offset=at,
        value=value,
        headers=list(headers or []),
        timestamp=(2, APPENDED_MS + at),
        leader_epoch=epoch,
    )


def placed(src: Position, prev: Position) -> tuple[str, bytes]:
    """The header of a row that says no more than its position."""
    return Provenance(position=pack_position(src, prev)).header()


def position_of(m: Message) -> bytes | None:
    """The position of a record, if clean wrote it."""
    return provenance(headers_of(m)).position or None


def number_of(m: Message) -> int | None:
    """Which reading a record of clean's is."""
    data = position_of(m)
    return unpack_position(data)[0].offset if data else None


def chunk_of(messages: Sequence[Message]) -> Chunk:
    return take(list(messages))
