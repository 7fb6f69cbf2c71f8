"""Reaching Kafka: a slow answer is an answer, and silence is told in our terms."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import ConfigError, TransientError
from headrace.kafka import client
from tests.secured.certs import Certs, Pair
from tests.secured.front import front


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_DOWN_SECONDS", 0.3)


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


def secured(certs: Certs, port: int, pair: Pair | None = None) -> Kafka:
    files = {"cert_file": str(pair.cert), "key_file": str(pair.key)} if pair else {}
    tls = {"enabled": True, "ca_file": str(certs.ca), **files}
    return Kafka.model_validate({"bootstrap": f"127.0.0.1:{port}", "tls": tls})


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unknown", "unable to get local issuer certificate. Set kafka.tls.ca_file"),
        ("expired", "certificate has expired. Renew it"),
        ("elsewhere", "certificate is not valid for '127.0.0.1'. Correct kafka.bootstrap"),
    ],
)
def test_a_certificate_that_is_refused_says_why(what: str, words: str, certs: Certs) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        front("127.0.0.1", mute.getsockname()[1], certs.servers[what]) as door,
        pytest.raises(ConfigError) as error,
    ):
        kafka.probe(secured(certs, door.port), 10)
    assert f"Kafka at 127.0.0.1:{door.port}: its certificate is refused" in str(error.value)
    assert words in str(error.value)


def test_a_broker_may_ask_for_the_clients_certificate(certs: Certs) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        front("127.0.0.1", mute.getsockname()[1], certs.servers["good"], certs.ca) as door,
    ):
        with pytest.raises(ConfigError, match=r"wants a client certificate .*kafka\.tls\.cert_file"):
            kafka.probe(secured(certs, door.port), 10)
        with pytest.raises(ConfigError, match=r"refuses the client certificate .*kafka\.tls\.cert_file"):
            kafka.probe(secured(certs, door.port, certs.late), 10)


def test_a_probe_keeps_its_client_while_that_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answering:
        here = True

        def list_topics(self, topic: str, timeout: float) -> None:
            assert topic
            assert timeout
            if not self.here:
                raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._TRANSPORT))

    made: list[Answering] = []

    def connected(_cfg: Kafka, _timeout: float) -> tuple[Answering, int]:
        made.append(Answering())
        return made[-1], 1

    monkeypatch.setattr(client, "_connected", connected)
    probe = kafka.Probe(Kafka())
    for _ in range(3):
        probe.ask()
    assert len(made) == 1
    made[0].here = False
    probe.ask()
    probe.ask()
    assert len(made) == 2
