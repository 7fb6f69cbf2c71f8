"""The bridge's MQTT session over several connections, with connections that are scripted."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, cast

import pytest

from bridge import registering, routing
from bridge.departure import Departure
from bridge.edgenodes.asking import Rebirths
from bridge.edgenodes.memory import EdgeNodes
from bridge.intake import Intake
from bridge.sessions import Sessions
from headrace import mqtt
from headrace.config import Config
from headrace.config.model import Http
from headrace.contracts.files import find
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.mqtt import PublishPacket, Subscription
from headrace.mqtt.packets import Terms
from headrace.runtime import backoff
from headrace.runtime.health import Health
from headrace.runtime.metrics import BRIDGE_SESSIONS_LOST

CONFIG = Config.model_validate({"streams": {"imu": {"routes": ["sensors/{device_id}/imu"]}}})


class Scripted:
    """As a `Connection`, as far as a session sees it: ends with `error` at the first `receive`."""

    def __init__(self, error: Exception, *, hung_up: bool = False, present: bool = True) -> None:
        self.terms = Terms(present, 3600, 30, True, True)
        self.hung_up = hung_up
        self.subscribed = True
        self.silent_seconds = 0.0
        self.filters: list[str] = []
        self.aborted = False
        self._error = error

    def subscribe(self, wanted: Iterable[Subscription], unwanted: Iterable[str] = ()) -> None:
        self.filters += [s.filter for s in wanted]

    async def receive(self) -> Sequence[PublishPacket]:
        raise self._error

    async def keep_alive(self) -> NoReturn:
        await asyncio.sleep(3600)
        raise AssertionError

    def abort(self) -> None:
        self.aborted = True


def run(monkeypatch: pytest.MonkeyPatch, *connections: Scripted) -> None:
    """Run a session that gets these connections, one after another."""
    left = list(connections)

    async def connect(*_: Any) -> Scripted:
        return left.pop(0)

    monkeypatch.setattr(mqtt, "connect", connect)
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.001)
    with Health(Http(), ("mqtt",)) as health:
        intake = cast("Intake", None)  # no message comes
        rebirths = Rebirths(60)
        edges = EdgeNodes(1, rebirths.want, rebirths.born)
        it = Sessions(CONFIG, routing.build(CONFIG), {}, intake, Departure(), health, edges, rebirths)
        asyncio.run(it.run())


def lost() -> float:
    return float(BRIDGE_SESSIONS_LOST._value.get())


def test_after_a_broken_connection_the_session_is_taken_up_on_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lost()
    first, second = Scripted(TransientError("broke"), present=False), Scripted(ConfigError("refused"))
    with pytest.raises(ConfigError, match="refused"):
        run(monkeypatch, first, second)
    assert first.filters == second.filters == ["sensors/+/imu"]
    assert first.aborted
    assert second.aborted
    assert lost() == before, "a first start has no session yet"


def test_a_session_that_the_broker_has_forgotten_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lost()
    with pytest.raises(ConfigError):
        run(monkeypatch, Scripted(TransientError("broke")), Scripted(ConfigError("refused"), present=False))
    assert lost() == before + 1


def test_a_broker_that_hangs_up_again_and_again_ends_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client with the same id would take the session back each time."""
    breaks = [Scripted(TransientError("closed"), hung_up=i != 1) for i in range(4)]
    with pytest.raises(FatalError, match="ended the connection 3 times in 0 s"):
        run(monkeypatch, *breaks)
    assert all(c.aborted for c in breaks), "the one that broke in another way does not count"


class Keeping(Scripted):
    """A connection that brings what the broker has kept, and then answers a ping."""

    def __init__(self, *kept: PublishPacket) -> None:
        super().__init__(TransientError("over"))
        self._kept = list(kept)
        self._sent = asyncio.Event()
        self.live: set[bool] = set()

    def subscribe(self, wanted: Iterable[Subscription], unwanted: Iterable[str] = ()) -> None:
        wanted = list(wanted)
        self.live = {s.live for s in wanted}
        super().subscribe(wanted, unwanted)

    async def receive(self) -> Sequence[PublishPacket]:
        if self._sent.is_set():
            await asyncio.sleep(3600)
        self._sent.set()
        return self._kept

    async def ping(self, seconds: float) -> None:
        assert seconds > 60, "there may be many"
        await self._sent.wait()

    async def disconnect(self, *, forget: bool) -> None:
        assert forget


def test_kept_sync_messages_are_asked_for_before_the_session_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    route = {"filter": "sensors/{device_id}/imu", "sync": {"filter": "sync/{device_id}"}}
    config = Config.model_validate({"streams": {"imu": {"routes": [route]}}})
    made = routing.build(config)
    decoders = registering.decoders(made, {"imu": find("imu", ())}, {"imu": 7}, {})
    said = b'{"uptime": 5, "time": 1700000005, "boot": 7}'
    kept = [mqtt.PublishPacket(topic, said, retain=True) for topic in ("sync/w", "sync/a.b", "other")]
    connections = [Keeping(*kept), Scripted(TransientError("broke")), Keeping(), Scripted(ConfigError("refused"))]
    names: list[str] = []

    async def connect(_: Any, session: mqtt.Session) -> Scripted:
        names.append(session.client_id)
        return connections[len(names) - 1]

    monkeypatch.setattr(mqtt, "connect", connect)
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.001)
    rebirths = Rebirths(60)
    edges = EdgeNodes(1, rebirths.want, rebirths.born)
    with Health(Http(), ("mqtt",)) as health:
        it = Sessions(config, made, decoders, cast("Intake", None), Departure(), health, edges, rebirths)
        with pytest.raises(ConfigError, match="refused"):
            asyncio.run(it.run())
    first, second = connections[0], connections[1]
    assert isinstance(first, Keeping)
    assert (first.filters, first.live, first.aborted) == (["sync/+"], {True}, True)
    assert second.filters == ["sensors/+/imu", "sync/+"]
    assert [name.startswith("headrace-bridge-sync-") for name in names] == [True, False, True, False]
    (told,) = [r.starts for r in made.routes if r.sync is not None]
    assert told is not None
    assert told.of("w", "7") == 1_700_000_000_000_000
