"""The archive's dead letters: Kafka has them before their batch counts as stored."""

from collections.abc import Callable
from typing import Any

import pytest

from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import KafkaSource
from headrace.errors import PoisonError, Reason, TransientError
from headrace.kafka import KafkaError, Message
from processors.archive.letters import Letters
from processors.archive.plan import DeadRow
from processors.group.token import Revoked, Token
from tests.unit.archive_rows import ID, TOPIC
from tests.unit.archive_world import World

CONFIG = Config.model_validate({"kafka": {"bootstrap": "127.0.0.1:1"}})
Delivered = Callable[[KafkaError | None, Message], None]


class ToyProducer(kafka.Producer):
    """Confirms what it was given with the second `flush`; with `error`, that it never will."""

    def __init__(self, error: int | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.flushes = 0
        self._error = error
        self._waiting: list[Delivered] = []

    def produce(self, topic: str, value: Any = None, **message: Any) -> None:  # type: ignore[override]
        """Produce, as Letters asks for it."""
        self._waiting.append(message.pop("on_delivery"))
        self.sent.append({"topic": topic, "value": value, **message})

    def flush(self, timeout: float = -1) -> int:
        self.flushes += 1
        if self.flushes % 2:
            return len(self._waiting)
        for delivered in self._waiting:
            delivered(None if self._error is None else KafkaError(self._error), Message())
        self._waiting = []
        return 0


def row(offset: int, value: bytes = b"stranger") -> DeadRow:
    error = PoisonError(Reason.MALFORMED, "no position header")
    return DeadRow(error, value, KafkaSource(TOPIC, ID, 0, 1, offset), [("event-id", b"e" * 16)])


def test_each_row_is_a_letter_with_its_source_and_kafka_has_it_before_it_counts() -> None:
    letters, producer = Letters(CONFIG, World().store), ToyProducer()
    letters.producer = producer
    letters.write(Token(), TOPIC, (row(3), row(4)))
    assert producer.flushes == 2
    assert [m["topic"] for m in producer.sent] == ["dead-letters"] * 2
    assert len({m["key"] for m in producer.sent}) == 2
    headers = dict(producer.sent[1]["headers"])
    assert (headers["stage"], headers["stream"], headers["reason"]) == (b"archive", b"imu", b"malformed")
    assert b'"offset":4' in headers["source"]
    assert headers["event-id"] == b"e" * 16


def test_the_wait_for_kafka_ends_when_the_partition_is_taken_away() -> None:
    letters, token = Letters(CONFIG, World().store), Token()
    letters.producer = ToyProducer()
    token.void()
    with pytest.raises(Revoked):
        letters.write(token, TOPIC, (row(3),))


def test_a_letter_that_kafka_refuses_is_tried_again_with_another_client() -> None:
    letters = Letters(CONFIG, World().store)
    letters.producer = ToyProducer(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with pytest.raises(TransientError, match="dead-letters"):
        letters.write(Token(), TOPIC, (row(3),))
    assert letters.producer is None


def test_a_letter_too_large_for_its_topic_points_to_its_bytes_in_the_store() -> None:
    store, producer = World().store, ToyProducer()
    letters = Letters(CONFIG, store)
    letters.producer = producer
    whole = b"x" * (deadletters.max_letter_bytes(CONFIG) + 1)
    letters.write(Token(), TOPIC, (row(3, whole),))
    (sent,) = producer.sent
    assert not sent["value"]
    assert store.objects[dict(sent["headers"])["pointer"].decode()] == whole


def test_many_letters_are_written_in_parts_that_the_client_has_room_for() -> None:
    letters, producer = Letters(CONFIG, World().store), ToyProducer()
    letters.producer = producer
    letters.write(Token(), TOPIC, tuple(row(n) for n in range(2500)))
    assert len(producer.sent) == 2500
    assert producer.flushes == 2 * 3
