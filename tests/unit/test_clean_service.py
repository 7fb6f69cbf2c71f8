"""What clean does when the group gives it partitions, or takes them."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from headrace import kafka
from headrace.config import Config
from headrace.config.connect import Registry as RegistryConfig
from headrace.config.model import Http
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.kafka import TopicInfo
from headrace.runtime import backoff
from headrace.runtime.health import Health
from headrace.runtime.metrics import LAG
from headrace.schema_registry.client import Registry
from processors.clean import service
from processors.clean.partition import RawPartition
from processors.clean.service import Cleaner
from processors.group import beginning, relay, topics
from processors.group.relay import Relay
from processors.group.token import Partition
from processors.group.topics import Pair
from tests.unit.toy_kafka import ToyConsumer, ToyKafka

World = tuple[ToyConsumer, Relay[RawPartition]]
ONE, TWO = ("imu.raw", 0), ("imu.raw", 1)


def _next(found: list[Any]) -> Any:
    one = found.pop(0)
    if isinstance(one, Exception):
        raise one
    return one


def test_a_client_that_can_not_be_made_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [TransientError("no token"), FatalError("it was made")]
    monkeypatch.setattr(relay, "await_kafka", lambda *_: True)
    monkeypatch.setattr(kafka, "consumer", lambda *_, **__: _next(results))
    config = Config.model_validate({"streams": {"imu": {"contract": "imu"}}, "clean": {"http": {"port": 0}}})
    with pytest.raises(FatalError, match="it was made"):
        service.run(config, threading.Event())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A group's member and the loop that reads with it; making a producer fails once."""
    info = TopicInfo("id", 2, 2_000_000)
    client = ToyConsumer(ToyKafka())
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(topics, "check", lambda *_: {"imu.raw": Pair(info, info)})
    monkeypatch.setattr(beginning, "check", lambda *_: None)
    monkeypatch.setattr(relay, "log_ends", lambda _, partitions: dict.fromkeys(partitions, (0, 0)))
    monkeypatch.setattr(Registry, "latest", lambda *_: None)
    make, fails = kafka.producer, [TransientError("no token")]

    def producer(cfg: Any, **settings: Any) -> kafka.Producer:
        if fails:
            raise fails.pop()
        return make(cfg, **settings)

    monkeypatch.setattr(kafka, "producer", producer)
    config = Config.model_validate({"kafka": {"bootstrap": "127.0.0.1:1"}, "streams": {"imu": {"contract": "imu"}}})
    with Health(Http()) as health, Registry(RegistryConfig()) as registry:
        it = Relay(service.settings_of(config), Cleaner(config, registry), health, client, threading.Event())
        it.join()
        assert not fails, "a producer that could not be made was waited for"
        yield client, it


def lag(partition: Partition) -> float | None:
    topic, number = partition
    labels = {"service": "clean", "topic": topic, "partition": str(number)}
    return REGISTRY.get_sample_value("headrace_lag_records", labels)


def tell_lag(*partitions: Partition) -> None:
    for topic, number in partitions:
        LAG.labels("clean", topic, str(number)).set(7)


@pytest.mark.parametrize("go", [ToyConsumer.revoke, ToyConsumer.lose])
def test_the_lag_of_a_partition_goes_with_it(world: World, go: Callable[[ToyConsumer, Partition], None]) -> None:
    """Else two members tell of it for ever, one of them what was true once."""
    client, it = world
    client.give(ONE, TWO)
    it.turn()
    it.turn()
    assert client.at.keys() == {ONE, TWO}
    tell_lag(ONE, TWO)
    go(client, TWO)
    it.turn()
    assert (lag(ONE), lag(TWO)) == (7, None)
    LAG.remove("clean", "imu.raw", "0")


def test_a_member_that_stands_by_without_a_partition_waits_out_a_refusal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, it = world
    client.give()
    it.turn()
    it.turn()
    answers = [ConfigError("the certificate has expired"), {}]
    monkeypatch.setattr(topics, "check", lambda *_: _next(answers))
    it._checked -= 60.0
    it.turn()
    assert not answers


def test_a_partition_that_stays_is_not_begun_again_when_another_comes(world: World) -> None:
    client, it = world
    client.give(ONE)
    it.turn()
    it.turn()
    kept = it._partitions[ONE]
    client.give(TWO)
    it.turn()
    it.turn()
    assert it._partitions[ONE] is kept
    assert it._partitions.keys() == {ONE, TWO}


def test_the_look_back_of_a_lost_partition_serves_again_and_that_of_a_revoked_one_goes(
    world: World,
) -> None:
    client, it = world
    client.give(ONE, TWO)
    it.turn()
    it.turn()
    kept = it._partitions[ONE].lookback
    client.lose(ONE)
    client.revoke(TWO)
    it.turn()
    assert it._partitions.keys() == {ONE}
    client.give(ONE)
    it.turn()
    it.turn()
    assert it._partitions[ONE].lookback is kept
    assert it._partitions[ONE].token.live
