"""The bridge and a real broker: its session, its refusals, and copies by overlapping filters."""

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import orjson
import pytest

from headrace import kafka
from headrace.config import Config, load
from headrace.operate import provision
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.integration
GOOD = {"event_time": 1_700_000_000_000_000, "ax": 0.1, "ay": 0.2, "az": 9.8, "gx": 0, "gy": 0, "gz": 0}


class Own:
    """A bridge of one's own on the session's servers: its own stream, topics and client id."""

    def __init__(
        self,
        stack: Stack,
        folder: Path,
        unrouted: tuple[str, ...] = (),
        keepalive_seconds: int = 30,
        **over: Any,
    ) -> None:
        self.name = f"own_{uuid.uuid4().hex[:8]}"
        self.client_id = f"headrace-{self.name}"
        self.path = stack.config_file(
            folder / f"{self.name}.yaml",
            {
                "streams": {
                    self.name: {"contract": "imu", "routes": [f"{self.name}/{{device_id}}/imu"], "partitions": 1}
                },
                "dead_letters": {"topic": f"{self.name}-letters"},
                "bridge": {
                    "client_id": self.client_id,
                    "unrouted": [f"{self.name}/{u}" for u in unrouted],
                    "keepalive_seconds": keepalive_seconds,
                },
                **over,
            },
        )
        self.config: Config = load(self.path, {})

    def provision(self) -> None:
        provision.topics(self.config)
        provision.contracts(self.config)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "bridge", "--config", str(self.path)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def wait_until_receiving(self, process: subprocess.Popen[str]) -> list[str]:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"receiving"' in line:
                return lines
        pytest.fail(f"the bridge ended: {''.join(lines)}")

    def publish(self, *messages: tuple[str, bytes]) -> None:
        async def main() -> None:
            mqtt = self.config.mqtt
            password = mqtt.password.get_secret_value() if mqtt.password else None
            async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
                for topic, payload in messages:
                    await client.publish(f"{self.name}/{topic}", payload, qos=1)

        asyncio.run(main())

    def stored(self, at_least: int) -> int:
        """How many records `.raw` holds, once it holds as many as asked for and half a second has passed."""
        client = kafka.consumer(self.config.kafka, self.name)
        try:
            for _ in range(100):
                low, high = kafka.watermarks(client, f"{self.name}.raw", 0)
                if high - low >= at_least:
                    asyncio.run(asyncio.sleep(0.5))
                    low, high = kafka.watermarks(client, f"{self.name}.raw", 0)
                    return high - low
                asyncio.run(asyncio.sleep(0.1))
        finally:
            client.close()
        pytest.fail(f"{self.name}.raw holds {high - low} records, not {at_least}")


def row(i: int) -> tuple[str, bytes]:
    return "dev-1/imu", orjson.dumps({**GOOD, "event_time": GOOD["event_time"] + i})


def test_what_is_published_while_the_bridge_is_away_comes_when_it_is_back(stack: Stack, tmp_path: Path) -> None:
    own = Own(stack, tmp_path)
    own.provision()
    with own.running() as bridge:
        assert any("a new MQTT session" in line for line in own.wait_until_receiving(bridge))
        own.publish(row(0))
        assert own.stored(1) == 1
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(20) == 0
    own.publish(*(row(i) for i in range(1, 201)))
    with own.running() as bridge:
        own.wait_until_receiving(bridge)
        assert own.stored(201) == 201
        bridge.kill()
    own.publish(row(201))
    with own.running() as bridge:
        own.wait_until_receiving(bridge)
        assert own.stored(202) == 202, "acknowledged before the kill, so not sent again"


def test_two_bridges_with_one_client_id_do_not_take_the_session_from_each_other_for_ever(
    stack: Stack, tmp_path: Path
) -> None:
    own = Own(stack, tmp_path)
    own.provision()
    with own.running() as first:
        own.wait_until_receiving(first)
        with own.running() as second:
            own.wait_until_receiving(second)
            assert first.wait(30) == 1
            assert first.stderr is not None
            words = first.stderr.read()
            assert "took over the MQTT session" in words or "probably uses the session" in words
            own.publish(row(0))
            assert own.stored(1) == 1
            assert second.poll() is None


def test_a_message_that_two_overlapping_filters_match_is_stored_once(stack: Stack, tmp_path: Path) -> None:
    own = Own(stack, tmp_path, unrouted=("dev-1/#",))  # overlaps +/imu, and neither covers the other
    own.provision()
    with own.running() as bridge:
        own.wait_until_receiving(bridge)
        own.publish(*(row(i) for i in range(20)))
        assert own.stored(20) == 20


def test_a_wrong_password_is_a_configuration_error_without_a_traceback(stack: Stack, tmp_path: Path) -> None:
    mqtt = {**stack.config().mqtt.model_dump(include={"host", "port", "username"}), "password": "wrong"}
    own = Own(stack, tmp_path, mqtt=mqtt)
    own.provision()
    with own.running() as bridge:
        assert bridge.wait(30) == 2
        assert bridge.stderr is not None
        words = bridge.stderr.read()
    assert "mqtt.password" in words
    assert "Traceback" not in words


def test_without_its_topics_the_bridge_waits_and_says_so(stack: Stack, tmp_path: Path) -> None:
    own = Own(stack, tmp_path)
    with own.running() as bridge:
        assert bridge.stderr is not None
        while "has no topic" not in (line := bridge.stderr.readline()):
            assert line, "the bridge ended"
        own.provision()
        own.wait_until_receiving(bridge)
        own.publish(row(0))
        assert own.stored(1) == 1


def test_a_bridge_that_finishes_for_longer_than_its_keepalive_can_still_acknowledge(
    stack: Stack, tmp_path: Path
) -> None:
    own = Own(stack, tmp_path, keepalive_seconds=5)  # a broker hangs up after 7.5 s of silence
    own.provision()
    with own.running() as bridge:
        own.wait_until_receiving(bridge)
        with stack.frozen("kafka"):
            own.publish(row(0))
            bridge.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                bridge.wait(10)
        assert bridge.wait(20) == 0
    with own.running() as bridge:
        own.wait_until_receiving(bridge)
        assert own.stored(1) == 1, "acknowledged, so not sent again"
