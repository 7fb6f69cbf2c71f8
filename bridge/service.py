"""The bridge's lifetime: connect, carry, reconnect, drain. One event loop; Kafka's own threads do the sending."""

import asyncio
import gc
import logging
import signal
import threading
from collections import deque
from collections.abc import Awaitable
from typing import NoReturn

import orjson

from bridge import startup
from bridge.delivery import Delivery, Link
from bridge.departure import LEAVE_SECONDS, Departure
from bridge.intake import Intake
from bridge.letters import Shelf
from bridge.startup import Servers, Work
from headrace import deadletters, mqtt, sharing
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.health import Health
from headrace.kafkawatch import KafkaWatch
from headrace.metrics import BRIDGE_CONNECTIONS, BRIDGE_SESSIONS_LOST
from headrace.mqtt import Connection, Session

log = logging.getLogger(__name__)

DRAIN_SECONDS = 15.0  # for what is in flight when told to end; orchestrators give 30
WATCH_SECONDS = 5.0
_SLOW_SECONDS = 3.0
_SILENT_SECONDS = 7.0
_RIVAL_LOSSES, _RIVAL_SECONDS = 3, 60.0
_GC_THRESHOLDS = (50_000, 50, 100)
_STEADY_SECONDS = 30.0  # a connection that held as long starts the back-off anew


def main(config: Config, stop: threading.Event) -> None:
    """Carry messages until `stop` is set. What the configuration says is checked before any connection."""
    work = startup.check(config)
    with Health(config.bridge.http, ("kafka", "registry", "mqtt")) as health:
        asyncio.run(_main(config, work, stop, health))


def drain(config: Config, stop: threading.Event) -> None:
    """Take over the session of `bridge.client_id`, carry what waits in it, end it, and print what that was.

    TransientError, FatalError: it is not at its end; the session stays, and the same command goes on.
    """
    work = startup.check(config)
    http = config.bridge.http.model_copy(update={"port": 0})  # the configured one may be a running bridge's
    with Health(http, ("kafka", "registry", "mqtt")) as health:
        departure = asyncio.run(_main(config, work, stop, health, leave=True))
    told = {"client_id": config.bridge.client_id, "found": departure.found, "messages": departure.messages}
    print(orjson.dumps(told).decode(), flush=True)


