"""A Kafka client that lost its way back ends its process; Kafka's own absence doesn't."""

import threading
import time
from collections.abc import Iterator

import pytest

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.config.model import Http
from headrace.errors import FatalError, TransientError
from headrace.kafka.watch import Contact, KafkaWatch
from headrace.runtime.health import Health


class Client:
    """A Kafka client as the watch sees it. With `slow`, it answers a caller that waits long enough."""

    def __init__(self) -> None:
        self.connected = True
        self.slow = False

    def list_topics(self, topic: str, timeout: float) -> None:
        assert topic
        assert timeout
        if not self.connected or (self.slow and timeout < 5):
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
    monkeypatch.setattr("headrace.kafka.watch._EVERY_SECONDS", 0.01)
    monkeypatch.setattr("headrace.kafka.watch._SEVERED_SECONDS", 0.05)
    monkeypatch.setattr("os.kill", lambda _pid, _signal: it.told.set())
    return it


@pytest.fixture
def health() -> Iterator[Health]:
    with Health(Http(), (KafkaWatch.CHECK,)) as it:
        yield it


def test_a_client_that_alone_finds_no_broker_ends_the_process(world: World, health: Health) -> None:
    good, bad = Client(), Client()
    bad.connected = False
    with (
        pytest.raises(FatalError, match="producing"),
        KafkaWatch(Kafka(), health, lambda: {"x": good, "producing": bad}),
    ):
        assert world.told.wait(5)


def test_kafka_away_from_everybody_severs_nobody(world: World, health: Health) -> None:
    client = Client()
    client.connected = world.here = False
    with KafkaWatch(Kafka(), health, lambda: {"producing": client}):
        assert not world.told.wait(0.3)
        ready, facts = health.is_ready()
        assert (ready, facts["checks"]) == (False, {"kafka_answers": "away"})


def test_nobody_expects_progress_while_kafka_is_away(world: World) -> None:
    client = Client()
    client.connected = world.here = False
    with Health(Http(), stalled_seconds=0.5) as health:
        with KafkaWatch(Kafka(), health, lambda: {"producing": client}):
            time.sleep(1.0)
            assert health.live()[0]
        time.sleep(0.6)
        assert not health.live()[0]  # nobody says any more that Kafka is away


def test_a_client_that_comes_back_in_time_is_left_alone(
    world: World, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.kafka.watch._SEVERED_SECONDS", 0.5)
    client = Client()
    watch = KafkaWatch(Kafka(), health, lambda: {"producing": client})
    for _ in range(3):
        client.connected = False
        assert not watch.look()
        time.sleep(0.3)
        client.connected = True
        assert not watch.look()
    assert not world.told.is_set()


def test_a_client_that_is_only_slow_is_left_alone(world: World, health: Health) -> None:
    client = Client()
    client.slow = True
    with KafkaWatch(Kafka(), health, lambda: {"producing": client}):
        assert not world.told.wait(0.3)


def test_an_error_of_the_service_itself_comes_first(world: World, health: Health) -> None:
    client = Client()
    client.connected = False

    def serve() -> None:
        with KafkaWatch(Kafka(), health, lambda: {"producing": client}):
            world.told.wait(5)
            raise TransientError("mine")

    with pytest.raises(TransientError, match="mine"):
        serve()


def test_a_watch_that_fails_itself_ends_the_process(
    world: World, health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    def clients() -> dict[str, Client]:
        raise LookupError("a mistake")

    with (
        pytest.raises(FatalError, match="kafka watch failed: LookupError"),
        KafkaWatch(Kafka(), health, clients),
    ):
        assert world.told.wait(5)
    assert "a watch failed" in caplog.text


def test_a_reader_is_asked_on_its_own_thread_and_only_after_silence(
    world: World, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    contact = Contact(client)  # type: ignore[arg-type]
    client.connected = False
    with KafkaWatch(Kafka(), health, lambda: {"reading": contact}):
        contact.keep(False)  # too soon to ask
        assert not world.told.wait(0.2)
        monkeypatch.setattr("headrace.kafka.watch._SILENT_SECONDS", 0.0)
        contact.keep(True)  # no silence at all
        assert not world.told.wait(0.2)


def test_a_reader_that_alone_finds_no_broker_ends_the_process(
    world: World, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.kafka.watch._SILENT_SECONDS", 0.0)
    client = Client()
    contact = Contact(client)  # type: ignore[arg-type]
    client.connected = False
    contact.keep(False)
    with pytest.raises(FatalError, match="reading"), KafkaWatch(Kafka(), health, lambda: {"reading": contact}):
        assert world.told.wait(5)


def test_what_a_reader_found_long_ago_does_not_count(
    world: World, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.kafka.watch._SILENT_SECONDS", 0.0)
    monkeypatch.setattr("headrace.kafka.watch._STALE_SECONDS", 0.0)
    client = Client()
    contact = Contact(client)  # type: ignore[arg-type]
    client.connected = False
    contact.keep(False)
    with KafkaWatch(Kafka(), health, lambda: {"reading": contact}):
        assert not world.told.wait(0.3)


def test_a_reader_that_finds_its_way_back_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.kafka.watch._SILENT_SECONDS", 0.0)
    monkeypatch.setattr("headrace.kafka.watch._AGAIN_SECONDS", 0.0)
    client = Client()
    contact = Contact(client)  # type: ignore[arg-type]
    for connected in (False, True, False):
        client.connected = connected
        contact.keep(False)
        assert contact.answers is connected
    contact.keep(True)  # a message is an answer
    assert contact.answers


def test_a_reader_that_can_t_commit_either_is_seen_to_be_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two commits, which take ten seconds each without a coordinator, it asks once, for three seconds."""
    now, seen = [1000.0], list[bool]()

    def passes(seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            now[0] += 0.1
            seen.append(contact.answers)

    class Severed:
        def list_topics(self, _: str, timeout: float) -> None:
            passes(timeout)
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._TRANSPORT))

    monkeypatch.setattr("headrace.kafka.watch.time.monotonic", lambda: now[0])
    contact = Contact(Severed())  # type: ignore[arg-type]
    passes(5)
    contact.keep(False)
    seen.clear()
    for _ in range(3):
        passes(10.1)
        contact.keep(False)
    assert not any(seen)
    passes(15)  # as long as the watch needs to call it cut off
    assert seen[-1]  # its thread does something else
