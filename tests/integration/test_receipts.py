"""Delivery receipts on real services: a device is told when its reading is in Kafka, and not before."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import aiomqtt
import orjson
import pytest
import yaml
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headrace.config import load
from headrace.protocol.wire import event_ids
from headrace.runtime import http
from headrace.simulation.device import Publisher
from tests.integration.test_bridge_session import GOOD, Own
from tests.stack import Stack

pytestmark = pytest.mark.integration
SECONDS = 30.0


class Carrying(Own):
    """A bridge that runs."""

    health = 0  # its port


@pytest.fixture(scope="module")
def own(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carrying]:
    """A bridge of one's own that runs: by `<name>/<device>/imu`, and by `.../old` with a receipt topic."""
    it = Carrying(stack, tmp_path_factory.mktemp("receipts"), unrouted=("#",))
    routes = [f"{it.name}/{{device_id}}/imu"]
    old = {"filter": f"{it.name}/{{device_id}}/old", "receipt": f"receipts/{{device_id}}/{it.name}"}
    data: dict[str, Any] = yaml.safe_load(it.path.read_text())
    data["streams"][it.name]["routes"] = [*routes, old]
    it.path.write_text(yaml.safe_dump(data))
    it.provision()
    with it.running() as process:
        lines = it.wait_until_receiving(process)
        it.health = next(orjson.loads(line)["health_port"] for line in lines if '"health_port"' in line)
        yield it


def receipts(own: Carrying, outcome: str) -> float:
    """What the bridge has counted."""
    url = f"http://127.0.0.1:{own.health}/metrics"
    token = load(own.path, {}).bridge.http.token
    login = http.bearer(token.get_secret_value()) if token else ""
    for line in http.get(url, authorization=login).decode().splitlines():
        if line.startswith(f'headrace_bridge_receipts_total{{outcome="{outcome}"}}'):
            return float(line.split()[-1])
    return 0.0


class Board:
    """A device: it may publish, and hear receipts."""

    def __init__(self, client: aiomqtt.Client, own: Carrying, listen: str) -> None:
        self._client, self._own = client, own
        self.listen = listen

    async def ask(self, payload: bytes, level: str = "dev-1/imu", respond: str | None = None, qos: int = 1) -> None:
        properties = None
        if level.endswith("imu"):
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ResponseTopic = respond or self.listen
            properties.CorrelationData = b"\0n:" + payload[:8]
        await self._client.publish(f"{self._own.name}/{level}", payload, qos=qos, properties=properties)

    async def hear(self, seconds: float = SECONDS) -> tuple[bytes | None, dict[str, Any]]:
        """The next receipt: correlation data and content."""
        async with asyncio.timeout(seconds):
            message = await anext(self._client.messages)
        assert isinstance(message.payload, bytes)
        return getattr(message.properties, "CorrelationData", None), orjson.loads(message.payload)


def secret(own: Carrying) -> str:
    """The password of the services: a broker's devices may publish on the routes of the stack's own streams only."""
    assert own.config.mqtt.password is not None
    return own.config.mqtt.password.get_secret_value()


def with_board(
    stack: Stack, own: Carrying, act: Callable[[Board], Awaitable[None]], version: int = 5, listen: str = ""
) -> None:
    mqtt = own.config.mqtt
    topic = listen or f"receipts/dev-1/{own.name}"

    async def main() -> None:
        async with aiomqtt.Client(
            mqtt.host,
            mqtt.port,
            username=mqtt.username,
            password=secret(own),
            protocol=aiomqtt.ProtocolVersion(version),
        ) as client:
            await client.subscribe(topic)
            await act(Board(client, own, topic))

    asyncio.run(main())


def payload(n: int, **change: Any) -> bytes:
    return orjson.dumps({**GOOD, "event_time": GOOD["event_time"] + n, **change})


