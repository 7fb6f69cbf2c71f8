"""A device from its registration to its first row, as the README has it; and what it can't do to the others."""

import asyncio
import shlex
import subprocess
import time

import aiomqtt
import pytest

from headrace.hub import lending
from headrace.hub.client import Hub
from tests.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]
FLOOD, MEBIBYTE = 12, bytes(1 << 20)


@pytest.fixture(autouse=True)
def _native(stack: Stack) -> None:
    if not stack.native:
        pytest.skip("with containers no agent is beside their broker: tests/compose looks at that")


def test_the_printed_line_sends_a_reading_that_is_in_the_lake_and_revoked_it_is_refused(stack: Stack) -> None:
    name = f"first-{time.time_ns()}"
    made = stack.json("devices", "add", name, "--json")
    assert made["in_force"]
    line = shlex.split(made["command"])
    subprocess.run(line, check=True, timeout=20)
    sql = f"select temperature, humidity from environment where device_id = '{name}'"
    row = {"temperature": 21.5, "humidity": 40.0}
    until(lambda: stack.json("query", "--format", "json", sql) == [row], 60, "no row", pause=1.0)
    stack.run("devices", "revoke", name, "--yes")
    assert subprocess.run(line, check=False, timeout=20, capture_output=True).returncode != 0


@pytest.mark.clause("CRA I 2(h)")
def test_a_flood_of_retained_messages_is_forgotten_and_harms_no_other_device(stack: Stack) -> None:
    config = stack.config()
    flood, good = f"flood-{time.time_ns()}", f"good-{time.time_ns()}"
    words = lending.passwords(Hub(config.hub), [flood, good])

    def device(name: str) -> aiomqtt.Client:
        mqtt = config.mqtt.as_device(name, words[name])
        return aiomqtt.Client(mqtt.host, mqtt.port, username=name, password=words[name])

    async def publish() -> None:
        async with device(flood) as one, device(good) as other:
            for n in range(FLOOD):
                await one.publish(f"sensors/{flood}/x{n}", MEBIBYTE, qos=1, retain=True)
                reading = b'{"temperature": %d, "humidity": 40}' % n
                await other.publish(f"sensors/{good}/environment", reading, qos=1)

    async def retained() -> int:
        mqtt = config.mqtt
        assert mqtt.password is not None
        async with aiomqtt.Client(
            mqtt.host, mqtt.port, username=mqtt.username, password=mqtt.password.get_secret_value()
        ) as service:
            await service.subscribe(f"sensors/{flood}/#")
            found = 0
            try:
                while True:
                    async with asyncio.timeout(0.5):
                        message = await anext(service.messages)
                    found += bool(message.retain)
            except TimeoutError:
                return found

    asyncio.run(publish())
    until(lambda: asyncio.run(retained()) == 0, 30, "the broker keeps them")
    sql = f"select count(*) n from environment where device_id = '{good}'"
    until(lambda: stack.json("query", "--format", "json", sql) == [{"n": FLOOD}], 60, "not all readings", pause=1.0)
