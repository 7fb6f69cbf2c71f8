"""Event ids of derived rows: the same each time a row is made."""

from hashlib import blake2b

from headrace.kafka import Message, epoch_of
from headrace.protocol.wire import EVENT_ID_BYTES
from processors.group.partition import event_id


def derived_id(m: Message, stream: str, item: int) -> bytes:
    """The event id of row `item` that a derived stream's function makes of a reading."""
    return _id(stream, item, _source(m))


def derived_ids(m: Message, stream: str, count: int) -> list[bytes]:
    """The event ids of the first `count` rows of a derived stream that are made of a reading."""
    source = _source(m)
    return [_id(stream, item, source) for item in range(count)]


def _id(stream: str, item: int, source: bytes) -> bytes:
    return blake2b(b"%b\0%d\0%b" % (stream.encode(), item, source), digest_size=EVENT_ID_BYTES).digest()


def _source(m: Message) -> bytes:
    """What tells the reading from any other one. What came without an id is known by its position."""
    return event_id(m) or b"%b/%d/%d/%d" % (
        (m.topic() or "").encode(), m.partition() or 0, epoch_of(m), m.offset() or 0
    )  # fmt: skip
