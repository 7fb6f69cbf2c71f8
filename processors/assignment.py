"""Which partitions are ours, and for how long: each assignment of a partition has a token that its loss voids for ever.

The broker checks a commit's member and generation, not whether the member owns the partition: a commit that comes late
would wipe the new owner's. So whoever commits asks the token first, on the thread that polls.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from headrace import kafka

log = logging.getLogger(__name__)
Place = tuple[str, int]  # topic and partition


class Token:
    """One assignment of one partition."""

    __slots__ = ("_live",)

    def __init__(self) -> None:
        self._live = True

    @property
    def live(self) -> bool:
        """Whether the partition is still ours. Never true again once it was false."""
        return self._live

    def void(self) -> None:
        """The partition was revoked or lost."""
        self._live = False


class Assignment:
    """The partitions that the group has given to `consumer`. Its callbacks only take notes: the poll loop acts on them.

    A partition that was just assigned stands still until `start` says from where to read it. Eager assignors only.
    """

    def __init__(self, consumer: kafka.Consumer) -> None:
        self._consumer = consumer
        self._tokens: dict[Place, Token] = {}
        self.joined = False  # whether the group has spoken at all; it may have given us nothing
        self.fresh = False  # whether partitions wait for `start`

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group."""
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def tokens(self) -> Mapping[Place, Token]:
        """The token of each partition that is ours."""
        return self._tokens

    def start(self, offsets: Mapping[Place, int]) -> None:
        """Read each of our partitions from its offset on; the others have none."""
        ours = [(t, p, o) for (t, p), o in offsets.items() if (t, p) in self._tokens]
        self._consumer.assign([kafka.TopicPartition(t, p, o) for t, p, o in ours])
        # librdkafka keeps a pause through loss and a new assignment: who had paused them has none to resume by then.
        self._consumer.resume([kafka.TopicPartition(t, p) for t, p, _ in ours])
        self.fresh = False

    def _on_assign(self, consumer: kafka.Consumer, partitions: Iterable[kafka.TopicPartition]) -> None:
        self._drop()
        self._tokens = {(tp.topic, tp.partition): Token() for tp in partitions}
        self.joined = self.fresh = True
        consumer.assign([])
        log.info("partitions assigned", extra={"partitions": _words(self._tokens)})

    def _on_revoke(self, consumer: kafka.Consumer, partitions: Iterable[kafka.TopicPartition]) -> None:
        self._drop()
        consumer.unassign()
        log.info("partitions revoked", extra={"partitions": _words((tp.topic, tp.partition) for tp in partitions)})

    def _on_lost(self, consumer: kafka.Consumer, partitions: Iterable[kafka.TopicPartition]) -> None:
        self._drop()
        consumer.unassign()
        log.warning("partitions lost", extra={"partitions": _words((tp.topic, tp.partition) for tp in partitions)})

    def _drop(self) -> None:
        for token in self._tokens.values():
            token.void()
        self._tokens = {}
        self.fresh = False


def _words(places: Iterable[Place]) -> str:
    return " ".join(f"{t}/{p}" for t, p in sorted(places))
