"""A dead letter of exactly the size that `fits` allows is taken by Kafka; one byte more goes to the object store."""

import pytest

from headrace import deadletters, kafka
from headrace.deadletters import Letter, MqttSource, Stage
from headrace.errors import PoisonError, Reason
from headrace.kafka import TopicSpec
from headrace.protocol.wire import Headers, record_bytes
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]
TOPIC = "letters-at-the-limit"
ERROR = PoisonError(Reason.MALFORMED, "not JSON", field="ax", value="x" * 200)


def letter(size: int, headers: Headers) -> Letter:
    source = MqttSource("sensors/dev/imu", 0, b"%d" % size)
    return deadletters.letter(ERROR, b"x" * size, stage=Stage.BRIDGE, stream="imu", source=source, original=headers)


@pytest.mark.parametrize("headers", [[], [(f"name-{i}", b"y" * 50) for i in range(100)]], ids=["few", "many"])
def test_a_letter_at_the_limit_is_taken_by_kafka(stack: Stack, headers: Headers) -> None:
    config = stack.config()
    limit = deadletters.max_letter_bytes(config)
    kafka.ensure_topics(config.kafka, [TopicSpec(TOPIC, 1, limit, 3_600_000)])
    empty = letter(0, headers)
    room = limit - record_bytes(empty.key, b"", empty.headers)
    largest = letter(room, headers)
    assert deadletters.fits(config, largest)
    assert not deadletters.fits(config, letter(room + 1, headers))
    failed: list[kafka.KafkaError | None] = []
    producer = kafka.producer(config.kafka, **kafka.sizes([limit]))
    producer.produce(
        TOPIC,
        largest.value,
        largest.key,
        headers=list(largest.headers),
        on_delivery=lambda error, _: failed.append(error),
    )
    assert producer.flush(30) == 0
    assert failed == [None]
