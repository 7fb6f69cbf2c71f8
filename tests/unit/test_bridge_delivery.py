"""What is given to Kafka's client is counted once Kafka has it; what it refuses ends the bridge, unacknowledged."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from bridge.delivery import Delivery, Link, Record
from headrace import kafka
from headrace.config import Config
from headrace.errors import FatalError
from tests.unit.intake_world import Wire

Report = Callable[[Any, Any], None]


class Client:
    """As Kafka's, with room for some records; `reports` are what it has to say of them."""

    def __init__(self, room: int) -> None:
        self.room, self.reports = room, list[Report]()

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, delivered: Report, *rest: Any) -> None:
        assert (partition, rest) == (-1, (None, 0, []))
        if topic == "refused":
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED))
        if not self.room:
            raise BufferError
        self.room -= 1
        self.reports.append(delivered)

    def poll(self, timeout: float) -> None:
        """Nothing comes by itself."""


@pytest.fixture
def counters() -> list[Counter]:
    return [Counter(name, "records", registry=CollectorRegistry()) for name in ("a", "b")]


def value(counter: Counter) -> float:
    return float(counter._value.get())


def made(monkeypatch: pytest.MonkeyPatch, room: int) -> tuple[Delivery, Client, Link, Wire]:
    client, wire = Client(room), Wire()
    monkeypatch.setattr(kafka, "producer", lambda *_, **__: client)
    return Delivery(Config(), 1 << 20, 1 << 20, lambda _: None), client, Link(wire), wire  # type: ignore[arg-type]


def test_records_of_a_message_are_counted_each_and_acknowledged_together(
    monkeypatch: pytest.MonkeyPatch, counters: list[Counter]
) -> None:
    it, client, link, wire = made(monkeypatch, 10)
    records = [Record("t", b"k", b"v", [], counters[i]) for i in (0, 0, 1, 0)]
    assert it.produce(link, link.window.hand_out(7, 4), records) == 4
    for done, report in enumerate(client.reports):
        assert (it.in_flight, wire.acknowledged) == (4 - done, [])
        report(None, None)
        it.poll()
    assert (it.in_flight, wire.acknowledged) == (0, [7])
    assert [value(c) for c in counters] == [3, 1]


def test_without_room_it_says_how_many_it_took(monkeypatch: pytest.MonkeyPatch, counters: list[Counter]) -> None:
    it, client, _, _ = made(monkeypatch, 2)
    records = [Record("t", b"k", b"v", [], counters[0])] * 3
    assert it.produce(None, 0, records) == 2
    assert (it.in_flight, it.qos0_in_flight) == (2, 2)
    assert it.produce(None, 0, records[2:]) == 0
    for report in client.reports:
        report(None, None)
    it.poll()
    assert (it.in_flight, it.qos0_in_flight, value(counters[0])) == (0, 0, 2)


def test_what_kafka_refuses_ends_it_and_nothing_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch, counters: list[Counter]
) -> None:
    it, client, link, wire = made(monkeypatch, 10)
    it.produce(link, link.window.hand_out(7, 2), [Record("t", b"k", b"v", [], counters[0])] * 2)
    client.reports[0](None, None)
    client.reports[1](kafka.KafkaError(kafka.KafkaError.MSG_SIZE_TOO_LARGE), None)
    with pytest.raises(FatalError, match="delivering a record"):
        it.poll()
    assert (wire.acknowledged, value(counters[0])) == ([], 1)
    with pytest.raises(FatalError, match="producing to refused"):
        it.produce(link, 1, [Record("t", b"k", b"v", [], counters[0]), Record("refused", b"k", b"v", [], counters[0])])
    assert it.in_flight == 1, "the one before it"


def test_the_client_takes_its_arguments_by_position(counters: list[Counter]) -> None:
    config = Config.model_validate({"kafka": {"librdkafka": {"test.mock.num.brokers": 1}}})
    it = Delivery(config, 1 << 20, 1 << 20, lambda _: None)
    wire = Wire()
    link = Link(wire)  # type: ignore[arg-type]
    headers = [("a", b"1"), ("a", b"2")]
    it.produce(link, link.window.hand_out(7, 1), [Record("t", b"k", b"v", headers, counters[0])])
    until = time.monotonic() + 30
    while it.in_flight and time.monotonic() < until:
        it.producer.poll(0.1)
        it.poll()
    assert (wire.acknowledged, value(counters[0])) == ([7], 1)
    (broker,) = it.producer.list_topics(timeout=10).brokers.values()
    reading = Config.model_validate({"kafka": {"bootstrap": f"{broker.host}:{broker.port}"}}).kafka
    client = kafka.consumer(reading, "g")
    client.assign([kafka.TopicPartition("t", n, 0) for n in range(it.partitions(["t"])["t"])])
    (m,) = client.consume(1, 20)
    client.close()
    assert (m.key(), m.value(), kafka.headers_of(m), m.timestamp()[1] > 0) == (b"k", b"v", headers, True)
