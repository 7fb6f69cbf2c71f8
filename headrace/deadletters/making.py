"""Dead letters are made here, whichever stage refuses the bytes: kept whole, with the reason and where they came from.

A letter's key is a hash of its source. The same failure met again after a restart has the same key, and every reader
drops a key that it has seen. A letter that is too large for its topic goes to the object store, and a letter without
bytes points to it.
"""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple, Protocol

import orjson

from headrace.config import Config
from headrace.errors import PoisonError
from headrace.protocol.names import stream_of
from headrace.protocol.sizes import letter_bytes
from headrace.protocol.wire import Headers, record_bytes

NOTE = "note"  # header of a note about a letter: see `headrace.deadletters.journal`
_PREFIX = "_dead_letters"
_OURS = {NOTE, "pointer", "size"}  # never taken from an original: they would hide the letter, or its bytes
_MAX_TOPIC = 4096  # characters of an MQTT topic in a letter: its headers must fit the topic
_MAX_DETAIL = 1000  # characters
_MAX_DEVICE = 200  # characters: of a topic's level that is no device id


class Stage(StrEnum):
    """Who refused the bytes."""

    BRIDGE = "bridge"  # a payload, or one element of it
    CLEAN = "clean"  # a framed reading of `.raw`
    DERIVE = "derive"  # a framed reading of `.clean`, of which no row of a derived stream could be made
    ARCHIVE = "archive"  # a framed reading of `.clean`


class Letter(NamedTuple):
    """A dead letter as it goes to Kafka."""

    key: bytes
    value: bytes
    headers: Headers


class Source(Protocol):
    """Where refused bytes came from."""

    def where(self) -> dict[str, str | int]:
        """What the letter says about it, for people and for `headrace verify`."""

    def identity(self, stream: str) -> bytes:
        """What the key is made from beside `where`; empty when `where` alone is unique."""


class MqttSource(NamedTuple):
    """An element of an MQTT payload. `payload_id` differs for different payloads of one topic.

    The same bytes on the same topic have the same key for a stream: a message that comes twice is one letter.
    """

    topic: str
    element: int  # its index in the payload
    payload_id: bytes

    def where(self) -> dict[str, str | int]:
        """The topic, shortened, and the index of the element."""
        return {"mqtt_topic": self.topic[:_MAX_TOPIC], "index": self.element}

    def identity(self, stream: str) -> bytes:
        """The stream and the payload's id: a payload may be refused by several streams."""
        return stream.encode() + b"\0" + self.payload_id


class KafkaSource(NamedTuple):
    """A Kafka record, or one of the rows of a file that it orders."""

    topic: str
    topic_id: str
    partition: int
    epoch: int  # the leader epoch
    offset: int
    row: int = 0  # of the file; a record that holds a reading has one

    def where(self) -> dict[str, str | int]:
        """The record's position, and the row as `index`."""
        place = self._asdict()
        return {"index": place.pop("row"), **place}

    def identity(self, stream: str) -> bytes:
        """The stream, if it is made of the one that has the record: several may be, and each may refuse it."""
        return b"" if stream == stream_of(self.topic) else stream.encode()


def letter(
    error: PoisonError,
    value: bytes | None,
    *,
    stage: Stage,
    stream: str,
    source: Source,
    device: str = "",
    original: Iterable[tuple[str, bytes | None]] = (),
) -> Letter:
    """The letter for the bytes `value` of a stream, which a stage refused with `error`.

    `device`: who sent them, where that is known. `original`: the headers that came with the bytes. They follow the
    letter's own.
    """
    where = orjson.dumps(source.where(), option=orjson.OPT_SORT_KEYS)
    key = blake2b(where + b"\0" + source.identity(stream), digest_size=16).digest()
    headers: Headers = [
        ("reason", error.reason.encode()),
        ("detail", str(error)[:_MAX_DETAIL].encode(errors="replace")),
        ("field", error.field.encode(errors="replace")),
        ("rule", error.rule.encode(errors="replace")),
        ("value", error.value.encode(errors="replace")),
        ("stage", stage.encode()),
        ("stream", stream.encode()),
        ("device", device[:_MAX_DEVICE].encode(errors="replace")),
        ("source", where),
        ("failed-at", b"%d" % (time.time_ns() // 1000)),
    ]
    return Letter(key, value or b"", headers + [(name, data or b"") for name, data in original if name not in _OURS])


def max_letter_bytes(cfg: Config) -> int:
    """max.message.bytes of the dead letters' topic."""
    return letter_bytes(cfg.max_message_bytes)


def fits(cfg: Config, it: Letter) -> bool:
    """Whether the dead letters' topic takes the letter whole."""
    return record_bytes(it.key, it.value, it.headers) <= max_letter_bytes(cfg)


def shelve(cfg: Config, it: Letter, put: Callable[[str, bytes], object]) -> Letter:
    """`it` when it fits the topic; else a letter that points to the object which `put(key, data)` has stored."""
    if fits(cfg, it):
        return it
    where = f"{_PREFIX}/{it.key.hex()}"
    put(where, it.value)
    return Letter(it.key, b"", [*it.headers, ("pointer", where.encode()), ("size", b"%d" % len(it.value))])
