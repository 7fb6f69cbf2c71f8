"""The bridge's start: what it needs of Kafka for itself is waited for, too."""

import asyncio
import threading
from typing import Any, cast

import pytest

from bridge import service, startup
from bridge.routing import Plan
from bridge.startup import Work
from headrace.config import Config
from headrace.config.model import Http
from headrace.errors import FatalError, TransientError
from headrace.health import Health


class Routes:
    """Stands for a plan."""

    subscriptions = ()


def test_a_producer_that_can_not_be_made_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, waits = [], []

    class Bridge:
        def __init__(self, *_: Any) -> None:
            threads.append(threading.current_thread())
            if len(threads) < 3:
                waits.append(health.is_ready()[1]["checks"]["kafka"])
                raise TransientError("no token")

        async def run(self, _stopped: asyncio.Event) -> None:
            raise FatalError("it runs")

    async def find(*_: Any) -> None:
        health.ready("kafka", ok=True)

    monkeypatch.setattr(startup, "find", find)
    monkeypatch.setattr(startup, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(service, "Bridge", Bridge)
    with Health(Http(), ("kafka",)) as health, pytest.raises(FatalError, match="it runs"):
        asyncio.run(service._main(Config(), Work(cast("Plan", Routes()), {}), threading.Event(), health))
    assert waits == ["ok", "no token"]
    assert threading.main_thread() not in threads, "the loop goes on meanwhile"
