"""Commits against a broker that keeps what is written beside an offset, and against one that does not."""

from typing import Any

import pytest

from headrace.errors import FatalError
from headrace.intent import Intent, Note, decode
from headrace.kafka import TopicPartition
from processors.archive.commit import Committer, Revoked, Token

NOTE = Note("x" * 22, intent=Intent(9, 1, 3))


class Broker:
    """What a consumer tells of committed offsets."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.commits: list[TopicPartition] = []
        self.asked = 0

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        self.commits += offsets
        return offsets

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked += 1
        last = self.commits[-1]
        return [TopicPartition(last.topic, last.partition, last.offset, (last.metadata or "")[: self._room])]


def test_notes_that_do_not_come_back_whole_are_an_end_before_anything_is_stored() -> None:
    for room in (0, 20):
        broker: Any = Broker(room)
        with pytest.raises(FatalError, match="can't be used"):
            Committer(broker).commit(Token(), "imu.clean", 0, 5, NOTE)


def test_the_broker_is_asked_once() -> None:
    broker: Any = Broker(10_000)
    committer = Committer(broker)
    for offset in range(3):
        committer.commit(Token(), "imu.clean", 0, offset, NOTE)
    assert (broker.asked, len(broker.commits)) == (1, 3)
    assert decode(broker.commits[-1].metadata) == NOTE


def test_a_void_token_commits_nothing() -> None:
    broker: Any = Broker(10_000)
    token = Token()
    token.void()
    with pytest.raises(Revoked):
        Committer(broker).commit(token, "imu.clean", 0, 5, NOTE)
    assert broker.commits == []
