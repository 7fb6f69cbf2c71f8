"""What the broker has kept of sync messages, fetched before readings are decoded.

The bridge keeps nothing itself, and its session holds only what came while it was away, which the broker sends at
once. So a session without memory asks first. Sync messages that come later are in the session with the readings, in the
order in which the broker got them: a reading that was published after its sync message finds it.
"""

import secrets
import time
from collections.abc import Mapping
from typing import NoReturn

from bridge.beside import beside
from bridge.decoders.base import Source
from bridge.decoders.choice import Choice
from bridge.routing import Routing
from headrace import mqtt
from headrace.config import Config
from headrace.mqtt import Connection, PublishPacket, Session, Subscription

_IN_FLIGHT = 100
_SECONDS = 600.0  # for all of them: 20,000 took 6 s on two busy cores. A broker that sends nothing is noticed sooner


async def fetch(config: Config, routing: Routing, decoders: Mapping[str, Choice]) -> None:
    """Take the sync messages that the broker has kept. `decoders`: by `Route.where`.

    What can't be read became a dead letter when it was published. TransientError: the broker is away. ConfigError: it
    refuses the login or the filter.
    """
    wanted = [Subscription(r.filter.pattern, r.subscription, live=True) for r in routing.routes if r.sync is not None]
    if not wanted:
        return
    b = config.bridge
    name = f"{b.client_id}-sync-{secrets.token_hex(6)}"
    connection = await mqtt.connect(config.mqtt, Session(name, 0, b.keepalive_seconds, _IN_FLIGHT, b.max_payload_bytes))
    connection.subscribe(wanted)
    try:
        async with beside(_take(connection, routing, decoders), connection.keep_alive()):
            await connection.ping(_SECONDS)  # its answer comes behind all that the broker has kept
        await connection.disconnect(forget=True)
    finally:
        connection.abort()


async def _take(connection: Connection, routing: Routing, decoders: Mapping[str, Choice]) -> NoReturn:
    while True:
        for packet in await connection.receive():
            _take_one(packet, routing, decoders)


def _take_one(packet: PublishPacket, routing: Routing, decoders: Mapping[str, Choice]) -> None:
    for target in routing.match(packet.topic).targets:
        if target.route.sync is not None and target.refused is None:
            decoder, now = decoders[target.route.where].of(""), time.time_ns() // 1000
            decoder.decode(bytes(packet.payload or b""), Source(target.captures), now)
