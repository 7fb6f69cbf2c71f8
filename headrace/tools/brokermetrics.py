"""What Mosquitto tells of itself below $SYS, as metrics for Prometheus: the messages it drops, and those it holds.

    python -m headrace.tools.brokermetrics --config headrace.yaml --port 8080

The MQTT user must be let read `$SYS/broker/#`. Mosquitto 2.0 keeps what it tells for a minute, and repeats only what
has changed: a figure that has not changed since this process started is absent, not zero.
"""

import argparse
import asyncio
import contextlib
import logging
import secrets
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace import mqtt
from headrace.config import Config
from headrace.config.connect import Mqtt
from headrace.config.model import Http
from headrace.errors import TransientError
from headrace.health import Health
from headrace.mqtt import Connection, Session, Subscription
from headrace.service import run_service

log = logging.getLogger(__name__)

PREFIX = "$SYS/broker/"
_PAUSE_SECONDS = 5.0
_KEEPALIVE_SECONDS = 15
_IN_FLIGHT = 1_000
_PAYLOAD_BYTES = 64 * 1024


class Figure(NamedTuple):
    """A metric, and how it is called."""

    name: str
    help: str
    counter: bool


# By topic below PREFIX. Since Mosquitto started; its own $SYS messages count among those sent and held.
FIGURES = {
    "publish/messages/dropped": Figure(
        "headrace_broker_messages_dropped", "Messages that a client should have had and did not, its queue full", True
    ),
    "publish/messages/received": Figure("headrace_broker_messages_received", "Messages that devices published", True),
    "publish/messages/sent": Figure("headrace_broker_messages_sent", "Messages sent to subscribers", True),
    "bytes/received": Figure("headrace_broker_received_bytes", "Bytes received from clients", True),
    "bytes/sent": Figure("headrace_broker_sent_bytes", "Bytes sent to clients", True),
    "store/messages/count": Figure("headrace_broker_held_messages", "Messages queued, in flight or retained", False),
    "store/messages/bytes": Figure("headrace_broker_held_bytes", "Payload bytes of the messages held", False),
    "retained messages/count": Figure("headrace_broker_retained_messages", "Retained messages, $SYS's own too", False),
    "clients/connected": Figure("headrace_broker_clients_connected", "Clients connected, this one included", False),
    "clients/disconnected": Figure(
        "headrace_broker_clients_away", "Sessions kept for clients that are not connected", False
    ),
}


class Told(Collector):
    """The newest of each figure that the broker has told on this connection."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def take(self, topic: str, payload: bytes) -> None:
        """A message of the broker's about itself; one that is no known figure is passed over."""
        key = topic.removeprefix(PREFIX)
        if key in FIGURES:
            with contextlib.suppress(ValueError):
                self._values = {**self._values, key: float(payload)}

    def forget(self) -> None:
        """The connection is gone: nothing is known now."""
        self._values = {}

    def collect(self) -> Iterator[Metric]:
        """One family for each figure that is known."""
        for key, value in self._values.items():
            name, words, counter = FIGURES[key]
            yield (CounterMetricFamily if counter else GaugeMetricFamily)(name, words, value=value)


def main(http: Http, config: Config, stop: threading.Event) -> None:
    """Listen to the broker and serve /metrics until `stop` is set. ConfigError where the broker refuses the client."""
    told = Told()
    REGISTRY.register(told)
    try:
        with Health(http, ("mqtt",)) as health:
            log.info("starting", extra={"http_port": health.port})
            asyncio.run(_run(config.mqtt, told, health, stop))
    finally:
        REGISTRY.unregister(told)


async def _run(cfg: Mqtt, told: Told, health: Health, stop: threading.Event) -> None:
    listening = asyncio.ensure_future(_listen(cfg, told, health))
    while not (stop.is_set() or listening.done()):
        health.progress()
        await asyncio.wait({listening}, timeout=0.5)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening


async def _listen(cfg: Mqtt, told: Told, health: Health) -> None:
    # A session of its own, which ends with its connection: nothing is queued for it.
    session = Session(
        f"headrace-metrics-{secrets.token_hex(4)}", 0, _KEEPALIVE_SECONDS, _IN_FLIGHT, max_payload=_PAYLOAD_BYTES
    )
    while True:
        try:
            await _take_all(await mqtt.connect(cfg, session), told, health)
        except TransientError as e:
            told.forget()
            health.ready("mqtt", ok=False, why=str(e))
            log.warning("no MQTT connection", extra={"error": str(e), "again_in_seconds": _PAUSE_SECONDS})
            await asyncio.sleep(_PAUSE_SECONDS)


async def _take_all(connection: Connection, told: Told, health: Health) -> None:
    """What comes on one connection, until TransientError ends it."""
    pinging = asyncio.ensure_future(connection.keep_alive())
    try:
        connection.subscribe([Subscription(f"{PREFIX}#", 1)])
        while not pinging.done():
            reading = asyncio.ensure_future(connection.receive())
            try:
                await asyncio.wait({reading, pinging}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not reading.done():
                    reading.cancel()
            if reading.done():
                packets = reading.result()
                for packet in packets:
                    told.take(packet.topic, bytes(packet.payload or b""))
                connection.acknowledge(p.packet_id for p in packets if p.packet_id is not None)
                if connection.subscribed:
                    health.ready("mqtt", ok=True)
        await pinging
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
        connection.abort()


def command(argv: list[str]) -> int:
    """The process: its exit codes are `run_service`'s."""
    parser = argparse.ArgumentParser(prog="broker-metrics", description="Mosquitto's $SYS figures for Prometheus")
    parser.add_argument("--config", type=Path, help="YAML file; HEADRACE_CONFIG and HEADRACE_* variables count too")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="to listen on; 0, the default, takes a free one")
    args = parser.parse_args(argv)
    http = Http(host=args.host, port=args.port)
    rest = [] if args.config is None else ["--config", str(args.config)]
    return run_service("broker-metrics", partial(main, http), rest)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
