"""When a leaving bridge's session counts as empty."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from bridge import departure
from bridge.delivery import Link
from bridge.departure import Departure
from headrace.errors import FatalError
from headrace.mqtt import Connection


class Broker:
    """What a departure needs of a connection. `on_ping` is called with the number of each ping, before its answer."""

    def __init__(self, on_ping: Callable[[int], None]) -> None:
        self.pings = 0
        self.unsubscribed: list[str] = []
        self._on_ping = on_ping

    async def unsubscribe(self, filters: list[str]) -> None:
        self.unsubscribed += filters

    async def ping(self) -> None:
        self.pings += 1
        self._on_ping(self.pings)


def depart(monkeypatch: pytest.MonkeyPatch, act: Callable[[int, Departure, Link], None]) -> int:
    """How many pings it took, where `act` plays what comes and what Kafka takes meanwhile."""
    monkeypatch.setattr(departure, "_ROUND_SECONDS", 0)

    async def main() -> int:
        leaving = Departure()
        leaving.wanted.set()
        broker = Broker(lambda n: act(n, leaving, link))
        link = Link(cast("Connection", cast("Any", broker)))
        await asyncio.wait_for(leaving.depart(link, ["$share/g/a"]), 5)
        assert broker.unsubscribed == ["$share/g/a"]
        assert leaving.complete
        return broker.pings

    return asyncio.run(main())


def test_three_answers_without_a_message_are_an_empty_session(monkeypatch: pytest.MonkeyPatch) -> None:
    assert depart(monkeypatch, lambda *_: None) == 3


def test_a_message_that_comes_begins_the_count_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert depart(monkeypatch, lambda n, leaving, _: leaving.took(n == 3)) == 6


def test_what_is_not_acknowledged_holds_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(n: int, leaving: Departure, link: Link) -> None:
        if n == 1:
            leaving.took(1)
            link.window.hand_out(7)
        if n == 10:  # in Kafka at last, and acknowledged: the broker may send more only then
            link.window.finish(0)
            assert link.window.take() == [7]

    assert depart(monkeypatch, act) == 13


def test_a_session_that_is_lost_on_the_way_is_no_success() -> None:
    leaving = Departure()
    leaving.met(session_present=True, first=True)
    leaving.met(session_present=False, first=False)  # not leaving: another's business
    leaving.check("bridge-0")
    leaving.wanted.set()
    with pytest.raises(FatalError, match="'bridge-0' stays"):
        leaving.check("bridge-0")
    with pytest.raises(FatalError, match="lost the session"):
        leaving.met(session_present=False, first=False)
