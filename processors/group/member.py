"""A member of a consumer group: which partitions are ours, and their messages.

The assignor is cooperative: a rebalance moves only the partitions that change hands, and the others are read on. A
partition that was just assigned waits until `start` says from which offset to read it; a partition that is taken away
loses its token at once, with every message of it that was fetched and not yet handed out.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.kafka import Message, columns
from headrace.kafka.watch import Contact
from processors.group.token import Partition, Token

log = logging.getLogger(__name__)

SETTINGS: Mapping[str, Any] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 10_000,  # how long partitions wait after a crash
    "heartbeat.interval.ms": 2_000,
    "enable.partition.eof": True,
}
# Not worth a line: the topic is not there yet, which the health checks say; or the callbacks say what was lost.
_QUIET = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "_MAX_POLL_EXCEEDED"})

_OTHER_ASSIGNOR = "INCONSISTENT_GROUP_PROTOCOL"  # clean once was an eager member, and no client can be both


def consumer(cfg: Kafka, group: str, **settings: Any) -> kafka.Consumer:
    """A consumer for `Member`, with librdkafka's `settings` besides. Errors as kafka.consumer raises them."""
    return kafka.consumer(cfg, group, **{**SETTINGS, **settings})


def _nothing(_: Sequence[Partition]) -> None:
    """Ask for nothing more than the member does by itself."""


def _raise(error: ConfigError) -> None:
    raise error


