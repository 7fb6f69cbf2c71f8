"""What clean does when the group gives it partitions, or takes them."""

import threading
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from headrace import kafka
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.health import Health
from headrace.kafka import TopicInfo
from headrace.metrics import LAG
from headrace.registry import Registry
from processors.clean import beginning, service, topics
from processors.clean.patience import Patience
from processors.clean.topics import Pair


class Stub:
    """Stands for what is not asked, and takes the group's callbacks."""

    def __init__(self) -> None:
        self.on: dict[str, Any] = {}

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.on = callbacks

    def poll(self, _seconds: float) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: []


def _next(found: list[Any]) -> Any:
    one = found.pop(0)
    if isinstance(one, Exception):
        raise one
    return one


def test_a_client_that_can_not_be_made_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [TransientError("no token"), FatalError("it was made")]
    monkeypatch.setattr(service, "await_kafka", lambda *_: True)
    monkeypatch.setattr(kafka, "consumer", lambda *_, **__: _next(results))
    config = Config.model_validate({"streams": {"imu": {"contract": "imu"}}, "clean": {"http": {"port": 0}}})
    with pytest.raises(FatalError, match="it was made"):
        service.run(config, threading.Event())


def test_an_assignment_starts_without_what_was_read_or_told_under_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message that waited since then would be taken for the next one: those between would count as no records."""
    here = [kafka.TopicPartition("imu.raw", p) for p in (0, 1)]
    info = TopicInfo("id", 2, 2_000_000)
    monkeypatch.setattr(topics, "check", lambda *_: {"imu": Pair(info, info)})
    monkeypatch.setattr(beginning, "check", lambda *_: None)
    monkeypatch.setattr(kafka, "committed", lambda _, places: dict.fromkeys(places, (None, "")))
    monkeypatch.setattr(kafka, "watermarks", lambda *_: (0, 0))
    config = Config.model_validate({"kafka": {"bootstrap": "127.0.0.1:1"}, "streams": {"imu": {"contract": "imu"}}})
    stub = Stub()
    consumer, health = cast("kafka.Consumer", stub), cast("Health", stub)
    patience = Patience(consumer, health, threading.Event())
    makers = [TransientError("no token"), kafka.producer]

    def make(cfg: Any, **settings: Any) -> Any:
        return _next(makers)(cfg, **settings)

    monkeypatch.setattr(kafka, "producer", make)
    cleaner = service._Cleaner(config, ("imu",), health, cast("Registry", stub), consumer, patience)
    assert makers == [], "a producer that could not be made was waited for"
    stub.on["on_assign"](stub, here)
    cleaner._begin()
    assert patience.let_in
    for p in (0, 1):
        LAG.labels("clean", "imu.raw", str(p)).set(7)
    patience.backlog.append(cast("kafka.Message", stub))
    stub.on["on_lost"](stub, here)
    stub.on["on_assign"](stub, here[:1])
    cleaner._begin()
    assert patience.backlog == []
    lag = [
        REGISTRY.get_sample_value("headrace_lag_records", {"service": "clean", "topic": "imu.raw", "partition": str(p)})
        for p in (0, 1)
    ]
    assert lag == [7, None]
    LAG.remove("clean", "imu.raw", "0")
