"""What travels in Kafka: the value's framing, the header that says where a reading came from, event ids and positions.

A reading has one header of ours, `provenance`. Its bytes, big-endian:

    u8        version: 1
    u8        flags: QOS (two bits; NOT_MQTT: not by MQTT), DUP, RETAIN, HAS_EVENT_ID, HAS_POSITION, NUMBERED
    i64       received-at, microseconds since 1970 UTC; negative: unknown
    16 bytes  event id; zeros without HAS_EVENT_ID
    32 bytes  with HAS_POSITION, in `.clean` and in derived streams: the row's position, see `pack_position`
    the rest  the MQTT topic, UTF-8; empty for none. A `.clean` row has no rest, so that all of them have one size

NUMBERED is reserved for rows that their source numbers, such as those of an upload: after the position, or where it
would be, comes the number (i64, ascending for each source and partition), and the rest is the source's name, UTF-8.
Nothing writes it yet, and of such a header is read what stands before the number.

A header of another version, or one that is too short for its flags, counts as none: the record has no event id, receive
time or position, as those of other programs. Of several headers of that name the first with a value counts.
"""

import os
import struct
from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import NamedTuple

from headrace.errors import PoisonError, Reason

PROVENANCE = "provenance"  # see above
VERSION = 1
QOS = NOT_MQTT = 3
DUP, RETAIN, HAS_EVENT_ID, HAS_POSITION, NUMBERED = 4, 8, 16, 32, 64

# What a dead letter says of it, for people: see `texts`.
EVENT_ID = "event-id"  # 16 bytes; equal only for copies of one reading
RECEIVED_AT = "received-at"  # microseconds since 1970 UTC, in ASCII: when the bridge received it
MQTT_TOPIC = "mqtt-topic"
MQTT_QOS = "mqtt-qos"
MQTT_DUP = "mqtt-dup"
MQTT_RETAIN = "mqtt-retain"
MQTT_PROPERTIES = "mqtt-properties"  # of a dead letter: the user properties that its route asks for, as JSON
MQTT_CONTENT_TYPE = "mqtt-content-type"  # of a dead letter: the message's
POSITION = "position"  # of a row of `.clean`: see pack_position

NOT_AVRO = "not Avro of the schema: the bytes end in the middle, or another program wrote them"  # words of a refusal

Headers = list[tuple[str, bytes]]

_FRAME = struct.Struct(">bI")
POSITION_FORMAT = ">iqiiqi"  # epoch, offset and item of the row's source, then those of the row before it
_POSITION = struct.Struct(POSITION_FORMAT)
FRAME_BYTES = _FRAME.size
FIXED_FORMAT = ">BBq16s"  # version, flags, received-at, event id
_FIXED = struct.Struct(FIXED_FORMAT)
FIXED_BYTES = _FIXED.size
POSITION_BYTES = _POSITION.size
EVENT_ID_BYTES = 16
_HEADER_BYTES = 10  # of a record's header, beside its name and value, at most
ROW_HEADER_BYTES = len(PROVENANCE) + FIXED_BYTES + POSITION_BYTES + _HEADER_BYTES  # of a row with a position, at most
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
    """A row's position: its source, and the source of the row emitted before it. 32 bytes, big-endian."""
    return _POSITION.pack(*src, *prev)


def unpack_position(data: bytes) -> tuple[Position, Position]:
    """(src, prev) of a position; PoisonError when it has another length."""
    if len(data) != _POSITION.size:
        raise PoisonError(Reason.MALFORMED, f"a position has {_POSITION.size} bytes, not {len(data)}")
    e, o, i, pe, po, pi = _POSITION.unpack(data)
    return Position(e, o, i), Position(pe, po, pi)


class Provenance(NamedTuple):
    """Where a reading came from, and when: what its header says."""

    event_id: bytes | None = None
    received_at: int = -1  # microseconds since 1970 UTC; negative: unknown
    mqtt_topic: bytes = b""
    mqtt: int = NOT_MQTT  # QOS, DUP and RETAIN, as in the flags
    position: bytes = b""  # as `pack_position` writes it; empty for none

    def header(self) -> tuple[str, bytes]:
        """The header."""
        known = HAS_EVENT_ID if self.event_id is not None else 0
        flags = self.mqtt | known | (HAS_POSITION if self.position else 0)
        fixed = _FIXED.pack(VERSION, flags, self.received_at, self.event_id or b"")
        return PROVENANCE, fixed + self.position + self.mqtt_topic

    def texts(self) -> Headers:
        """The same in headers that people can read, as dead letters have them."""
        out: Headers = []
        if self.event_id is not None:
            out.append((EVENT_ID, self.event_id))
        if self.received_at >= 0:
            out.append((RECEIVED_AT, b"%d" % self.received_at))
        if self.mqtt_topic:
            out.append((MQTT_TOPIC, self.mqtt_topic))
        if self.mqtt & QOS != NOT_MQTT:
            bits = (self.mqtt & QOS, bool(self.mqtt & DUP), bool(self.mqtt & RETAIN))
            out += [(name, b"%d" % it) for name, it in zip((MQTT_QOS, MQTT_DUP, MQTT_RETAIN), bits, strict=True)]
        if self.position:
            out.append((POSITION, self.position))
        return out


UNKNOWN = Provenance()
# How the header of a reading with an event id begins, by QOS, DUP and RETAIN: `stamp`, event id and MQTT topic follow.
BEGINS = tuple(bytes((VERSION, flags | HAS_EVENT_ID)) for flags in range(RETAIN * 2))


def stamp(received_at: int) -> bytes:
    """The receive time, microseconds since 1970 UTC, as it stands in the header."""
    return received_at.to_bytes(8)


def unpack(data: bytes) -> Provenance:
    """What a `provenance` header says; UNKNOWN where it is none."""
    if len(data) < FIXED_BYTES:
        return UNKNOWN
    version, flags, received_at, event_id = _FIXED.unpack_from(data)
    end = FIXED_BYTES + (POSITION_BYTES if flags & HAS_POSITION else 0)
    if version != VERSION or len(data) < end:
        return UNKNOWN
    return Provenance(
        event_id if flags & HAS_EVENT_ID else None,
        received_at,
        b"" if flags & NUMBERED else data[end:],
        flags & (QOS | DUP | RETAIN),
        data[FIXED_BYTES:end],
    )


def packed(headers: Headers | None) -> bytes:
    """The `provenance` header of a record, whatever its bytes are; empty where there is none."""
    return next((value for name, value in headers or () if name == PROVENANCE and value is not None), b"")


def provenance(headers: Headers | None) -> Provenance:
    """What the headers of a record say; UNKNOWN where they do not."""
    return unpack(packed(headers))


def others(headers: Headers) -> Headers:
    """The headers of a record without the `provenance` that was read. One that says nothing stays."""
    own = packed(headers)
    return headers if unpack(own) == UNKNOWN else [it for it in headers if it != (PROVENANCE, own)]


def texts(headers: Headers) -> Headers:
    """The headers of a record for people: what the packed one says, and the others."""
    return [*unpack(packed(headers)).texts(), *others(headers)]


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
