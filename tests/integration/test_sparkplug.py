"""An edge node of Sparkplug B that sends names in its births alone: from MQTT to rows in the lake, on real services."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiomqtt
import pytest

from tests.edgenode import EdgeNode, Message
from tests.faults.own import Own, until
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]
Say = Callable[..., Awaitable[None]]
Told = Callable[[], Awaitable[bytes]]
Act = Callable[[Say, Told], Awaitable[None]]


def talk(own: Own, node: EdgeNode, act: Act) -> None:
    """Run `act(say, told)` as the edge node: it says messages, and waits until it is told something."""

    async def main() -> None:
        it = own.config.mqtt
        password = it.password.get_secret_value() if it.password else None
        async with aiomqtt.Client(it.host, it.port, username=it.username, password=password) as client:
            await client.subscribe(node.topic("NCMD"), qos=1)

            async def say(*messages: Message) -> None:
                for topic, payload in messages:
                    await client.publish(topic, payload, qos=0)

            async def told() -> bytes:
                async with asyncio.timeout(60):
                    async for message in client.messages:
                        assert (message.qos, message.retain) == (0, False)
                        return bytes(message.payload)
                raise AssertionError

            await act(say, told)

    asyncio.run(main())


def test_births_data_by_aliases_and_a_rebirth_after_the_bridge_was_killed(stack: Stack, tmp_path: Path) -> None:
    group = f"plant_{uuid.uuid4().hex[:8]}"
    route = {
        "filter": f"spBv1.0/{group}/+/{{gateway}}/{{device_id}}", "identity": "gateway", "format": "sparkplug",
        "sparkplug": {"metrics": {"Inputs/T": "temperature", "Inputs/H": "humidity"}},
    }  # fmt: skip
    own = Own(stack, tmp_path, settings={"contract": "environment", "routes": [route]})
    node = EdgeNode(group, "gw-1", {"press": {"Inputs/T": 1, "Inputs/H": 2}, "oven": {"Inputs/T": 3}})

    def rows() -> list[tuple[str, float | None, float | None]]:
        found = sorted(own.rows(), key=lambda row: row["event_time"])
        return [(row["device_id"], row["temperature"], row["humidity"]) for row in found]

    first = [
        ("press", 20.0, 40.0), ("oven", 20.0, None), ("press", 21.5, None), ("oven", 80.0, None), ("press", 22.0, 41.0)
    ]  # fmt: skip
    second = [("press", 23.0, 42.0), ("oven", 23.0, None), ("press", 24.0, None), ("oven", 75.0, None)]

    async def begin(say: Say, _: Told) -> None:
        await say(*node.births(**{"Inputs/T": 20.0, "Inputs/H": 40.0}))
        await say(node.data("press", **{"Inputs/T": 21.5}), node.data("oven", **{"Inputs/T": 80.0}))
        await say(node.data("press", **{"Inputs/T": 22.0, "Inputs/H": 41.0}))

    async def while_away(say: Say, _: Told) -> None:
        await say(node.data("press", **{"Inputs/T": 22.5}))

    async def go_on(say: Say, told: Told) -> None:
        with own.bridge() as bridge:  # the edge node is there when it is asked
            bridge.says('"receiving"')
            await say(node.data("oven", **{"Inputs/T": 85.0}))
            assert b"Node Control/Rebirth" in await told()
            node.devices = {"press": {"Inputs/T": 2, "Inputs/H": 3}, "oven": {"Inputs/T": 1}}  # other aliases
            await say(*node.births(**{"Inputs/T": 23.0, "Inputs/H": 42.0}))
            await say(node.data("press", **{"Inputs/T": 24.0}), node.data("oven", **{"Inputs/T": 75.0}))
            await asyncio.to_thread(until, lambda: len(own.rows()) >= 9, lambda: bridge.log)

    with own.clean(), own.archive():
        with own.bridge() as bridge:
            bridge.says('"receiving"')
            talk(own, node, begin)
            until(lambda: len(own.rows()) >= 5, lambda: bridge.log)
            assert rows() == first
            bridge.kill()
        talk(own, node, while_away)
        talk(own, node, go_on)
        report = own.when_stored()
    assert (report["gaps"], report["duplicates"]) == (0, 0), report
    assert rows() == [*first, *second]
    letters = own.letters()
    assert {it.text("reason") for it in letters} == {"unknown_alias"}
    assert sorted(it.text("device") for it in letters) == ["oven", "press"], "by the broker's queue, and at once"
