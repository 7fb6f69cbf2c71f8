"""Readers of Kafka take whatever a configuration says for producers."""

from headrace.config.connect import Kafka
from processors.archive import reader
from processors.group import relay
from processors.group.member import consumer


def test_a_large_message_max_bytes_is_the_producers_alone() -> None:
    """librdkafka takes no reader with a `fetch.max.bytes` below it."""
    cfg = Kafka(librdkafka={"message.max.bytes": 64_000_000})
    for client in (consumer(cfg, "g", **relay._CONSUMER), reader.consumer(cfg, "g")):
        client.close()
