"""Kafka in memory: logs, committed offsets, a group's member. Typed after the real client: mypy sees drift."""

from collections.abc import Callable, Iterable
from typing import Any

from headrace import kafka
from headrace.kafka import KafkaError, KafkaException, Message, TopicPartition
from headrace.protocol.wire import Headers
from processors.group.token import Partition

APPENDED_MS = 1_700_000_000_000


class Log:
    """One partition's log."""

    def __init__(self, epoch: int = 0) -> None:
        self.records: list[Message] = []
        self.low = 0
        self.high = 0
        self.epoch = epoch

    def append(self, where: Partition, value: bytes | None, key: bytes | None = None, headers: Any = None) -> None:
        """Write one record."""
        topic, number = where
        self.records.append(
            Message(
                topic=topic,
                partition=number,
                offset=self.high,
                key=key,
                value=value,
                headers=headers or [],
                timestamp=(2, APPENDED_MS + self.high),
                leader_epoch=self.epoch,
            )
        )
        self.high += 1

    def skip(self, count: int = 1) -> None:
        """Offsets that hold no record, such as a transaction's marks."""
        self.high += count

    def truncate(self, high: int) -> None:
        """Lose the records from offset `high` on; the new leader has a higher epoch."""
        self.records = [m for m in self.records if offset(m) < high]
        self.high = min(self.high, high)
        self.epoch += 1

    def expire(self, low: int) -> None:
        """Delete the records before offset `low`."""
        self.records = [m for m in self.records if offset(m) >= low]
        self.low = max(self.low, low)


class ToyKafka:
    """What survives every process."""

    def __init__(self) -> None:
        self.logs: dict[Partition, Log] = {}
        self.committed: dict[Partition, tuple[int, str]] = {}
        self.owners: dict[Partition, ToyConsumer] = {}  # by the group's decision

    def log(self, topic: str, number: int = 0) -> Log:
        """The log of a partition; it begins empty."""
        return self.logs.setdefault((topic, number), Log())

    def write(self, topic: str, value: bytes | None, headers: Headers | None = None, number: int = 0) -> None:
        """Append one record to a log."""
        self.log(topic, number).append((topic, number), value, None, headers)


