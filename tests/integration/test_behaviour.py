"""A device that floods, on a real Mosquitto with a real hub and the agent: it alone is cut off, and nothing is lost.

The bridge is away all the while. Without the cut the flood fills its queue within seconds, and the broker drops what
it has acknowledged to others.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiomqtt
import orjson
import pytest

from headrace.config.behaviour import Behaviour
from headrace.hub.client import device_path
from headrace.operate import mqttprobe
from headrace.operate.behaviour import LOGIN_SECONDS
from headrace.stack.plan import HOST
from tests.flooding import Flood
from tests.integration.test_brokeragent import World, begun
from tests.integration.test_certificates import admits, certified, context
from tests.integration.test_listeners import Broker
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
HONEST = [f"board-{n:02d}" for n in range(20)]
ACTS = {"behaviour", "quarantine"}
DEVICES = ["flood", "restless", "curious", *HONEST]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with begun(tmp_path_factory.mktemp("behaviour")) as it:
        until(lambda: "watching" in it.log.read_text(), 30, it.log.read_text)
        yield it


@pytest.fixture(scope="module")
def words(world: World) -> dict[str, str]:
    """The password of each device."""
    made = world.hub.admin.post("/api/devices/import", {"devices": [{"id": name} for name in DEVICES]})
    assert world.hub.admin.in_force(made["broker_version"], 20)
    found: dict[str, str] = made["passwords"]
    return found


def client(world: World, name: str, password: str) -> aiomqtt.Client:
    port = world.broker.plan.ports["mqtt"]
    return aiomqtt.Client(HOST, port, username=name, password=password, protocol=aiomqtt.ProtocolVersion.V5)


def device(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = world.hub.admin.get(device_path(name))
    return found


async def bridge(broker: Broker) -> None:
    """The bridge's session, which then goes away."""
    async with broker.service() as it:
        await it.subscribe("sensors/+/+", qos=1)


async def publish(world: World, name: str, password: str, stop: asyncio.Event) -> list[bytes]:
    """What the broker has acknowledged of an honest device's messages, ten a second."""
    acked: list[bytes] = []
    async with client(world, name, password) as it:
        while not stop.is_set():
            payload = b"%s/%d" % (name.encode(), len(acked))
            await it.publish(f"sensors/{name}/imu", payload, qos=1, timeout=60)
            acked.append(payload)
            await asyncio.sleep(0.1)
    return acked


async def kept(broker: Broker) -> set[bytes]:
    """What the broker has kept for the bridge, but for the flood."""
    out: set[bytes] = set()
    async with broker.service() as it:
        await it.publish("sensors/end/end", b"end", qos=1)
        async for message in it.messages:
            if message.topic.value == "sensors/end/end":
                return out
            if message.topic.value != "sensors/flood/x":
                out.add(bytes(message.payload))
    return out


def comes_in_again(world: World, password: str) -> bool:
    """Whether the device gets in once it is let. On a busy machine the agent has yet to count the end of the flood."""
    version = world.hub.admin.get("/api/broker/version")["version"]
    if device(world, "flood")["state"] != "active":
        world.hub.admin.patch(device_path("flood"), {"state": "active"})
        assert world.hub.admin.in_force(version + 1, 20)
    return world.admits("flood", password)


@pytest.mark.clause("CRA I 2(h)")
@pytest.mark.parametrize("credential", ["password", "certificate"])
def test_a_flood_of_the_largest_messages_ends_alone_and_takes_nothing_from_others(
    world: World, words: dict[str, str], credential: str
) -> None:
    flood, port = Flood("flood", words["flood"], "sensors/flood/x"), world.broker.plan.ports["mqtt"]
    if credential == "certificate":
        pair = certified(world, "flood", new=False)
        flood, port = (
            replace(flood, password=None, tls=context(world, pair)),
            world.broker.plan.ports["mqtt.certificates"],
        )

    async def main() -> tuple[float | None, list[bytes]]:
        await bridge(world.broker)
        stop = asyncio.Event()
        others = [asyncio.create_task(publish(world, n, words[n], stop)) for n in HONEST]
        await asyncio.sleep(1)
        took = await asyncio.to_thread(flood.run, HOST, port, 60)
        await asyncio.sleep(1)
        stop.set()
        return took, [p for part in await asyncio.gather(*others) for p in part]

    took, acked = asyncio.run(main())
    found = device(world, "flood")
    assert (found["state"], found["quarantine"]["rule"]) == ("quarantined", "bytes"), world.log.read_text()
    assert took is not None, "it was never cut off"  # a machine that has much else to do takes its time
    assert all(device(world, name)["state"] == "active" for name in HONEST)
    assert not world.admits("flood", words["flood"])
    assert credential == "password" or not admits(world, pair)
    assert set(acked) <= asyncio.run(kept(world.broker))
    print(f"{credential}: cut off after {took:.2f} s, {flood.sent >> 20} MiB; {len(acked)} readings of others")
    until(lambda: comes_in_again(world, words["flood"]), 60, "the device is shut out for ever")


def test_what_the_log_of_the_broker_says_is_judged_too(world: World, words: dict[str, str]) -> None:
    most, port = Behaviour(), world.broker.plan.ports["mqtt"]
    for n in range(most.refused.most + 1):
        assert mqttprobe.handshake(HOST, port, "restless", "wrong", 30) != 0
        if n <= most.connects.most:
            assert mqttprobe.handshake(HOST, port, "restless", words["restless"], 30) == 0

    async def main() -> None:
        async with client(world, "curious", words["curious"]) as it:
            await it.subscribe("receipts/curious/#")
            for n in range(most.subscriptions.most + 1):
                await it.subscribe(f"sensors/board-{n:02d}/#")

    with suppress(aiomqtt.MqttError):  # it is shut out
        asyncio.run(main())

    def acts() -> set[tuple[str, str, str]]:
        rows = world.hub.admin.get("/api/audit")["rows"]
        return {(r["act"], r["target"], orjson.loads(r["detail"])["rule"]) for r in rows if r["act"] in ACTS}

    wanted = {("behaviour", "restless", "connects"), ("quarantine", "curious", "subscriptions")}
    until(lambda: wanted <= acts(), 30, world.log.read_text)
    until(lambda: ("behaviour", HOST, "refused") in acts(), LOGIN_SECONDS + 30, world.log.read_text)
    assert (device(world, "restless")["state"], device(world, "curious")["state"]) == ("active", "quarantined")
    assert all(who not in HONEST for _, who, _ in acts())