class Member:
    """The partitions that the group has given to `consumer`. Used on one thread.

    `taken(partitions)` is called when partitions become ours. `leaving(partitions)` is called when they go: their
    tokens are live still if the group waits for us, and void if the partitions are lost already. `refused(error)` is
    called when Kafka refuses what we read. All three are called while polling, so they must be quick.
    """

    def __init__(
        self,
        client: kafka.Consumer,
        *,
        taken: Callable[[Sequence[Partition]], None] = _nothing,
        leaving: Callable[[Sequence[Partition]], None] = _nothing,
        refused: Callable[[ConfigError], None] = _raise,
    ) -> None:
        self.client = client
        self.contact = Contact(client)  # for KafkaWatch
        self.joined = False  # whether the group has answered at all; it may have given us nothing
        self._taken, self._leaving, self._refused = taken, leaving, refused
        self._tokens: dict[Partition, Token] = {}
        self._started: set[Partition] = set()
        self._still = False
        self._backlog: dict[Partition, list[Message]] = {}
        self._ends: dict[Partition, int] = {}

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group."""
        self.client.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def close(self) -> None:
        """Leave the group."""
        self.client.close()
        self._forget(list(self._tokens))

    @property
    def tokens(self) -> Mapping[Partition, Token]:
        """The token of each partition that is ours."""
        return self._tokens

    @property
    def waiting(self) -> dict[Partition, Token]:
        """The partitions that wait for `start`."""
        return {p: token for p, token in self._tokens.items() if p not in self._started}

    def start(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset` on, if it is still ours."""
        if partition not in self._tokens or partition in self._started:
            return
        here = [kafka.TopicPartition(*partition, offset)]
        self.client.incremental_assign(here)
        # librdkafka keeps a pause through loss and a new assignment: nobody else would resume it.
        self.client.resume(here)
        self._started.add(partition)

    def pause(self, partition: Partition) -> None:
        """Read no more of a partition for now."""
        self.client.pause([kafka.TopicPartition(*partition)])

    def resume(self, partition: Partition) -> None:
        """Read on."""
        self.client.resume([kafka.TopicPartition(*partition)])

    def stand_still(self) -> None:
        """Pause every partition that is read."""
        if not self._still:
            self.client.pause([kafka.TopicPartition(*p) for p in self._started])
            self._still = True

    def go_on(self) -> None:
        """Resume every partition that is read, after `stand_still`."""
        if self._still:
            self.client.resume([kafka.TopicPartition(*p) for p in self._started])
            self._still = False

    def serve(self, seconds: float) -> None:
        """Wait up to `seconds` for one message, and keep it for `read`: the group sees that we live."""
        m = self.client.poll(seconds)
        groups = self._usable([m]) if m is not None else {}
        self.contact.keep(bool(groups))
        for partition, found in groups.items():
            self._backlog.setdefault(partition, []).extend(found)

    def read(self, count: int, seconds: float, gather: float = 0.0) -> dict[Partition, list[Message]]:
        """At most `count` messages by partition, in order; those that came while we waited first, all at once.

        Waits up to `seconds` for the first one, then up to `gather` for more. FatalError if records were deleted before
        they were read.
        """
        if self._backlog:
            out, self._backlog = self._backlog, {}
            return out
        try:
            found = self.client.consume(1, seconds)
        except kafka.KafkaException as e:
            self._problem(e.args[0])
            return {}
        if found and count > 1:
            try:
                found += self.client.consume(count - 1, gather)
            except kafka.KafkaException as e:
                self._problem(e.args[0])
        groups = self._usable(found)
        self.contact.keep(bool(groups))  # not what is wrong: that comes without Kafka too
        return groups

    def ends(self) -> dict[Partition, int]:
        """Where logs have ended since the last call, if all that came before has been handed out."""
        if self._backlog:
            return {}
        out, self._ends = self._ends, {}
        return out

    def end(self, partition: Partition) -> int:
        """One past the last record of a partition, as the last fetch told; -1 before the first."""
        try:
            return int(self.client.get_watermark_offsets(kafka.TopicPartition(*partition), cached=True)[1])
        except kafka.KafkaException:
            return -1

    def _usable(self, messages: list[Message]) -> dict[Partition, list[Message]]:
        """The messages of partitions that are read, by partition: the others were fetched before they went."""
        errors = list(map(Message.error, messages))
        good = messages
        if any(errors):  # `None in errors` would fail: a KafkaError can't be compared with None
            good = [m for m, error in zip(messages, errors, strict=True) if error is None]
            for m, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._failed(m, error)
        groups: dict[Partition, list[Message]] = {}
        for partition, found in columns.runs(good):
            groups.setdefault(partition, []).extend(found)
        for known in (groups, self._ends):
            for partition in known.keys() - self._started:
                del known[partition]
        return groups

    def _failed(self, m: Message, error: kafka.KafkaError) -> None:
        """What stands in a message's place: the end of its log, or an error."""
        if error.name() == "_PARTITION_EOF":
            self._ends[m.topic() or "", m.partition() or 0] = m.offset() or 0
        else:
            self._problem(error, f"{m.topic()}/{m.partition()}")

    def _problem(self, error: kafka.KafkaError, where: str = "") -> None:
        """Log what passes, raise what does not."""
        if error.name() == "_AUTO_OFFSET_RESET":
            raise FatalError(
                f"{where}: readings were deleted before they were read: {error.str()}. Start this service again: it "
                "says which, and what to do. Give the topic a longer retention"
            )
        if error.name() in _QUIET:
            return
        if error.name() == _OTHER_ASSIGNOR:
            log.warning(
                "an older version is still a member of the group, and shares out partitions in another way: stop it"
            )
            return
        found = kafka.translate(error, f"reading {where}")
        if isinstance(found, ConfigError):
            self._refused(found)
        elif isinstance(found, TransientError):
            log.warning("Kafka reports an error", extra={"error": str(found)})
        else:
            raise found

    def _on_assign(self, client: kafka.Consumer, partitions: Iterable[kafka.TopicPartition]) -> None:
        client.incremental_assign([])  # each is assigned once it is known where to begin
        new = [(p.topic, p.partition) for p in partitions]
        self._tokens |= {partition: Token() for partition in new}
        self.joined = True
        log.info("partitions assigned", extra={"partitions": _words(new)})
        self._taken(new)

    def _on_revoke(self, client: kafka.Consumer, partitions: Iterable[kafka.TopicPartition]) -> None:
        gone = [(p.topic, p.partition) for p in partitions]
        log.info("partitions revoked", extra={"partitions": _words(gone)})
        self._leaving(gone)
        self._unassign(client, gone)

    def _on_lost(self, client: kafka.Consumer, partitions: Iterable[kafka.TopicPartition]) -> None:
        gone = [(p.topic, p.partition) for p in partitions]
        log.warning("partitions lost", extra={"partitions": _words(gone)})
        for partition in gone:
            if partition in self._tokens:
                self._tokens[partition].void()
        self._leaving(gone)
        self._unassign(client, gone)

    def _unassign(self, client: kafka.Consumer, gone: Sequence[Partition]) -> None:
        read = [kafka.TopicPartition(*p) for p in gone if p in self._started]
        self._forget(gone)
        client.incremental_unassign(read)

    def _forget(self, gone: Iterable[Partition]) -> None:
        for partition in gone:
            token = self._tokens.pop(partition, None)
            if token is not None:
                token.void()
            self._started.discard(partition)
            self._backlog.pop(partition, None)
            self._ends.pop(partition, None)


def _words(partitions: Iterable[Partition]) -> str:
    return " ".join(f"{t}/{p}" for t, p in sorted(partitions))
