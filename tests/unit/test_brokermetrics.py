"""Mosquitto's own figures, from a broker of a few lines that tells them."""

import asyncio
import threading
from collections.abc import Callable

import mqtt5
import pytest
from prometheus_client import REGISTRY

from headrace.config import Config
from headrace.config.connect import Mqtt
from headrace.config.model import Http
from headrace.errors import ConfigError
from headrace.operate import brokermetrics
from headrace.operate.brokermetrics import FIGURES, PREFIX, Figures
from headrace.runtime.health import Health


def _samples(figures: Figures) -> dict[str, float]:
    return {s.name: s.value for family in figures.collect() for s in family.samples}


def test_figures_are_what_the_broker_told_last() -> None:
    figures = Figures()
    assert _samples(figures) == {}  # unknown, and not zero
    figures.take(f"{PREFIX}publish/messages/dropped", b"3")
    figures.take(f"{PREFIX}publish/messages/dropped", b"5")
    figures.take(f"{PREFIX}store/messages/count", b"41")
    assert _samples(figures) == {"headrace_broker_messages_dropped_total": 5, "headrace_broker_held_messages": 41}
    figures.forget()
    assert _samples(figures) == {}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("uptime", b"12 seconds"), ("store/messages/count", b"many"), ("load/bytes/sent/1min", b"1.5"), ("", b"1")],
)
def test_an_unknown_figure_is_skipped(topic: str, payload: bytes) -> None:
    figures = Figures()
    figures.take(PREFIX + topic, payload)
    assert _samples(figures) == {}


def test_every_figure_has_a_name_of_its_own() -> None:
    assert len({f.name for f in FIGURES.values()}) == len(FIGURES)
    assert all(f.name.startswith("headrace_broker_") for f in FIGURES.values())


def _broker(grant: mqtt5.SubAckReasonCode, acknowledged: list[int], end: asyncio.Event) -> Callable[..., object]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = bytearray()
        while chunk := await reader.read(4096):
            data += chunk
            while data:
                packet, size = mqtt5.read(memoryview(bytes(data)))
                del data[:size]
                if isinstance(packet, mqtt5.ConnectPacket):
                    writer.write(mqtt5.ConnAckPacket().write())
                elif isinstance(packet, mqtt5.SubscribePacket):
                    assert packet.topic_filters[0].pattern == "$SYS/broker/#"
                    writer.write(mqtt5.SubAckPacket(packet.packet_id, [grant]).write())
                    topic = f"{PREFIX}publish/messages/dropped"
                    one = mqtt5.PublishPacket(topic, b"7", qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=9)
                    writer.write(one.write())
                elif isinstance(packet, mqtt5.PubAckPacket):
                    acknowledged.append(packet.packet_id)
            if end.is_set():
                break
        writer.close()

    return serve


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if true():
            return
        await asyncio.sleep(0.01)


async def _against(grant: mqtt5.SubAckReasonCode, figures: Figures, health: Health, stop: threading.Event) -> list[int]:
    """Run the listener on such a broker until it has acknowledged, then hang up on it. Returns what it acknowledged."""
    acknowledged: list[int] = []
    end = asyncio.Event()
    server = await asyncio.start_server(_broker(grant, acknowledged, end), "127.0.0.1", 0)  # type: ignore[arg-type]
    running = asyncio.ensure_future(
        brokermetrics._run(Mqtt(port=server.sockets[0].getsockname()[1]), figures, health, stop)
    )
    try:
        await _until(lambda: running.done() or bool(acknowledged))
        if acknowledged:
            assert health.is_ready()[0]
            assert _samples(figures) == {"headrace_broker_messages_dropped_total": 7}
            end.set()
            await _until(lambda: not health.is_ready()[0])
        stop.set()
        await running
    finally:
        running.cancel()
        server.close()
    return acknowledged


def test_a_connection_tells_and_its_end_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokermetrics, "_KEEPALIVE_SECONDS", 2)
    figures, stop = Figures(), threading.Event()
    with Health(Http(), ("mqtt",)) as health:
        assert asyncio.run(_against(mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE, figures, health, stop)) == [9]
        assert not health.is_ready()[0]
    assert _samples(figures) == {}  # what the last connection figures may be wrong by now


def test_a_refused_subscription_ends_it_with_a_remedy() -> None:
    with Health(Http(), ("mqtt",)) as health, pytest.raises(ConfigError, match=r"Let this user read it"):
        asyncio.run(_against(mqtt5.SubAckReasonCode.NOT_AUTHORIZED, Figures(), health, threading.Event()))


def test_it_leaves_no_collector_behind() -> None:
    stop = threading.Event()
    stop.set()
    for _ in range(2):  # a second one of the same names would be refused
        brokermetrics.main(Http(), Config(), stop)
    assert not [family for family in REGISTRY.collect() if family.name.startswith("headrace_broker_")]
