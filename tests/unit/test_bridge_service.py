"""The bridge's start: what it needs of Kafka for itself is waited for, too."""

import asyncio
import threading
from typing import Any

import pytest

from bridge import service, startup
from bridge.routing import Routing
from bridge.startup import Work
from headrace.config import Config
from headrace.config.model import Http
from headrace.errors import FatalError, TransientError
from headrace.runtime import backoff
from headrace.runtime.health import Health


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
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(service, "Bridge", Bridge)
    with Health(Http(), ("kafka",)) as health, pytest.raises(FatalError, match="it runs"):
        asyncio.run(service._main(Config(), Work(Routing((), (), (), (), ()), {}), threading.Event(), health))
    assert waits == ["ok", "no token"]
    assert threading.main_thread() not in threads, "the loop goes on meanwhile"
