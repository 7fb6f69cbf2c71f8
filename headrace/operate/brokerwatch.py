"""Watches what devices do at the broker, and reports to hub who does too much: within a second, and while it lasts.

It listens at the services' listener to the broker's log, and at QoS 0 to all that devices publish. What that costs, and
why it is done so: docs/decisions/behaviour-rules.md. It has the broker forget what they publish with the retain flag:
nobody but the bridge may read it, and that has it already.
"""

import asyncio
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from headrace import mqtt
from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.mqtt import Connection, Session, Subscription
from headrace.mqtt.packets import PublishPacket
from headrace.operate.behaviour import Arrivals, Counts, Fact, Topics, subscriber
from headrace.runtime import backoff

log = logging.getLogger(__name__)

Report = Callable[[list[Fact]], list[str]]

LOG = "$SYS/broker/log/"
SUBSCRIBED = f"{LOG}M/subscribe"
REPORT_SECONDS = 10.0  # between two reports of who is still over a limit; who has just gone over is reported at once
MOST = 200  # facts in a report
_PAUSE_SECONDS = 2.0
# A broker that saves a long queue answers nobody for ten seconds and more, and a flood makes it long. While the agent
# hangs, the broker keeps for it all that comes: so it is to be cut off before long.
_KEEPALIVE_SECONDS = 20
_LOOK_SECONDS = 0.5
_STEADY_SECONDS = 60.0  # a connection that lasted so long was a good one


class DeviceWatch:
    """What devices do. `report` is told the facts, and returns who of them is shut out.

    It runs on a thread, and may raise HeadraceError.
    """

    def __init__(self, config: Config, report: Report) -> None:
        self._limits = config.hub.behaviour.limits()
        self._counts = Counts(self._limits)
        self._topics = Topics(config)
        self._arrivals = Arrivals(self._counts, config.mqtt.port)
        self._report = report
        self._reporting: asyncio.Task[list[str]] | None = None
        self._reported, self._not_before, self._urgent = 0.0, 0.0, False
        self._settled = False

    def begin(self) -> None:
        """There is a new connection: what came meanwhile was missed, and what was counted before still counts.

        Until `settle`, messages with the retain flag may be old ones that the broker has kept.
        """
        self._arrivals.forget()
        self._settled = False

    def settle(self) -> None:
        """What the broker has kept from before has come."""
        self._settled = True

    def subscriptions(self) -> list[Subscription]:
        """What to listen to: the messages only where a rule is about them."""
        published = bool(self._limits.keys() & {"bytes", "messages", "unrouted"})
        wanted = [*(self._topics.filters if published else []), f"{LOG}#"]
        return [Subscription(text, number, live=True) for number, text in enumerate(wanted, 1)]

    def take(self, packets: Iterable[PublishPacket], now: float) -> set[str]:
        """Count what has come; returns the topics whose retained messages the broker is to forget.

        Counted together for each identity: under a flood thousands come at once.
        """
        retained = set[str]()
        bytes_, messages, unrouted = Counter[str](), Counter[str](), Counter[str]()
        for packet in packets:
            if packet.topic.startswith(LOG):
                self._line(packet.topic, bytes(packet.payload or b"").decode("utf-8", "replace"), now)
                continue
            if packet.retain and packet.payload:
                if not self._topics.keeps(packet.topic):
                    retained.add(packet.topic)
                if not self._settled:
                    continue
            found = self._topics.of(packet.topic)
            if found is None or (packet.subscription_ids and packet.subscription_ids[0] != found[0] + 1):
                continue
            _, who, routed = found
            messages[who] += 1
            bytes_[who] += len(packet.payload or b"") + len(packet.topic)
            if not routed:
                unrouted[who] += 1
        for rule, amounts in (("bytes", bytes_), ("messages", messages), ("unrouted", unrouted)):
            for who, amount in amounts.items():
                self._urgent = self._counts.add(rule, who, amount, now) or self._urgent
        return retained

    def _line(self, topic: str, line: str, now: float) -> None:
        if topic != SUBSCRIBED:
            self._urgent = self._arrivals.take(line, now) or self._urgent
        elif who := subscriber(line):
            self._urgent = self._counts.add("subscriptions", who, 1, now) or self._urgent

    def step(self, now: float) -> None:
        """Report where it is time. An empty report says that somebody watches."""
        self._urgent = self._arrivals.due(now) or self._urgent
        self._counts.forget(now)
        if self._reporting is not None:
            if not self._reporting.done():
                return
            told, self._reporting = self._reporting, None
            try:
                self._arrivals.shut.update(told.result())
            except HeadraceError as e:
                log.warning("not reported", extra={"error": str(e), "again_in_seconds": _PAUSE_SECONDS})
                self._urgent, self._not_before = True, now + _PAUSE_SECONDS
        if now >= self._not_before and (self._urgent or now - self._reported >= REPORT_SECONDS):
            self._urgent, self._reported = False, now
            facts = sorted(self._counts.over(), key=lambda f: -f.value / (self._limits[f.rule] + 1))[:MOST]
            self._reporting = asyncio.create_task(asyncio.to_thread(self._report, facts))

    async def end(self) -> None:
        """Wait for a report that is under way."""
        if self._reporting is not None:
            await asyncio.gather(self._reporting, return_exceptions=True)


