"""The archive's consumer: which partitions are ours, and their messages in chunks."""

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from headrace import kafka
from headrace.config import Config
from headrace.errors import TransientError
from headrace.intent import Note
from processors.archive.buffer import Chunk, take
from processors.archive.commit import Committer, Token

log = logging.getLogger(__name__)
Key = tuple[str, int]

_POLL_BYTES = 16 * 1024 * 1024  # of messages in one poll, about
_LEAST_POLL = 10
# What is no news: the topic isn't there yet, or Kafka is away, which the health checks tell.
_QUIET = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})


class Reader:
    """A group member, from `with` to its end. Used on one thread."""

    def __init__(
        self,
        config: Config,
        topics: Sequence[str],
        taken: Callable[[list[Key]], None],
        left: Callable[[list[Key], bool], list[Key]],
    ) -> None:
        """`taken(keys)` when they become ours; `left(keys, lost)` when they go: answers with the assigned ones."""
        self._most = config.archive.batch
        self._count = min(500, self._most)
        self._taken, self._left, self._topics = taken, left, list(topics)
        self.client = kafka.consumer(
            config.kafka,
            config.archive.group,
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=10_000,  # how long partitions wait after a crash
            heartbeat_interval_ms=2_000,
            enable_partition_eof=True,
            queued_max_messages_kbytes=8 * 1024,  # of each partition
            fetch_max_bytes=32 * 1024 * 1024,
            topic_metadata_refresh_interval_ms=10_000,  # for topics that are yet to be made
        )
        self._committer = Committer(self.client)

    def __enter__(self) -> Self:
        self.client.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.client.close()

    def read(self, seconds: float) -> tuple[dict[Key, Chunk], dict[Key, int]]:
        """(messages by partition, ends of logs that were reached). Waits `seconds` at most."""
        by: dict[Key, list[kafka.Message]] = {}
        ends: dict[Key, int] = {}
        messages = self.client.consume(self._count, timeout=seconds)
        for m in messages:
            if m.error() is not None:
                self._problem(m, ends)
                continue
            key = (m.topic() or "", m.partition() or 0)
            if key in by:
                by[key].append(m)
            else:
                by[key] = [m]
        chunks = {key: take(found) for key, found in by.items()}
        self._adapt(sum(c.size for c in chunks.values()), sum(map(len, chunks.values())))
        return chunks, ends

    def assign(self, topic: str, partition: int, offset: int) -> None:
        """Begin to read a partition that is ours."""
        here = kafka.TopicPartition(topic, partition, offset)
        self.client.incremental_assign([here])
        self.client.resume([here])  # a pause outlives the loss of the partition: it came back and was never read

    def pause(self, topic: str, partition: int) -> None:
        """Read no more of a partition for now."""
        self.client.pause([kafka.TopicPartition(topic, partition)])

    def resume(self, topic: str, partition: int) -> None:
        """Read on."""
        self.client.resume([kafka.TopicPartition(topic, partition)])

    def commit(self, token: Token, topic: str, partition: int, offset: int, note: Note) -> None:
        """See commit.Committer."""
        self._committer.commit(token, topic, partition, offset, note)

    def end(self, topic: str, partition: int) -> int:
        """One past the last record of a partition, as the last fetch told; -1 before the first."""
        try:
            return int(self.client.get_watermark_offsets(kafka.TopicPartition(topic, partition), cached=True)[1])
        except kafka.KafkaException:
            return -1

    def _adapt(self, size: int, count: int) -> None:
        """Ask for as many messages as make a good chunk: thousands of small ones, a few large ones."""
        if count:
            self._count = max(_LEAST_POLL, min(self._most, _POLL_BYTES * count // size, 4 * self._count))

    def _problem(self, m: kafka.Message, ends: dict[Key, int]) -> None:
        error = m.error()
        assert error is not None
        if error.name() == "_PARTITION_EOF":
            ends[m.topic() or "", m.partition() or 0] = m.offset() or 0
            return
        found = kafka.translate(error, f"reading {m.topic() or ''}")
        if not isinstance(found, TransientError):
            raise found
        if error.name() not in _QUIET:
            log.warning("Kafka", extra={"error": str(found)})

    def _on_assign(self, client: kafka.Consumer, partitions: list[kafka.TopicPartition]) -> None:
        client.incremental_assign([])  # each is assigned once it is known where to begin
        self._taken([(p.topic, p.partition) for p in partitions])

    def _on_revoke(self, client: kafka.Consumer, partitions: list[kafka.TopicPartition]) -> None:
        self._unassign(client, self._left([(p.topic, p.partition) for p in partitions], False))

    def _on_lost(self, client: kafka.Consumer, partitions: list[kafka.TopicPartition]) -> None:
        self._unassign(client, self._left([(p.topic, p.partition) for p in partitions], True))

    @staticmethod
    def _unassign(client: kafka.Consumer, keys: list[Key]) -> None:
        client.incremental_unassign([kafka.TopicPartition(*key) for key in keys])
