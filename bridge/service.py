"""The bridge's lifetime: start, carry, drain. One event loop; Kafka's own threads do the sending."""

import asyncio
import gc
import logging
import signal
import threading
from typing import NoReturn

import orjson

from bridge import startup
from bridge.beside import beside
from bridge.delivery import Delivery
from bridge.departure import LEAVE_SECONDS, Departure
from bridge.edgenodes.asking import Rebirths
from bridge.edgenodes.memory import EdgeNodes
from bridge.intake import Intake
from bridge.lanes import Lanes
from bridge.letters import Shelf
from bridge.sessions import Sessions
from bridge.startup import Servers, Work
from bridge.topicwatch import TopicWatch
from headrace import deadletters
from headrace.config import Config
from headrace.kafka.watch import KafkaWatch
from headrace.protocol import sharing
from headrace.runtime.health import Health
from headrace.runtime.metrics import BRIDGE_IN_FLIGHT, BRIDGE_UNACKNOWLEDGED

log = logging.getLogger(__name__)

DRAIN_SECONDS = 15.0  # for what is in flight at the end; orchestrators give 30
_GC_THRESHOLDS = (50_000, 50, 100)
_CHECKS = ("kafka", "registry", "mqtt")


def main(config: Config, stop: threading.Event) -> None:
    """Carry messages until `stop` is set. ConfigError before any connection for a certificate that can't be read."""
    work = startup.prepare(config)
    with Health(config.bridge.http, _CHECKS) as health:
        asyncio.run(_main(config, work, stop, health))


def drain(config: Config, stop: threading.Event) -> None:
    """Take over the session of `bridge.client_id`, carry what waits in it, end it, and print what that was.

    TransientError, FatalError: something still waits in the session. It stays; the same command goes on with it.
    """
    work = startup.prepare(config)
    http = config.bridge.http.model_copy(update={"port": 0})  # the configured one may be a running bridge's
    with Health(http, _CHECKS) as health:
        departure = asyncio.run(_main(config, work, stop, health, leave=True))
    done = {"client_id": config.bridge.client_id, "found": departure.found, "messages": departure.messages}
    print(orjson.dumps(done).decode(), flush=True)


async def _main(config: Config, work: Work, stop: threading.Event, health: Health, *, leave: bool = False) -> Departure:
    """Carry messages until a signal; with `leave` only those that wait in the session, which then ends."""
    loop = asyncio.get_running_loop()
    stopped, departure = asyncio.Event(), Departure()

    def finish() -> None:
        stopped.set()
        starting.cancel()

    def end() -> None:
        if not config.bridge.leave or leave or departure.wanted.is_set():
            finish()
        else:
            departure.wanted.set()
            loop.call_later(LEAVE_SECONDS, finish)

    starting = asyncio.create_task(_start(config, work, health, departure))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if stop.is_set():
        starting.cancel()
        return departure
    log.info("starting", extra={"health_port": health.port, "filters": [s.filter for s in work.routing.subscriptions]})
    if leave:
        departure.wanted.set()
    elif config.bridge.shared_group:
        log.warning(sharing.ORDER_WARNING)
    async with beside(_beat(health)):
        await asyncio.wait([starting])
    if not starting.cancelled():
        bridge = starting.result()
        # What is in flight are hundreds of thousands of small objects without cycles: by default the collector looks
        # at them again and again, for 4 us a message.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await bridge.run(stopped)
    departure.check(config.bridge.client_id)
    return departure


async def _start(config: Config, work: Work, health: Health, departure: Departure) -> "Bridge":
    servers = await startup.find(config, work, health)

    def make() -> Bridge:
        return Bridge(config, work, servers, health, departure)

    # On a thread: its Kafka client may have to wait for a token.
    return await startup.until_there("kafka", health, lambda: asyncio.to_thread(make))


async def _beat(health: Health) -> NoReturn:
    """While the bridge waits for servers it is alive, though not ready."""
    while True:
        health.progress()
        await asyncio.sleep(1)


class Bridge:
    """The bridge, once its servers have been found."""

    def __init__(self, config: Config, work: Work, servers: Servers, health: Health, departure: Departure) -> None:
        self._config = config
        self._health = health
        self._topics = TopicWatch(servers.partitions, health)
        raw_limit = min(servers.raw_limits.values(), default=config.max_message_bytes)
        self._delivery = Delivery(config, raw_limit, deadletters.max_letter_bytes(config), self._topics.away)
        self._shelf = Shelf(config)
        lanes = Lanes(work.routing, servers.decoders, servers.raw_limits)
        rebirths = Rebirths(config.bridge.rebirth_seconds)
        edges = EdgeNodes(config.bridge.births_bytes, rebirths.want, rebirths.born)
        intake = Intake(config, lanes, self._delivery, self._shelf, edges)
        self._sessions = Sessions(config, work.routing, servers.decoders, intake, departure, health, edges, rebirths)

    async def run(self, stopped: asyncio.Event) -> None:
        """Carry messages until `stopped` is set, then finish what is in flight. Raises what ended it early."""
        self._health.ready("kafka", ok=True)
        with KafkaWatch(self._config.kafka, self._health, lambda: {"producing": self._delivery.producer}):
            async with beside(self._delivery.run(self._progress), self._topics.run(self._delivery.partitions)):
                await self._carry(stopped)

    async def _carry(self, stopped: asyncio.Event) -> None:
        async def receive() -> None:
            await self._sessions.run()
            stopped.set()

        try:
            async with beside(receive()):
                await stopped.wait()
            log.info("ending: finishing what is in flight", extra={"records": self._delivery.in_flight})
            async with self._sessions.ending():
                await self._drain()
        finally:
            await self._shelf.close()
            self._sessions.abort()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._shelf.idle()
                await self._delivery.drain()
        except TimeoutError:
            log.warning("not everything was stored in time: the rest stays with the MQTT broker, unacknowledged")

    def _progress(self) -> None:
        link = self._sessions.link
        self._health.progress()
        self._health.detail("in_flight", self._delivery.in_flight)
        BRIDGE_IN_FLIGHT.set(self._delivery.in_flight)
        BRIDGE_UNACKNOWLEDGED.set(len(link.window) if link else 0)
