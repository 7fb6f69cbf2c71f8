"""A Kafka client that lost its way back ends its process; Kafka's own absence doesn't."""

import threading
import time

import pytest

from headrace import kafka, severed
from headrace.config.connect import Kafka
from headrace.errors import FatalError, TransientError


class Client:
    """A Kafka client as `Severed` sees it."""

    def __init__(self) -> None:
        self.connected = True

    def list_topics(self, topic: str, timeout: float) -> None:
        assert topic
        assert timeout
        if not self.connected:
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._TRANSPORT))


class World:
    """Whether Kafka answers a new client, and how many times this process was told to end."""

    def __init__(self) -> None:
        self.here = True
        self.told = threading.Event()

    def probe(self, _cfg: Kafka) -> int:
        if not self.here:
            raise TransientError("away")
        return 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    it = World()
    monkeypatch.setattr(kafka, "probe", it.probe)
    monkeypatch.setattr(severed, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(severed, "_SEVERED_SECONDS", 0.05)
    monkeypatch.setattr("os.kill", lambda _pid, _signal: it.told.set())
    return it


def test_a_client_that_alone_finds_no_broker_ends_the_process(world: World) -> None:
    good, bad = Client(), Client()
    bad.connected = False
    with pytest.raises(FatalError, match="producing"), severed.Severed(Kafka(), lambda: {"x": good, "producing": bad}):
        assert world.told.wait(5)


def test_kafka_away_from_everybody_severs_nobody(world: World) -> None:
    client = Client()
    client.connected = world.here = False
    with severed.Severed(Kafka(), lambda: {"producing": client}):
        assert not world.told.wait(0.3)


def test_a_client_that_comes_back_in_time_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(severed, "_SEVERED_SECONDS", 0.5)
    client = Client()
    watch = severed.Severed(Kafka(), lambda: {"producing": client})
    for _ in range(3):
        client.connected = False
        assert not watch.look()
        time.sleep(0.3)
        client.connected = True
        assert not watch.look()
    assert not world.told.is_set()


def test_an_error_of_the_service_itself_comes_first(world: World) -> None:
    client = Client()
    client.connected = False

    def serve() -> None:
        with severed.Severed(Kafka(), lambda: {"producing": client}):
            world.told.wait(5)
            raise TransientError("mine")

    with pytest.raises(TransientError, match="mine"):
        serve()
