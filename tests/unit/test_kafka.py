"""Reaching Kafka: a slow answer is an answer, and silence is told in our terms."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import TransientError


@contextmanager
def far_away(milliseconds: int) -> Iterator[Kafka]:
    """librdkafka's own mock broker, each of whose answers takes so long."""
    settings = {"test.mock.num.brokers": 1, "test.mock.broker.rtt": milliseconds, "bootstrap.servers": "unused:1"}
    owner = Producer({**settings, "log_level": 0})
    found = owner.list_topics(timeout=30).brokers.values()
    yield Kafka(bootstrap=",".join(f"{b.host}:{b.port}" for b in found))


@pytest.mark.parametrize("milliseconds", [1, 300])
def test_a_broker_is_found_however_far_it_is(milliseconds: int) -> None:
    with far_away(milliseconds) as cfg:
        assert kafka.probe(cfg) == 1


def test_silence_is_an_outage_that_names_the_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(TransientError, match=f"Kafka at 127.0.0.1:{port} does not answer"):
            kafka.probe(Kafka(bootstrap=f"127.0.0.1:{port}"), timeout=0.5)


def test_nobody_there_is_an_outage_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(TransientError, match=rf"127\.0\.0\.1:{port}.*Start it, or correct kafka\.bootstrap"):
        kafka.probe(Kafka(bootstrap=f"127.0.0.1:{port}"))
