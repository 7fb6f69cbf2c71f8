"""Group 4: the bridge's MQTT session lost while acknowledgements are outstanding, and taken over by another bridge."""

import asyncio
from contextlib import suppress

import aiomqtt

from headrace.errors import TransientError
from headrace.runtime import http
from tests.faults.fault import Fault
from tests.faults.world import World

QUIET_SECONDS = 1.0
LOST, CONNECTIONS = "headrace_bridge_sessions_lost_total", "headrace_bridge_connections_total"
DELIVERED, HELD = "headrace_bridge_messages_total", "headrace_bridge_in_flight_records"


def _discard_session(world: World) -> None:
    """Connect under the bridge's own id with a clean start: the broker forgets its session and hangs up on it."""
    cfg = world.config

    async def once() -> None:
        async with aiomqtt.Client(
            cfg.mqtt.host, cfg.mqtt.port, username=cfg.mqtt.username,
            password=cfg.mqtt.password.get_secret_value() if cfg.mqtt.password else None,
            identifier=cfg.bridge.client_id, protocol=aiomqtt.ProtocolVersion.V5, clean_start=True,
        ):  # fmt: skip
            pass

    asyncio.run(once())


def _counted(world: World, name: str) -> float:
    """What a counter of the bridge stands at."""
    url = f"http://127.0.0.1:{world.service('bridge')['health_port']}/metrics"
    token = world.config.bridge.http.token
    assert token is not None
    lines = http.get(url, authorization=http.bearer(token.get_secret_value())).decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def lost(*, killed: bool) -> "Fault":
    """The session is discarded while Kafka stands still, so the packet ids of what is outstanding are given out again.

    Nothing is sent at that very moment: a broker without the session has nobody to queue for. Acknowledgements that
    Kafka's late answers release then belong to another connection's messages; a bridge that sends them, and is
    killed, has lost those. It is killed once these answers have come: until then nobody but the bridge has the messages
    of the session that the broker forgot.
    """

    def strike(world: World) -> None:
        assert world.fleet is not None
        rate = world.fleet.rate
        before = _counted(world, LOST)
        with world.stopped("kafka"):
            world.sleep(0.5, 2)
            world.fleet.rate = 0
            world.sleep(QUIET_SECONDS)
            of_old = _counted(world, DELIVERED) + _counted(world, HELD)
            _discard_session(world)
            world.wait("the bridge to miss its session", lambda: _counted(world, LOST) > before, 30)
            world.sleep(1)  # it subscribes again
            world.fleet.rate = rate
            world.sleep(0.5, 2)
        if killed:
            world.wait("Kafka's late answers", lambda: _counted(world, DELIVERED) >= of_old, 30)
            pid = world.pid("bridge")
            world.kill("bridge")
            world.wait_restarted("bridge", pid)

    says = "the broker forgets the session while Kafka is stopped"
    if killed:
        return Fault("session-lost-killed", 4, f"{says}, then the bridge is killed", strike)
    return Fault("session-lost", 4, says, strike)


def taken_over(world: World) -> None:
    """A second bridge with the same client id: one of them must give way, and none may lose what it holds."""
    pid, before = world.pid("bridge"), _counted(world, CONNECTIONS)

    def driven_out() -> bool:
        with suppress(TransientError):  # it may have ended because of it, and be about to start
            return world.service("bridge")["pid"] != pid or _counted(world, CONNECTIONS) > before
        return False

    with world.extra("bridge"):
        world.wait("the second bridge to take the session", driven_out, 60)
        world.sleep(5, 10)
    world.wait_ready()


FAULTS = [
    lost(killed=False),
    lost(killed=True),
    Fault("session-taken-over", 4, "a second bridge with the same client id", taken_over),
]
