"""Group 4 too: devices with valid passwords that do their worst. They may harm nobody but themselves."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiomqtt

from headrace.errors import TransientError
from headrace.hub import lending
from headrace.hub.client import Hub
from headrace.operate import mqttprobe
from tests.faults.fault import Fault
from tests.faults.world import World
from tests.flooding import Flood

SECONDS = 20.0
FLOOD_BYTES, FLOOD = 512 * 1024, 40
RECONNECTS = 500
FLOODED_SECONDS = 60.0
_PAUSE = 0.05


class Thief:
    """A device that may come in. `victim`: another device's name."""

    def __init__(self, world: World, name: str, password: str, victim: str) -> None:
        self.config, self.name, self.victim = world.config, name, victim
        self._mqtt = world.config.mqtt.as_device(name, password)
        self.password = password

    def connect(self, client_id: str = "") -> aiomqtt.Client:
        """With a clean start, under any client id."""
        return aiomqtt.Client(
            self._mqtt.host, self._mqtt.port, username=self.name, password=self.password,
            identifier=client_id or self.name, protocol=aiomqtt.ProtocolVersion.V5, clean_start=True, timeout=3,
        )  # fmt: skip

    async def takes_ids(self) -> None:
        """The bridge's session, and another device's."""
        for client_id in (self.config.bridge.client_id, self.victim):
            async with self.connect(client_id) as client:
                await client.subscribe("#", qos=1)
                await asyncio.sleep(_PAUSE)

    async def listens(self) -> None:
        """To everybody, with every wildcard. What it hears, nobody else may miss."""
        async with self.connect() as client:
            for topic in ("#", "+/#", f"sensors/{self.victim}/#", "receipts/#", "$share/g/sensors/#"):
                await client.subscribe(topic, qos=1)
            await asyncio.sleep(1)

    async def floods(self) -> None:
        """With retained messages on ever other topics below its own name."""
        async with self.connect() as client:
            for _ in range(FLOOD):
                mark = b"%d" % time.time_ns()
                await client.publish(f"sensors/{self.name}/{mark.decode()}", mark + bytes(FLOOD_BYTES), 1, retain=True)
                await asyncio.sleep(_PAUSE)

    async def forges(self) -> None:
        """Another device's readings and receipts. The broker refuses each, and says so only to MQTT 5."""
        async with self.connect() as client:
            for topic in (f"sensors/{self.victim}/imu", f"receipts/{self.victim}"):
                client._client.publish(topic, b'{"status":"stored"}', qos=1)
            await asyncio.sleep(_PAUSE)

    async def sends_too_much(self) -> None:
        """A payload that is larger than anybody may send: the broker hangs up."""
        async with self.connect() as client:
            client._client.publish(
                f"sensors/{self.name}/x", bytes(self.config.bridge.max_payload_bytes + (1 << 20)), qos=1
            )
            await asyncio.sleep(1)

    async def comes_and_goes(self) -> None:
        """As fast as it can."""
        for _ in range(RECONNECTS):
            await asyncio.to_thread(mqttprobe.handshake, self._mqtt.host, self._mqtt.port, self.name, self.password)


ATTACKS: tuple[Callable[[Thief], Awaitable[None]], ...] = (
    Thief.takes_ids, Thief.listens, Thief.floods, Thief.forges, Thief.sends_too_much, Thief.comes_and_goes,
)  # fmt: skip


def hostile(world: World) -> None:
    """Each attack by a device of its own, again and again."""
    assert world.fleet is not None
    victim = world.fleet.devices[0].id
    names = [f"thief-{time.time_ns()}-{n}" for n in range(len(ATTACKS))]
    words = lending.passwords(Hub(world.config.hub), names)

    async def attack(thief: Thief, act: Callable[[Thief], Awaitable[None]]) -> int:
        end, times = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            with suppress(aiomqtt.MqttError, TransientError):
                await act(thief)
            times += 1
        return times

    async def all_of_them() -> None:
        thieves = [Thief(world, name, words[name], victim) for name in names]
        times = await asyncio.gather(*(attack(t, act) for t, act in zip(thieves, ATTACKS, strict=True)))
        assert all(times), "an attack did not begin"

    asyncio.run(all_of_them())


def flooding(qos: int, *sizes: int) -> Callable[[World], None]:
    """The bridge stands still while a device floods, with messages of one of `sizes`; then it comes back.

    The device alone must be quarantined, and cut off, before the bridge's queue is full.
    """

    def strike(world: World) -> None:
        hub = Hub(world.config.hub)
        before = _shut_out(hub)
        name = f"flood-{time.time_ns()}"
        password = lending.passwords(hub, [name])[name]
        flood = Flood(name, password, f"sensors/{name}/x", bytes(world.dice.choice(sizes)), qos)
        devices = world.config.mqtt.as_device(name, password)
        with world.stopped("bridge"):
            took = flood.run(devices.host, devices.port, FLOODED_SECONDS)
            world.sleep(2, 8)
        assert took is not None, f"not cut off within {FLOODED_SECONDS:.0f} s, after {flood.sent:,} bytes"
        assert _shut_out(hub) - before == {name}, "another device was quarantined, or none"
        print(f"cut off after {took:.1f} s, {flood.sent:,} bytes")

    return strike


def _shut_out(hub: Hub) -> set[str]:
    return {d["id"] for d in hub.get("/api/devices", {"state": "quarantined", "limit": 1000})["devices"]}


_SAYS = "the bridge stands still while a device floods, until it is cut off"
FAULTS = [
    Fault("hostile-devices", 4, "six hostile devices with valid passwords, for 20 s", hostile),
    Fault(
        "flooding-device", 4, f"{_SAYS}: messages of 4 MiB, 64 KiB or 1 KiB", flooding(1, 4 << 20, 64 << 10, 1 << 10)
    ),
    Fault("flooding-device-qos0", 4, f"{_SAYS}: messages of 4 MiB at QoS 0", flooding(0, 4 << 20)),
]
