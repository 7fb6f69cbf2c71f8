"""What travels in Kafka: the value's framing, header names, event ids and source positions."""

import os
import struct
from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import NamedTuple

from headrace.errors import PoisonError, Reason

EVENT_ID = "event-id"  # 16 bytes; equal only for copies of one reading
RECEIVED_AT = "received-at"  # microseconds since 1970 UTC, in ASCII: when the bridge received it
MQTT_TOPIC = "mqtt-topic"
MQTT_QOS = "mqtt-qos"
MQTT_DUP = "mqtt-dup"
MQTT_RETAIN = "mqtt-retain"
MQTT_PROPERTIES = "mqtt-properties"  # of a dead letter: the user properties that its route asks for, as JSON
MQTT_CONTENT_TYPE = "mqtt-content-type"  # of a dead letter: the message's
POSITION = "position"  # of `.clean` only: see pack_position

NOT_AVRO = "not Avro of the schema: the bytes end in the middle, or another program wrote them"  # words of a refusal

Headers = list[tuple[str, bytes]]

_FRAME = struct.Struct(">bI")
POSITION_FORMAT = ">iqiiqi"  # epoch, offset and item of the row's source, then those of the row before it
_POSITION = struct.Struct(POSITION_FORMAT)
FRAME_BYTES = _FRAME.size
POSITION_BYTES = _POSITION.size
EVENT_ID_BYTES = 16
_HEADER_BYTES = 10  # of a record's header, beside its name and value, at most
POSITION_RECORD_BYTES = POSITION_BYTES + len(POSITION) + _HEADER_BYTES  # of a record's position, at most
MAX_PROPERTY = 1024  # characters of a user property that fills a field
# A record's own length fields, and a batch of one record around it (Kafka's protocol, message format v2).
_RECORD_BYTES = 128

_INDEX = [b"\0%d" % i for i in range(1_000)]


def frame(schema_id: int, datum: bytes) -> bytes:
    """An Avro datum in Confluent's wire format: a zero byte, the schema id in 4 bytes, the datum."""
    return _FRAME.pack(0, schema_id) + datum


def schema_id(value: bytes | None) -> int:
    """The schema id of a framed value; PoisonError when it is not framed."""
    if value is None or len(value) < FRAME_BYTES or value[0] != 0:
        what = "has no value" if value is None else "does not start with a zero byte and a schema id"
        raise PoisonError(Reason.MALFORMED, f"the message {what}: the bridge did not write it")
    return int.from_bytes(value[1:FRAME_BYTES])


def event_ids(mqtt_topic: bytes, payload: bytes, count: int, asked: bytes = b"") -> list[bytes]:
    """The ids of the first `count` readings of a payload. The same bytes on the same topic have the same ids.

    `asked`: what else the readings are made of, the user properties that routes ask for.
    """
    it = mqtt_topic + b"\0" + payload
    if asked:  # the key: no payload can look like it
        whole = blake2b(it, digest_size=EVENT_ID_BYTES, key=blake2b(asked, digest_size=EVENT_ID_BYTES).digest())
    else:
        whole = blake2b(it, digest_size=EVENT_ID_BYTES)
    out = [whole.digest()]
    for index in range(1, count):
        h = whole.copy()
        h.update(_INDEX[index] if index < len(_INDEX) else b"\0%d" % index)
        out.append(h.digest())
    return out


def properties(asked: Collection[str], given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The user properties of a message that are `asked` for: of equal names the first, and none that is too long."""
    found: dict[str, str] = {}
    for name, value in given:
        if name in asked and len(value) <= MAX_PROPERTY:
            found.setdefault(name, value)
    return found


def unique_event_id() -> bytes:
    """A random id, for a reading whose payload does not tell it from another one: it equals no other id."""
    return os.urandom(EVENT_ID_BYTES)


class Position(NamedTuple):
    """Where a clean row came from: orders rows of one partition, also across a log's truncation."""

    epoch: int
    offset: int
    item: int  # which reading of the message at `offset`


ORIGIN = Position(-1, -1, -1)  # the `prev` of a partition's first row


def pack_position(src: Position, prev: Position) -> bytes:
    """The `position` header: a row's source, and the source of the row emitted before it. 32 bytes, big-endian."""
    return _POSITION.pack(*src, *prev)


def unpack_position(header: bytes) -> tuple[Position, Position]:
    """(src, prev) of a `position` header; PoisonError when it has another length."""
    if len(header) != _POSITION.size:
        raise PoisonError(Reason.MALFORMED, f"a position header has {_POSITION.size} bytes, not {len(header)}")
    e, o, i, pe, po, pi = _POSITION.unpack(header)
    return Position(e, o, i), Position(pe, po, pi)


def record_bytes(key: bytes | None, value: bytes, headers: Headers) -> int:
    """The most bytes that a Kafka record can have, as its topic's max.message.bytes counts them."""
    return (
        _RECORD_BYTES + len(key or b"") + len(value) + sum(len(k) + len(v or b"") + _HEADER_BYTES for k, v in headers)
    )


def header(headers: Headers | None, name: str) -> bytes | None:
    """The first header of that name, or None."""
    for key, value in headers or ():
        if key == name:
            return value
    return None