async def _main(config: Config, work: Work, stop: threading.Event, health: Health, *, leave: bool = False) -> Departure:
    """Carry messages until told to end; `leave`: only those that wait in the session, which then ends."""
    loop = asyncio.get_running_loop()
    stopped, departure = asyncio.Event(), Departure()

    def end() -> None:
        if not config.bridge.leave or leave or departure.wanted.is_set():
            stopped.set()
            return
        departure.wanted.set()
        loop.call_later(LEAVE_SECONDS, stopped.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if stop.is_set():
        return departure
    log.info("starting", extra={"health_port": health.port, "filters": [s.filter for s in work.plan.subscriptions]})
    if leave:
        departure.wanted.set()
    elif config.bridge.shared_group:
        log.warning(sharing.ORDER)
    bridge: list[Bridge] = []

    async def begin() -> None:
        found = await startup.find(config, work, health)
        # On a thread: its Kafka client may have to wait for a token.
        made = await startup.until_there(
            "kafka", health, lambda: asyncio.to_thread(Bridge, config, work, found, health, departure)
        )
        bridge.append(made)

    async def beat() -> None:  # while waiting for servers the loop is well, though not ready
        while True:
            health.progress()
            await asyncio.sleep(1)

    await first_of(begin(), beat(), stopped.wait())
    # What is in flight are hundreds of thousands of small objects without cycles: by default the collector looks at
    # them again and again, for 4 us a message.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    if bridge:
        await bridge[0].run(stopped)
    departure.check(config.bridge.client_id)
    return departure


class Bridge:
    """The bridge, once its servers have been found."""

    def __init__(self, config: Config, work: Work, servers: Servers, health: Health, departure: Departure) -> None:
        b = config.bridge
        self._config = config
        self._plan = work.plan
        self._servers = servers
        self._health = health
        self._departure = departure
        self._session = Session(
            b.client_id, b.session_expiry_seconds, b.keepalive_seconds, b.receive_maximum, b.max_payload_bytes
        )
        raw_limit = min(servers.raw_limits.values(), default=config.max_message_bytes)
        self._delivery = Delivery(config, raw_limit, deadletters.max_letter_bytes(config), self._kafka_error)
        self._shelf = Shelf(config)
        self._intake = Intake(config, work.plan, servers.decoders, servers.raw_limits, self._delivery, self._shelf)
        self._link: Link | None = None
        self._hung_up: deque[float] = deque(maxlen=_RIVAL_LOSSES)  # when the broker did
        self._connected_before = False
        self._kafka_well = True

    async def run(self, stopped: asyncio.Event) -> None:
        """Carry messages until `stopped`, then finish what is in flight. Raises what ended it early."""
        self._health.ready("kafka", ok=True)
        with KafkaWatch(self._config.kafka, self._health, lambda: {"producing": self._delivery.producer}):
            await first_of(self._delivery.run(self._progress), self._watch_kafka(), self._carry(stopped))

    async def _carry(self, stopped: asyncio.Event) -> None:
        try:
            await first_of(self._sessions(), stopped.wait())
            await self._drain()
        finally:
            await self._shelf.close()
            if self._link is not None:
                self._link.connection.abort()

    async def _drain(self) -> None:
        log.info("ending: finishing what is in flight", extra={"records": self._delivery.in_flight})
        # A broker ends a connection that is silent for 1.5 keepalives, and the last PUBACKs would find it gone.
        pinging = asyncio.ensure_future(self._link.connection.keep_alive()) if self._link is not None else None
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._shelf.idle()
                await self._delivery.drain()
        except TimeoutError:
            log.warning("not everything was stored in time: the rest stays with the MQTT broker, unacknowledged")
        finally:
            if pinging is not None:
                pinging.cancel()
                await asyncio.gather(pinging, return_exceptions=True)
        if self._link is not None:
            await self._link.connection.disconnect(forget=self._departure.complete)

    def _progress(self) -> None:
        self._health.progress()
        self._health.detail("in_flight", self._delivery.in_flight)

    async def _sessions(self) -> None:
        """Connect and receive, again and again; returns when the departure is complete."""
        pauses = startup.pauses()
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._receive(await self._connect())
            except TransientError as e:
                now = asyncio.get_running_loop().time()
                self._look_for_rival(now)
                if now - began > _STEADY_SECONDS:
                    pauses = startup.pauses()
                pause = next(pauses)
                self._health.ready("mqtt", ok=False, why=str(e))
                log.warning("no MQTT connection", extra={"error": str(e), "again_in_seconds": round(pause, 1)})
                await asyncio.sleep(pause)
            else:
                return

    async def _connect(self) -> Connection:
        """A connection; where a broker is slow to answer, /readyz and the log tell who is waited for."""
        m = self._config.mqtt

        def tell() -> None:
            words = f"MQTT broker {m.host}:{m.port}: no answer yet"
            self._health.ready("mqtt", ok=False, why=words)
            log.warning("no MQTT connection", extra={"error": words})

        slow = asyncio.get_running_loop().call_later(_SLOW_SECONDS, tell)
        try:
            return await mqtt.connect(m, self._session)
        finally:
            slow.cancel()

    def _look_for_rival(self, now: float) -> None:
        """FatalError when the broker keeps hanging up and taking us back: two clients take the session from each other.

        A broker should say so (0x8E), but Mosquitto 2.0.11 says nothing. One that restarts as often looks the same; to
        begin anew is right then too, and loses nothing.
        """
        if self._link is None or not self._link.connection.hung_up:
            return
        self._link.connection.hung_up = False
        self._hung_up.append(now)
        if len(self._hung_up) == _RIVAL_LOSSES and now - self._hung_up[0] < _RIVAL_SECONDS:
            raise FatalError(
                f"the MQTT broker ended the connection {_RIVAL_LOSSES} times in {now - self._hung_up[0]:.0f} s: "
                f"another client probably uses the session {self._session.client_id!r}. Run one bridge a client id"
            )

    async def _receive(self, connection: Connection) -> None:
        """One connection, until nothing more can come by it: the departure is complete, or it raises why.

        At its end and when it is cancelled the connection stays open: there may be PUBACKs to send.
        """
        link = self._link = self._delivery.link = Link(connection)
        BRIDGE_CONNECTIONS.inc()
        self._look_at_session(connection)
        filters = [*(s.filter for s in self._plan.subscriptions), *self._plan.unwanted]
        if not self._departure.wanted.is_set():
            connection.subscribe(self._plan.subscriptions, self._plan.unwanted)
        try:
            await first_of(
                self._read(link),
                connection.keep_alive(),
                self._departure.depart(link, filters),
                self._watch_broker(connection),
            )
        except Exception:
            connection.abort()
            raise

    async def _read(self, link: Link) -> None:
        ready = False
        while True:
            packets = await link.connection.receive()
            if not ready and link.connection.subscribed:
                ready = True
                self._health.ready("mqtt", ok=True)
                log.info("receiving", extra={"session_present": link.connection.session_present})
            if packets:
                self._departure.took(len(packets))
                await self._intake.take(link, packets)
                await asyncio.sleep(0)  # the socket may hold more than the loop could ever read: let others run

    async def _watch_broker(self, connection: Connection) -> NoReturn:
        while True:
            await asyncio.sleep(1)
            silent = connection.silent_seconds
            if connection.subscribed:
                why = f"the MQTT broker has been silent for {silent:.0f} s, to pings too"
                self._health.ready("mqtt", ok=silent < _SILENT_SECONDS, why=why)

    def _look_at_session(self, connection: Connection) -> None:
        if connection.session_expiry < self._session.expiry:
            log.warning(
                "the MQTT broker keeps the session for a shorter time than asked for",
                extra={"seconds": connection.session_expiry, "asked": self._session.expiry},
            )
        if not connection.identifiers:
            log.warning("the MQTT broker has no subscription identifiers: overlapping filters may bring copies")
        self._departure.met(session_present=connection.session_present, first=not self._connected_before)
        if not connection.session_present:
            if self._connected_before:
                BRIDGE_SESSIONS_LOST.inc()
                log.error("the MQTT broker has lost the session: what it held for the bridge is gone")
            else:  # a first start and a lost session look the same from here
                log.info("a new MQTT session: what was published before now and not retained does not come")
        self._connected_before = True

    async def _watch_kafka(self) -> None:
        """Ask Kafka for its topics now and then: is it there, and has nobody changed the partitions?"""
        while True:
            wanted = self._servers.partitions
            try:
                found = await asyncio.to_thread(self._delivery.partitions, wanted)
                if missing := [t for t in wanted if t not in found]:
                    raise TransientError(f"Kafka does not tell of the topic {', '.join(missing)}")
            except TransientError as e:
                self._health.ready("kafka", ok=False, why=str(e))
                self._kafka_error(str(e))
            else:
                for topic, count in found.items():
                    if count != wanted[topic]:
                        raise FatalError(f"topic {topic} has {count} partitions now, and had {wanted[topic]}")
                self._health.ready("kafka", ok=True)
                if not self._kafka_well:
                    log.info("Kafka is back")
                self._kafka_well = True
            await asyncio.sleep(WATCH_SECONDS)

    def _kafka_error(self, words: str) -> None:
        if self._kafka_well:
            log.warning("Kafka is away: nothing is acknowledged until it is back", extra={"error": words})
        self._kafka_well = False


async def first_of(*work: Awaitable[object]) -> None:
    """Run all until the first ends, and cancel the others. Raises what that one raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