class Watcher(threading.Thread):
    """Watches until it is halted. `configuration` gives the newest; `told` is what is wrong, "" when all is well."""

    def __init__(self, configuration: Callable[[], Config], report: Report, told: Callable[[str], None]) -> None:
        super().__init__(name="watch", daemon=True)
        self._configuration, self._report, self._told = configuration, report, told
        self._halt = threading.Event()
        self.failure: Exception | None = None  # why it has ended by itself

    def halt(self) -> None:
        """Come to an end."""
        self._halt.set()

    def run(self) -> None:
        """The life of the thread."""
        try:
            asyncio.run(self._live())
        except Exception as e:  # noqa: BLE001 - the agent ends with it: it must not go on without anybody who watches
            self.failure = e

    async def _live(self) -> None:
        config, pauses = self._configuration(), backoff.pauses()
        watch = DeviceWatch(config, self._report)
        while not self._halt.is_set():
            if self._configuration() is not config:
                config = self._configuration()
                watch = DeviceWatch(config, self._report)
            begun = time.monotonic()
            try:
                await self._connected(config, watch)
            except HeadraceError as e:
                if time.monotonic() - begun > _STEADY_SECONDS:
                    pauses = backoff.pauses()
                pause = next(pauses)
                self._told(str(e))
                log.warning("waiting", extra={"for": "watch", "error": str(e), "again_in_seconds": round(pause, 1)})
                await asyncio.to_thread(self._halt.wait, pause)

    async def _connected(self, config: Config, watch: DeviceWatch) -> None:
        """Watch on one connection until it ends, which HeadraceError says, or the configuration is another one."""
        name, most = f"headrace-agent-{secrets.token_hex(4)}", 2 * config.bridge.max_payload_bytes
        connection = await mqtt.connect(config.mqtt, Session(name, 0, _KEEPALIVE_SECONDS, 1_000, max_payload=most))
        watch.begin()
        pinging = asyncio.ensure_future(connection.keep_alive())
        reading = asyncio.ensure_future(_read(connection, watch))
        connection.subscribe(watch.subscriptions())
        settling = asyncio.ensure_future(_settle(connection, watch))
        try:
            log.info("watching", extra={"filters": len(watch.subscriptions())})
            while not (self._halt.is_set() or pinging.done() or reading.done()) and self._configuration() is config:
                await asyncio.wait({reading, pinging}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                watch.step(time.monotonic())
                if settling.done():
                    settling.result()
                if connection.subscribed:
                    self._told("")
            for task in (reading, pinging):
                if task.done():
                    task.result()
        finally:
            for task in (reading, pinging, settling):
                task.cancel()
            await asyncio.gather(reading, pinging, settling, return_exceptions=True)
            connection.abort()
            await watch.end()


async def _settle(connection: Connection, watch: DeviceWatch) -> None:
    await connection.ping()  # what the broker has kept comes before the answer
    watch.settle()


async def _read(connection: Connection, watch: DeviceWatch) -> None:
    while True:
        packets = await connection.receive()
        now = time.monotonic()
        if retained := watch.take(packets, now):
            connection.send([mqtt.forget(topic) for topic in retained])
        watch.step(now)
