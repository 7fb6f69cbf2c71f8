"""Dead letters read back from Kafka, and the bytes that a letter points to."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from headrace import kafka
from headrace.config import Config
from headrace.deadletters.making import NOTE
from headrace.kafka import partition


@dataclass(frozen=True, slots=True)
class ReadLetter:
    """A dead letter as it was read back. `headers`: the letter's own, and those of the original that it does not have.

    Anyone who may write to the topic may write anything: no header can be relied on.
    """

    key: bytes
    value: bytes
    headers: Mapping[str, bytes]
    partition: int
    offset: int
    time_ms: int  # since 1970 UTC: when Kafka had it

    def text(self, name: str) -> str:
        """A header as text; empty when it is absent."""
        return self.headers.get(name, b"").decode(errors="replace")

    @property
    def source(self) -> dict[str, Any]:
        """Where the bytes came from: see the sources in `headrace.deadletters.making`. Empty when it can't be read."""
        try:
            found = orjson.loads(self.headers.get("source") or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def content(it: ReadLetter, get: Callable[[str], bytes]) -> bytes:
    """The bytes of a letter: its own, or the object that it points to, from `get(key)`."""
    pointer = it.text("pointer")
    return get(pointer) if pointer else it.value


def read(cfg: Config) -> Iterator[ReadLetter]:
    """Every dead letter up to now, each once, by partition in the order in which they were written.

    TransientError when Kafka is away.
    """
    seen: set[bytes] = set()
    for found in records(cfg):
        if NOTE not in found.headers and found.key not in seen:
            seen.add(found.key)
            yield found


def records(cfg: Config) -> Iterator[ReadLetter]:
    """Every record of the dead letters' topic up to now: letters, some more than once, and notes about letters.

    TransientError when Kafka is away.
    """
    topic = cfg.dead_letters.topic
    info = kafka.describe(cfg.kafka, [topic]).get(topic)
    if info is None:
        return
    client = partition.reader(cfg.kafka)
    try:
        for number in range(info.partitions):
            for m in partition.read(client, topic, number):
                if m.key() is not None:  # a letter without a key is not one of ours
                    yield of_message(m)
    finally:
        client.close()


def of_message(m: kafka.Message) -> ReadLetter:
    """A message of the dead letters' topic. Of several headers of one name the first counts: the letter's own."""
    headers = {k: v or b"" for k, v in reversed(kafka.headers_of(m))}
    return ReadLetter(m.key() or b"", m.value() or b"", headers, m.partition() or 0, m.offset() or 0, m.timestamp()[1])
