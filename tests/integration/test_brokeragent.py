"""The agent between a real hub and a real Mosquitto: who may come in, and what survives."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest
import yaml

from headrace.identity.ca import Authority, Pair
from headrace.operate import brokerfiles, mqttprobe
from headrace.runtime.service import IMPORT_PATH
from headrace.stack.plan import HOST
from headrace.stack.state import plain
from tests import hubworld
from tests.integration.test_listeners import TOPIC, Broker, heard, open_session
from tests.waiting import stop_process, until

pytestmark = pytest.mark.integration


class World:
    """Broker, hub and agent. No device is there at first."""

    def __init__(self, broker: Broker, hub: hubworld.Served) -> None:
        self.broker, self.hub = broker, hub
        folder = broker.plan.state.path
        self.log = folder / "agent.log"
        settings = hub.settings.model_copy(update={"token": hub.settings.serve.broker_token})
        config = self.broker.plan.config.model_copy(update={"hub": settings})
        self.config = folder / "agent.yaml"
        self.broker.plan.state.write(self.config, yaml.safe_dump(plain(config)))

    def start(self) -> None:
        self.broker.start({})
        argv = [sys.executable, "-m", "headrace.operate.brokeragent", "--config", str(self.config)]
        state = self.broker.plan.state
        argv += ["--folder", str(state.conf), "--pid-file", str(state.tmp / brokerfiles.PID)]
        certified = f"{HOST}:{self.broker.plan.ports['mqtt.certificates']}"
        argv += ["--certificates", certified, "--devices-ca", str(self.broker.plan.devices_ca)]
        with self.log.open("ab") as log:
            env = {**os.environ, "PYTHONPATH": IMPORT_PATH}
            self.agent = subprocess.Popen(argv, stdout=log, stderr=log, env=env)

    def stop(self) -> None:
        stop_process(self.agent, 15)
        self.broker.stop()

    def add(self, device: str) -> str:
        """A device that may come in now."""
        made = self.hub.admin.post("/api/devices", {"id": device})
        assert self.hub.admin.in_force(made["broker_version"], 20), self.log.read_text()
        return str(made["password"])

    def admits(self, device: str, password: str) -> bool:
        return mqttprobe.handshake(HOST, self.broker.plan.ports["mqtt"], device, password, 30) == 0


@contextmanager
def begun(folder: Path) -> Iterator[World]:
    """A world that runs as long as the block lasts."""
    broker = Broker(folder / "state")
    files = (broker.plan.devices_ca.with_suffix(suffix) for suffix in (".pem", ".key"))
    authority = Authority(Pair(*(file.read_text() for file in files)))
    with hubworld.served(hubworld.lite(folder), authority) as hub:
        it = World(broker, hub)
        it.start()
        try:
            yield it
        finally:
            it.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with begun(tmp_path) as it:
        yield it


@pytest.mark.clause("CR 1.9")
def test_a_device_comes_in_when_it_is_added_and_goes_within_seconds_when_it_is_revoked(world: World) -> None:
    one, other = world.add("board-01"), world.add("board-02")
    assert world.admits("board-01", one)
    assert not world.admits("board-01", other)
    port = world.broker.plan.ports["mqtt"]

    async def main() -> None:
        async with (
            aiomqtt.Client(HOST, port, username="board-01", password=one) as revoked,
            aiomqtt.Client(HOST, port, username="board-02", password=other) as stays,
        ):
            begun = time.monotonic()
            version = (await asyncio.to_thread(world.hub.admin.post, "/api/devices/board-01/revoke"))["broker_version"]
            with pytest.raises(aiomqtt.MqttError):
                await asyncio.wait_for(asyncio.shield(revoked._disconnected), 20)
            assert time.monotonic() - begun < 5
            assert await asyncio.to_thread(world.hub.admin.in_force, version, 5)
            await stays.publish("sensors/board-02/imu", b"1", qos=1)
            raise aiomqtt.MqttError("leave, as the revoked one has no connection to close")

    with pytest.raises(aiomqtt.MqttError, match="leave"):
        asyncio.run(main())
    assert not world.admits("board-01", one)
    assert world.admits("board-02", other)


def test_reloads_take_nothing_from_a_bridge_that_is_away_also_after_the_broker_was_killed(world: World) -> None:
    """A session that Mosquitto has restored loses its user's rights at SIGHUP: the services' file has a pattern."""
    password = world.add("board-01")
    sent = 0

    async def send(n: int) -> None:
        nonlocal sent
        port = world.broker.plan.ports["mqtt"]
        async with aiomqtt.Client(HOST, port, username="board-01", password=password) as board:
            for _ in range(n):
                await board.publish(TOPIC, b"%d" % sent, qos=1)
                sent += 1

    asyncio.run(open_session(world.broker))
    asyncio.run(send(3))
    world.add("board-02")
    asyncio.run(send(3))
    time.sleep(2.5)  # until it is saved
    world.broker.process.kill()
    world.broker.process.wait()
    world.broker.start(None)
    assert world.admits("board-01", password), "the broker comes back with the devices that it had"
    asyncio.run(send(3))
    world.add("board-03")
    asyncio.run(send(3))

    async def collect() -> None:
        async with world.broker.service() as bridge:
            assert [int(p) for _, p in await heard(bridge)] == list(range(sent))

    asyncio.run(collect())


def test_the_broker_forgets_what_devices_retain_also_what_it_kept_while_the_agent_was_away(world: World) -> None:
    async def retain(topic: str) -> None:
        async with world.broker.service("headrace-test", keep=False) as it:
            await it.publish(topic, b"1", qos=1, retain=True)

    async def kept() -> set[str]:
        found = set()
        async with world.broker.service("headrace-test", keep=False) as it:
            await it.subscribe("#", qos=1)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    async for message in it.messages:
                        found.add(message.topic.value)
        return found

    def forgotten() -> bool:
        return asyncio.run(kept()) == {"elsewhere/x"}

    until(lambda: "watching" in world.log.read_text(), 30, world.log.read_text)
    for topic in ("sensors/a/imu", "sensors/a/mistyped", "elsewhere/x"):
        asyncio.run(retain(topic))
    until(forgotten, 20, lambda: asyncio.run(kept()))
    world.agent.send_signal(signal.SIGSTOP)
    asyncio.run(retain("sensors/b/imu"))
    assert not forgotten()
    world.broker.stop()
    world.broker.start(None)
    assert not forgotten(), "it is on the disk"
    world.agent.send_signal(signal.SIGCONT)
    until(forgotten, 60, lambda: asyncio.run(kept()))


def test_a_changed_configuration_changes_the_access_file(world: World) -> None:
    access = world.broker.plan.state.conf / brokerfiles.ACCESS
    world.add("board-01")  # the agent has begun
    assert "sensors/%u/imu" in access.read_text()
    text = world.config.read_text()
    world.config.write_text(text.replace("sensors/{device_id}/imu", "sensors/imu"))  # nobody speaks there: refused
    until(lambda: "is not taken" in world.log.read_text(), 20, world.log.read_text)
    assert "sensors/%u/imu" in access.read_text()
    world.config.write_text(text.replace("sensors/{device_id}/imu", "motion/{device_id}"))
    until(lambda: "motion/%u" in access.read_text(), 20, access.read_text)
