"""How the archive reads: a group member's messages, as chunks of about one size in bytes."""

from typing import Any

from headrace import kafka
from headrace.config.connect import Kafka
from processors.archive.chunk import Chunk, take
from processors.group import member
from processors.group.member import Member
from processors.group.token import Partition

_SETTINGS: dict[str, Any] = {
    # What librdkafka fetches ahead, of all partitions together: it takes half a kilobyte more for each message.
    "queued.max.messages.kbytes": 4 * 1024,
    "queued.min.messages": 8_000,
    "fetch.max.bytes": 4 * 1024 * 1024,
    "max.partition.fetch.bytes": 1024 * 1024,  # a batch of Kafka's is never cut
    "fetch.min.bytes": 1024 * 1024,  # or what there is after the wait: the broker pays for each answer
    "fetch.wait.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 10_000,  # for topics that are yet to be made
}
_POLL_BYTES = 512 * 1024  # of messages in one poll, about: each takes kilobytes until its chunk is made
_LEAST_POLL = 10


def consumer(cfg: Kafka, group: str) -> kafka.Consumer:
    """The client to read with. Errors as kafka.consumer raises them."""
    return member.consumer(cfg, group, **_SETTINGS)


class Reader:
    """Reads what a member has been given, `most` messages at a time at most."""

    def __init__(self, it: Member, most: int) -> None:
        self._member, self._most = it, most
        self._count = min(500, most)

    def read(self, seconds: float) -> dict[Partition, Chunk]:
        """The next messages by partition. Waits `seconds` at most."""
        chunks = {partition: take(found) for partition, found in self._member.read(self._count, seconds).items()}
        self._adapt(sum(c.size for c in chunks.values()), sum(map(len, chunks.values())))
        return chunks

    def _adapt(self, size: int, count: int) -> None:
        """Ask next time for as many messages as make a good chunk: thousands of small ones, a few large ones."""
        if count:
            self._count = max(_LEAST_POLL, min(self._most, _POLL_BYTES * count // size, 4 * self._count))
