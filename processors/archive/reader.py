"""How the archive reads: a group member's messages, as chunks of about one size in bytes."""

from typing import Any

from headrace import kafka
from headrace.config.connect import Kafka
from processors.archive.chunk import Chunk, take
from processors.group import member
from processors.group.member import Member
from processors.group.token import Partition

# What librdkafka fetches ahead, all partitions together: it counts bytes of messages, and takes half a kilobyte more
# for each. One partition gets a part, and never more than the most nor less than the least.
_AHEAD_KBYTES, _MOST_KBYTES, _LEAST_KBYTES = 12 * 1024, 4 * 1024, 64
_AHEAD_COUNT, _MOST_COUNT, _LEAST_COUNT = 24_000, 8_000, 100
_POLL_BYTES = 512 * 1024  # of messages in one poll, about: each takes kilobytes until its chunk is made
_LEAST_POLL = 10


def consumer(cfg: Kafka, group: str, partitions: int) -> kafka.Consumer:
    """The client to read so many partitions with, or some of them. Errors as kafka.consumer raises them."""
    kbytes = max(_LEAST_KBYTES, min(_MOST_KBYTES, _AHEAD_KBYTES // partitions))
    settings: dict[str, Any] = {
        "queued.max.messages.kbytes": kbytes,  # of each partition
        "queued.min.messages": max(_LEAST_COUNT, min(_MOST_COUNT, _AHEAD_COUNT // partitions)),
        "max.partition.fetch.bytes": min(1024, kbytes) * 1024,  # a batch of Kafka's is never cut
        "fetch.max.bytes": 4 * 1024 * 1024,
        "topic.metadata.refresh.interval.ms": 10_000,  # for topics that are yet to be made
    }
    return member.consumer(cfg, group, **settings)


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
