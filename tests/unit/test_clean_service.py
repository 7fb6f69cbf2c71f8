"""What clean does when the group gives it partitions, or takes them."""

import threading
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from headrace import kafka
from headrace.config import Config
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

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: []


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
    cleaner = service._Cleaner(config, ("imu",), health, cast("Registry", stub), consumer, patience)
    stub.on["on_assign"](stub, here)
    cleaner._begin()
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
