"""Mosquitto's own figures below $SYS, as metrics for Prometheus: messages that it drops and messages that it holds.

    python -m headrace.operate.brokermetrics --config headrace.yaml --port 8080

The MQTT user needs the right to read `$SYS/broker/#`. Mosquitto 2.0 publishes its figures once a minute, and again only
those that have changed: a figure without a change since this process started is absent, not zero.
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
from pydantic import ValidationError

from headrace import mqtt
from headrace.config import Config
from headrace.config.connect import Mqtt
from headrace.config.model import Http
from headrace.errors import TransientError
from headrace.mqtt import Connection, Session, Subscription
from headrace.runtime.health import Health
from headrace.runtime.service import run_service

log = logging.getLogger(__name__)

PREFIX = "$SYS/broker/"
_PAUSE_SECONDS = 5.0
_KEEPALIVE_SECONDS = 15
_IN_FLIGHT = 1_000
_PAYLOAD_BYTES = 64 * 1024


class Figure(NamedTuple):
    """A metric: its name and its help."""

    name: str
    help: str
    counter: bool


# By topic below PREFIX. Counted since Mosquitto started; its own $SYS messages are among those sent and held.
FIGURES = {
    "publish/messages/dropped": Figure(
        "headrace_broker_messages_dropped", "Messages dropped because a client's queue was full", True
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


class Figures(Collector):
    """The newest value of each figure that the broker has published on this connection."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def take(self, topic: str, payload: bytes) -> None:
        """Take a message in which the broker reports a figure; skip unknown ones."""
        key = topic.removeprefix(PREFIX)
        if key in FIGURES:
            with contextlib.suppress(ValueError):
                self._values = {**self._values, key: float(payload)}

    def forget(self) -> None:
        """The connection is gone: no figure is known any more."""
        self._values = {}

    def collect(self) -> Iterator[Metric]:
        """One metric family for each known figure."""
        for key, value in self._values.items():
            name, words, counter = FIGURES[key]
            yield (CounterMetricFamily if counter else GaugeMetricFamily)(name, words, value=value)


def main(http: Http, config: Config, stop: threading.Event) -> None:
    """Listen to the broker and serve /metrics until `stop` is set. ConfigError when the broker refuses the client."""
    figures = Figures()
    REGISTRY.register(figures)
    try:
        with Health(http, ("mqtt",)) as health:
            log.info("starting", extra={"http_port": health.port})
            asyncio.run(_run(config.mqtt, figures, health, stop))
    finally:
        REGISTRY.unregister(figures)


async def _run(cfg: Mqtt, figures: Figures, health: Health, stop: threading.Event) -> None:
    listening = asyncio.ensure_future(_listen(cfg, figures, health))
    while not (stop.is_set() or listening.done()):
        health.progress()
        await asyncio.wait({listening}, timeout=0.5)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening


async def _listen(cfg: Mqtt, figures: Figures, health: Health) -> None:
    # A session of its own, which ends with the connection: the broker queues nothing for it.
    session = Session(
        f"headrace-metrics-{secrets.token_hex(4)}", 0, _KEEPALIVE_SECONDS, _IN_FLIGHT, max_payload=_PAYLOAD_BYTES
    )
    while True:
        try:
            await _take_all(await mqtt.connect(cfg, session), figures, health)
        except TransientError as e:
            figures.forget()
            health.ready("mqtt", ok=False, why=str(e))
            log.warning("no MQTT connection", extra={"error": str(e), "again_in_seconds": _PAUSE_SECONDS})
            await asyncio.sleep(_PAUSE_SECONDS)


async def _take_all(connection: Connection, figures: Figures, health: Health) -> None:
    """Take what comes on one connection, until TransientError ends it."""
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
                    figures.take(packet.topic, bytes(packet.payload or b""))
                connection.acknowledge(p.packet_id for p in packets if p.packet_id is not None)
                if connection.subscribed:
                    health.ready("mqtt", ok=True)
        await pinging
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
        connection.abort()


def command(argv: list[str]) -> int:
    """The process. Returns an exit code as `run_service` does."""
    parser = argparse.ArgumentParser(prog="broker-metrics", description="Mosquitto's $SYS figures for Prometheus")
    parser.add_argument("--config", type=Path, help="YAML file; HEADRACE_CONFIG and HEADRACE_* variables count too")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="to listen on; 0, the default, takes a free one")
    parser.add_argument("--token-file", type=Path, help="file of the bearer token for /metrics; open to all without")
    args = parser.parse_args(argv)
    try:
        http = Http(host=args.host, port=args.port, token_file=args.token_file)
    except ValidationError as e:
        parser.error(f"--token-file: {e.errors()[0]['msg'].removeprefix('Value error, ')}")
    rest = [] if args.config is None else ["--config", str(args.config)]
    return run_service("broker-metrics", partial(main, http), rest)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