class ToyConsumer(kafka.Consumer):
    """A member of a group. What was paused stays paused through loss and a new assignment, as in librdkafka.

    The test plays the group: `give`, `revoke` and `lose` take effect in the next poll. Each call is announced to
    `before` by its name, which may raise.
    """

    def __init__(self, cluster: ToyKafka, before: Callable[[str], None] = lambda _: None) -> None:
        self.cluster, self._before = cluster, before
        self._on: dict[str, Any] = {}
        self._events: list[tuple[str, list[Partition]]] = []
        self.topics: list[str] = []
        self.at: dict[Partition, int] = {}
        self.paused: set[Partition] = set()
        self.fenced = False  # the group goes on without us, and we have not seen it yet
        self.closed = False
        self.torn: list[int] = []  # how many partitions of each of the next commits are taken, before it fails
        self._told: dict[Partition, int] = {}
        self._errors: list[Message] = []

    def give(self, *partitions: Partition) -> None:
        """The group assigns these."""
        self.cluster.owners |= dict.fromkeys(partitions, self)
        self._events.append(("on_assign", list(partitions)))

    def revoke(self, *partitions: Partition) -> None:
        """The group asks for these back."""
        self._events.append(("on_revoke", list(partitions)))

    def lose(self, *partitions: Partition) -> None:
        """The group has given these to others; until we see it, the broker refuses what we commit."""
        for p in partitions:
            self._left(p)
        self._events.append(("on_lost", list(partitions)))

    def fail(self, error: int, topic: str = "imu.raw", number: int = 0) -> None:
        """The next read meets this error."""
        self._errors.append(Message(topic=topic, partition=number, offset=0, error=KafkaError(error)))

    def subscribe(
        self,
        topics: list[str],
        on_assign: Any = None,
        on_revoke: Any = None,
        on_lost: Any = None,
    ) -> None:
        self.topics = topics
        self._on = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}

    def list_topics(self, *_: Any, **__: Any) -> Any:
        """It answers always: asked where no message has come for seconds, as on a busy machine."""
        return None

    def poll(self, timeout: float = -1) -> Message | None:
        found = self.consume(1, timeout)
        return found[0] if found else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        self._before("consume")
        events, self._events = self._events, []
        for name, partitions in events:
            self._on[name](self, [TopicPartition(*p) for p in partitions])
            for p in partitions if name == "on_revoke" else ():
                self._left(p)
        out, self._errors = self._errors[:num_messages], self._errors[num_messages:]
        for partition, position in list(self.at.items()):
            if partition not in self.paused:
                out += self._fetch(partition, position, num_messages - len(out))
        return out

    def _left(self, partition: Partition) -> None:
        if self.cluster.owners.get(partition) is self:
            del self.cluster.owners[partition]

    def _fetch(self, partition: Partition, position: int, count: int) -> list[Message]:
        log = self.cluster.log(*partition)
        if not log.low <= position <= log.high:
            return [_end(partition, position, KafkaError._AUTO_OFFSET_RESET)]
        found = [m for m in log.records if offset(m) >= position][:count]
        if found:
            self.at[partition] = offset(found[-1]) + 1
        elif count and self._told.get(partition) != log.high:
            self._told[partition] = self.at[partition] = log.high
            return [_end(partition, log.high)]
        return found

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.at = {(tp.topic, tp.partition): tp.offset for tp in partitions}
        self._told = {}

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            assert (tp.topic, tp.partition) not in self.at, "it is assigned already"
            self.at[tp.topic, tp.partition] = tp.offset
            self._told.pop((tp.topic, tp.partition), None)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            del self.at[tp.topic, tp.partition]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= _of(partitions) & self.at.keys()

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= _of(partitions) & self.at.keys()

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool = False) -> Any:  # type: ignore[override]
        """Commit, as kafka.commit asks for it: synchronously, with offsets."""
        assert not asynchronous
        self._before("commit")
        if self.fenced or any(name == "on_lost" for name, _ in self._events):
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        taken = self.torn.pop() if self.torn else len(offsets)
        for tp in offsets[:taken]:
            # The broker would take it from any live member: that only an owner commits is for us to see to.
            owner = self.cluster.owners.get((tp.topic, tp.partition))
            assert owner is self or not self.topics, (
                f"{tp.topic}/{tp.partition}: a commit of a partition that was taken away"
            )
            self.cluster.committed[tp.topic, tp.partition] = (tp.offset, tp.metadata or "")
        if taken < len(offsets):  # as seen: the call fails as a whole, and the others are committed
            raise KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))
        self._before("committed")
        return offsets

    def committed(self, partitions: list[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        found = [(tp, self.cluster.committed.get((tp.topic, tp.partition), (-1001, ""))) for tp in partitions]
        return [TopicPartition(tp.topic, tp.partition, at, metadata) for tp, (at, metadata) in found]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        log = self.cluster.log(partition.topic, partition.partition)
        return log.low, log.high

    def close(self) -> None:
        self.closed = True


class ToyProducer(kafka.Producer):
    """An idempotent producer: what it was given arrives in order, each record once; when, `flush` decides.

    Each step is announced to `before` by its name, which may raise: what is pending then may arrive `late`.
    """

    def __init__(self, cluster: ToyKafka, before: Callable[[str], None] = lambda _: None) -> None:
        self._cluster, self._before = cluster, before
        self._pending: list[tuple[Partition, Any]] = []
        self.stall = 0  # how many flushes are to end before Kafka has confirmed anything
        self.refuse = -1  # which of the records to come is refused for good

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: Any = None,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        self._before("produce")
        self._pending.append(((topic, max(0, partition)), (value, key, list(headers or []), callback or on_delivery)))

    def flush(self, timeout: float = -1) -> int:
        self._before("flush")
        if self.stall > 0:
            self.stall -= 1
            return len(self._pending) + 1
        while self._pending:
            self._before("deliver")
            self._deliver()
        return 0

    def late(self) -> None:
        """What a process that died, or sleeps, had given to its producer arrives now."""
        while self._pending:
            self._deliver()

    def _deliver(self) -> None:
        partition, (value, key, headers, done) = self._pending.pop(0)
        self.refuse -= 1
        if self.refuse == -1:
            done(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Message(topic=partition[0], partition=partition[1]))
        else:
            self._cluster.log(*partition).append(partition, value, key, headers)


class Checks:
    """Readiness, as it was told last."""

    def __init__(self) -> None:
        self.of: dict[str, bool] = {}
        self.why: dict[str, str] = {}

    def progress(self) -> None: ...

    def ready(self, check: str, ok: bool, why: str = "") -> None:
        self.of[check], self.why[check] = ok, why


def offset(m: Message) -> int:
    """The offset of a record."""
    found = m.offset()
    assert found is not None
    return found


def _end(partition: Partition, at: int, error: int = KafkaError._PARTITION_EOF) -> Message:
    return Message(topic=partition[0], partition=partition[1], offset=at, error=KafkaError(error))


def _of(partitions: Iterable[TopicPartition]) -> set[Partition]:
    return {(tp.topic, tp.partition) for tp in partitions}
