"""Dead letters: bytes that could not become a reading, kept whole with the reason and the place they came from.

A letter's key is a hash of its source, so the same failure met again after a restart has the same key, and every
reader drops what it has seen. A letter too large for the topic lies in the object store, and points to it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from headrace import kafka, partition
from headrace.config import Config
from headrace.errors import PoisonError
from headrace.wire import Headers

PREFIX = "_dead_letters"
HEADER_ROOM = 16 * 1024  # of a letter's headers and key, beside its value
NOTE = "note"  # header of what is no letter but a note about one: see `headrace.replays`
_OURS = {NOTE, "pointer", "size"}  # headers that an original can't bring: they would hide the letter, or its bytes


class Letter(NamedTuple):
    """A dead letter as it goes to Kafka."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class ReadLetter:
    """A dead letter as it was read back. `headers` are those of the original beside the letter's own."""

    key: bytes
    value: bytes
    headers: Mapping[str, bytes]
    partition: int
    offset: int
    time_ms: int

    def text(self, name: str) -> str:
        """A header as text; empty where it is absent."""
        return self.headers.get(name, b"").decode(errors="replace")

    @property
    def source(self) -> dict[str, Any]:
        """Where the bytes came from: a Kafka position, or an MQTT topic and the element of its payload."""
        try:
            found = orjson.loads(self.headers.get("source") or b"{}")
        except ValueError:  # anybody who may write to the topic may write anything
            return {}
        return found if isinstance(found, dict) else {}


def max_letter_bytes(cfg: Config) -> int:
    """max.message.bytes of the dead letters' topic: all that `.clean` takes, and the letter's headers."""
    return cfg.max_message_bytes + 2 * 64 * 1024


def letter(
    error: PoisonError,
    value: bytes,
    *,
    stage: str,
    stream: str,
    source: Mapping[str, str | int],
    identity: bytes = b"",
    original: Headers | None = None,
) -> Letter:
    """The letter for `value`, refused with `error` by `stage` (bridge, clean, archive).

    `source` says where it came from; its hash, with `identity` (the MQTT payload, for the bridge), is the key.
    """
    place = orjson.dumps(source, option=orjson.OPT_SORT_KEYS)
    key = blake2b(place + b"\0" + identity, digest_size=16).digest()
    headers: Headers = [
        ("reason", error.reason.encode()),
        ("detail", str(error)[:1000].encode(errors="replace")),
        ("field", error.field.encode(errors="replace")),
        ("value", error.value.encode(errors="replace")),
        ("stage", stage.encode()),
        ("stream", stream.encode()),
        ("source", place),
        ("failed-at", str(time.time_ns() // 1000).encode()),
    ]
    return Letter(key, value, headers + [it for it in original or () if it[0] not in _OURS])


def fits(cfg: Config, it: Letter) -> bool:
    """Whether the dead letters' topic takes the letter whole."""
    return len(it.value) + sum(len(k) + len(v) + 8 for k, v in it.headers) < max_letter_bytes(cfg) - HEADER_ROOM


def shelve(cfg: Config, it: Letter, put: Callable[[str, bytes], None]) -> Letter:
    """`it`, or where it is too large for the topic, a pointer to the object that `put(key, data)` has stored."""
    if fits(cfg, it):
        return it
    where = f"{PREFIX}/{it.key.hex()}"
    put(where, it.value)
    return Letter(it.key, b"", [*it.headers, ("pointer", where.encode()), ("size", str(len(it.value)).encode())])


def content(it: ReadLetter, get: Callable[[str], bytes]) -> bytes:
    """The bytes of a letter: its own, or what `get(key)` finds of the object that it points to."""
    pointer = it.text("pointer")
    return get(pointer) if pointer else it.value


def read(cfg: Config) -> Iterator[ReadLetter]:
    """Every dead letter up to now, each once, by partition in the order they were written.

    TransientError where Kafka is away.
    """
    seen: set[bytes] = set()
    for found in records(cfg):
        if NOTE not in found.headers and found.key not in seen:
            seen.add(found.key)
            yield found


def records(cfg: Config) -> Iterator[ReadLetter]:
    """Whatever the dead letters' topic holds up to now: letters, also a second time, and notes about them."""
    topic = cfg.dead_letters.topic
    info = kafka.describe(cfg.kafka, [topic]).get(topic)
    if info is None:
        return
    client = partition.reader(cfg.kafka)
    try:
        for number in range(info.partitions):
            for m in partition.read(client, topic, number):
                if m.key() is not None:  # a letter without a key isn't one of ours
                    yield _letter(m)
    finally:
        client.close()


def _letter(m: kafka.Message) -> ReadLetter:
    headers = {str(k): _bytes(v) for k, v in reversed(m.headers() or [])}
    return ReadLetter(
        _bytes(m.key()), _bytes(m.value()), headers, m.partition() or 0, m.offset() or 0, m.timestamp()[1]
    )


def _bytes(x: str | bytes | None) -> bytes:
    return x.encode() if isinstance(x, str) else x or b""
