"""The lifetime of ingest: start, take what is posted, finish. One event loop, and a thread that asks hub."""

import asyncio
import threading

from bridge import startup
from bridge.beside import beside
from bridge.decoders.choice import Choice, refusing
from bridge.delivery import Delivery
from bridge.ingest.app import App
from bridge.ingest.logins import Asking, Logins
from bridge.ingest.posts import Posts
from bridge.lanes import Lanes
from bridge.letters import Shelf
from bridge.startup import Work
from bridge.topicwatch import TopicWatch
from headrace import deadletters
from headrace.config import Config
from headrace.errors import PoisonError, Reason
from headrace.hub.client import Hub
from headrace.kafka.watch import KafkaWatch
from headrace.operate import serving
from headrace.operate.serving import Listeners
from headrace.runtime.health import Health

_OVER_MQTT = PoisonError(
    Reason.NO_SYNC,
    "times that count from the device's start, and sync messages, are taken over MQTT only. Have the device post times "
    "in UTC to another route; what is kept here can be redriven, once its sync message has come over MQTT",
)
_CHECKS = ("kafka", "registry", "hub")
_END_SECONDS = 15  # for requests under way at the end: more than one waits for Kafka
_LOOK_SECONDS = 0.1


def main(config: Config, stop: threading.Event) -> None:
    """Serve until `stop` is set. ConfigError, before any connection, for an address or a file that can't be used."""
    work = startup.prepare(config)
    hub = Hub(config.hub)
    with Health(config.ingest.http, _CHECKS) as health, serving.listeners(config.ingest, "ingest") as on:
        logins = Logins()
        Asking(hub, logins, config.bridge.receipts.partition("/")[0], health).start()
        asyncio.run(_main(config, work, logins, health, on, stop))


async def _main(
    config: Config, work: Work, logins: Logins, health: Health, on: Listeners, stop: threading.Event
) -> None:
    finding = asyncio.create_task(startup.find(config, work, health))

    async def wait() -> None:
        while not stop.is_set():
            health.progress()
            await asyncio.sleep(_LOOK_SECONDS)
        finding.cancel()

    async with beside(wait()):
        await asyncio.wait([finding])
    if finding.cancelled():
        return
    servers = finding.result()
    topics = TopicWatch(servers.partitions, health)
    raw_limit = min(servers.raw_limits.values(), default=config.max_message_bytes)
    limit = deadletters.max_letter_bytes(config)
    # On a thread: its Kafka client may have to wait for a token.
    delivery = await startup.until_there(
        "kafka", health, lambda: asyncio.to_thread(Delivery, config, raw_limit, limit, topics.away)
    )
    shelf = Shelf(config)
    decoders = servers.decoders | {
        r.where: Choice(refusing(_OVER_MQTT)) for r in work.routing.routes if r.starts is not None
    }
    posts = Posts(config, Lanes(work.routing, decoders, servers.raw_limits), delivery, shelf)
    try:
        with KafkaWatch(config.kafka, health, lambda: {"producing": delivery.producer}):
            async with beside(delivery.run(health.progress), topics.run(delivery.partitions)):
                app = App(config.ingest, logins, posts)
                await serving.serve(app, config.ingest.tls, on, _Bell(), health, _END_SECONDS)
    finally:
        await shelf.close()


class _Bell:
    """Nobody waits here for the end but the server itself."""

    closed = False

    def close(self) -> None:
        """It ends."""
        self.closed = True