@pytest.mark.parametrize("qos", [0, 1])
def test_a_device_that_asks_is_told_with_its_correlation_data(stack: Stack, own: Carrying, qos: int) -> None:
    async def act(board: Board) -> None:
        before = await asyncio.to_thread(own.stored, 0)
        await board.ask(one := payload(qos), qos=qos)
        correlation, told = await board.hear()
        assert correlation == b"\0n:" + one[:8]
        assert (told["status"], told["readings"]) == ("stored", 1)
        assert told["id"] == event_ids(f"{own.name}/dev-1/imu".encode(), one, 1)[0].hex()
        assert await asyncio.to_thread(own.stored, before + 1) == before + 1

    with_board(stack, own, act)


def test_mosquitto_s_own_request_and_response_tool_gets_one(stack: Stack, own: Carrying) -> None:
    mqtt = own.config.mqtt
    answer = subprocess.run(
        ["mosquitto_rr", "-V", "5", "-h", mqtt.host, "-p", str(mqtt.port),
         "-u", str(mqtt.username), "-P", secret(own),
         "-q", "1", "-t", f"{own.name}/dev-2/imu", "-e", f"receipts/dev-2/{own.name}",
         "-m", payload(2).decode(), "-W", "30"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert orjson.loads(answer.stdout)["status"] == "stored"


def test_a_dead_letter_is_durable_too_and_its_receipt_names_the_reason(stack: Stack, own: Carrying) -> None:
    async def act(board: Board) -> None:
        await board.ask(payload(3, ax="fast"))
        _, told = await board.hear()
        assert (told["status"], told["reason"], told["field"]) == ("dead-letter", "wrong_type", "ax")
        await board.ask(orjson.dumps([GOOD, {"ax": 1}, GOOD]))
        _, told = await board.hear()
        assert (told["status"], told["readings"], told["dead_letters"]) == ("dead-letter", 2, 1)
        await board.ask(b"[]")
        _, told = await board.hear()
        assert (told["status"], told["reason"]) == ("skipped", "empty")

    with_board(stack, own, act)


def test_while_kafka_stands_still_there_is_no_receipt(stack: Stack, own: Carrying) -> None:
    async def act(board: Board) -> None:
        with stack.frozen("kafka"):
            await board.ask(payload(4))
            with suppress(TimeoutError):
                pytest.fail(f"told before Kafka had it: {await board.hear(4.0)}")
        _, told = await board.hear()
        assert told["status"] == "stored"

    with_board(stack, own, act)


def test_a_topic_of_another_device_or_outside_of_the_prefix_is_refused_and_counted(stack: Stack, own: Carrying) -> None:
    async def act(board: Board) -> None:
        before = await asyncio.to_thread(own.stored, 0)
        for topic in (f"{own.name}/dev-9/imu", "receipts/+/x", "$SYS/x", "receipts/dev-2", "receipts/dev-12"):
            await board.ask(payload(5), respond=topic)
        await board.ask(payload(6))
        _, told = await board.hear()
        assert told["status"] == "stored"
        # The readings are stored all the same, and the bridge reads no receipt of its own.
        assert await asyncio.to_thread(own.stored, before + 6) == before + 6
        assert receipts(own, "refused") == 5
        assert receipts(own, "sent") >= 1

    with_board(stack, own, act)


def test_a_device_of_mqtt_3_1_1_is_told_by_its_route_s_topic(stack: Stack, own: Carrying) -> None:
    async def act(board: Board) -> None:
        await board.ask(payload(7, sequence=17, boot_id="b1"), level="dev-3/old")
        correlation, told = await board.hear()
        assert correlation is None
        assert told["status"] == "stored"
        assert told["reading"] == {"event_time": GOOD["event_time"] + 7, "sequence": 17, "boot_id": "b1"}

    with_board(stack, own, act, version=4, listen=f"receipts/dev-3/{own.name}")


def test_a_publisher_with_receipts_hears_of_each_message_once(stack: Stack, own: Carrying) -> None:
    heard: list[bytes] = []

    async def main() -> None:
        mqtt = own.config.mqtt
        async with Publisher(mqtt, "dev-4", receipts=True, heard=lambda _, p: heard.append(p)) as publisher:
            for i in range(500):
                await publisher.send(f"{own.name}/dev-4/imu", payload(100 + i))

    before = own.stored(0)
    asyncio.run(main())
    assert sorted(heard) == sorted(payload(100 + i) for i in range(500))
    assert own.stored(before + 500) == before + 500
