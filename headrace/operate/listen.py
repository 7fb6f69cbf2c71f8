"""Listens for a while to what devices publish, for a sample of it."""

import asyncio
import secrets
from collections.abc import Callable
from typing import NamedTuple

from headrace import mqtt
from headrace.config.connect import Mqtt

_KEEPALIVE_SECONDS = 30
_IN_FLIGHT = 100
_MAX_PAYLOAD = 4 * 1024 * 1024


class Heard(NamedTuple):
    """One message."""

    topic: str
    payload: bytes


async def listen(
    broker: Mqtt, pattern: str, seconds: float, most: int, heard: list[Heard], tell: Callable[[int], None]
) -> None:
    """Put what is published on topics that match the filter `pattern` into `heard`, until `seconds` are over.

    Ends earlier with `most` messages; cancelled, `heard` has what came. Messages that the broker has kept come first.
    `tell` gets how many there are. The session is the listener's own and leaves nothing behind. ConfigError where the
    broker refuses the login or the filter, TransientError where it is away.
    """
    session = mqtt.Session(f"headrace-listen-{secrets.token_hex(6)}", 0, _KEEPALIVE_SECONDS, _IN_FLIGHT, _MAX_PAYLOAD)
    connection = await mqtt.connect(broker, session)
    connection.subscribe([mqtt.Subscription(pattern, 1)])
    pinging = asyncio.ensure_future(connection.keep_alive())
    try:
        async with asyncio.timeout(seconds):
            while len(heard) < most:
                packets = await connection.receive()
                heard += [Heard(p.topic, bytes(p.payload or b"")) for p in packets][: most - len(heard)]
                connection.acknowledge([p.packet_id for p in packets if p.packet_id])
                tell(len(heard))
    except TimeoutError:
        pass
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
        await connection.disconnect(forget=True)
