"""Devices that are hostile, on a Mosquitto set up as `headrace up` does it: they harm nobody but themselves."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headrace import mqtt
from headrace.operate import brokerfiles
from headrace.operate.mqttusers import password_line
from headrace.stack import mosquitto, plan
from headrace.stack.plan import HOST
from headrace.stack.state import State
from tests import ownports
from tests.waiting import stop_process, until

pytestmark = pytest.mark.integration
PASSWORDS = {"board-01": "one", "board-02": "two", "thief": "three"}
TOPIC = "sensors/board-01/imu"
NOT_AUTHORIZED = 0x87
SESSION = "headrace-bridge"


class Broker:
    """A Mosquitto of a plan of its own, with three devices."""

    def __init__(self, folder: Path) -> None:
        self.plan = plan.make(State(folder), ownports.wishes())
        binary = mosquitto.find()
        assert binary is not None
        self.version = mosquitto.version(binary)
        self._spec = mosquitto.spec(self.plan, binary)
        self._log = folder / "mosquitto.log"

    def start(self, users: dict[str, str] | None = None) -> None:
        """With these devices, by name and password; those that it had where none are given."""
        self._spec.prepare()
        if users is not None:
            text = "".join(password_line(name, word) for name, word in users.items())
            (self.plan.state.conf / brokerfiles.PASSWORDS).write_text(text)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._spec.argv(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(self._answers, 20, self._log.read_text)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            self._spec.probe()
        except Exception:  # noqa: BLE001 - not yet
            return False
        return True

    def stop(self) -> None:
        stop_process(self.process, 15)

    @property
    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * 4096

    def device(self, name: str, **more: Any) -> aiomqtt.Client:
        """A client of the devices' listener."""
        given = {"protocol": aiomqtt.ProtocolVersion.V5, "identifier": f"any-{name}", **more}
        return aiomqtt.Client(HOST, self.plan.ports["mqtt"], username=name, password=PASSWORDS[name], **given)

    def service(self, client_id: str = SESSION, *, keep: bool = True) -> aiomqtt.Client:
        """A client of the services' listener; its session is kept for an hour."""
        expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        expiry.SessionExpiryInterval = 3600 if keep else 0
        it = self.plan.config.mqtt
        assert it.password is not None
        return aiomqtt.Client(
            it.host, it.port, username=it.username, password=it.password.get_secret_value(),
            identifier=client_id, protocol=aiomqtt.ProtocolVersion.V5, clean_start=not keep, properties=expiry,
        )  # fmt: skip


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    it = Broker(tmp_path_factory.mktemp("listeners") / "state")
    it.start(PASSWORDS)
    yield it
    it.stop()


async def heard(client: aiomqtt.Client, seconds: float = 0.5) -> list[tuple[str, bytes]]:
    """What comes within so much time after the last message."""
    out = []
    try:
        while True:
            async with asyncio.timeout(seconds):
                message = await anext(client.messages)
            assert isinstance(message.payload, bytes)
            out.append((str(message.topic), message.payload))
    except TimeoutError:
        return out


async def open_session(broker: Broker) -> None:
    """The bridge's session, empty, with its subscription; nobody is connected to it."""
    async with broker.service(keep=False):
        pass
    async with broker.service() as bridge:
        await bridge.subscribe("sensors/#", qos=1)


@pytest.mark.clause("CR 2.1")
def test_who_takes_the_client_id_of_the_bridge_gets_nothing_and_the_bridge_loses_nothing(broker: Broker) -> None:
    async def main() -> None:
        await open_session(broker)
        async with broker.device("board-01") as board:
            for n in range(3):
                await board.publish(TOPIC, b"%d" % n, qos=1)
        async with broker.device("thief", identifier=SESSION, clean_start=True) as thief:
            await thief.subscribe("#", qos=1)
            assert await heard(thief) == []
        async with broker.service() as bridge:
            assert await heard(bridge) == [(TOPIC, b"%d" % n) for n in range(3)]

    asyncio.run(main())


@pytest.mark.clause("CR 2.1")
def test_who_takes_the_client_id_of_another_device_does_not_disturb_it(broker: Broker) -> None:
    async def main() -> None:
        async with broker.device("board-01", identifier="board-01") as board:
            await board.subscribe("receipts/board-01")
            async with broker.device("thief", identifier="board-01", clean_start=True), broker.service("s") as service:
                await service.publish("receipts/board-01", b"stored")
                assert await heard(board) == [("receipts/board-01", b"stored")]

    asyncio.run(main())


@pytest.mark.clause("CR 2.1")
def test_a_device_hears_its_own_receipts_alone(broker: Broker) -> None:
    async def main() -> None:
        async with broker.device("thief") as thief, broker.device("board-01") as board, broker.service("s") as service:
            for topic in ("#", "receipts/#", "receipts/board-01", "sensors/#", "$SYS/#", "$share/g/receipts/board-01"):
                await thief.subscribe(topic, qos=1)
            await board.subscribe("receipts/board-01/#")
            await board.publish(TOPIC, b"mine", qos=1)
            for topic in ("receipts/board-01", "receipts/board-01/x", "receipts/thief", "receipts/thief/y"):
                await service.publish(topic, b"stored", qos=1)
            assert {topic for topic, _ in await heard(thief)} == {"receipts/thief", "receipts/thief/y"}
            assert {topic for topic, _ in await heard(board)} == {"receipts/board-01", "receipts/board-01/x"}

    asyncio.run(main())


@pytest.mark.clause("CR 2.1")
@pytest.mark.parametrize(
    "topic",
    [
        "receipts/board-01", "receipts/thief", "sensors/board-01/imu", "sensors/board-01/x", "sensors/imu", "sensors",
        "other/thief", "thief/imu", "$SYS/broker/uptime", "headrace/x",
    ],
)  # fmt: skip
def test_a_device_publishes_nothing_but_its_own_readings(broker: Broker, topic: str) -> None:
    async def main() -> None:
        async with broker.service("watch", keep=False) as service, broker.device("thief") as thief:
            await service.subscribe("#", qos=1)
            await service.subscribe("$SYS/broker/uptime")
            done = asyncio.get_running_loop().create_future()
            thief._client.on_publish = lambda _c, _u, _m, reason, _p: (  # type: ignore[assignment]
                done.done() or thief._loop.call_soon_threadsafe(done.set_result, reason.value)
            )
            thief._client.publish(topic, b"forged", qos=1)
            assert await asyncio.wait_for(done, 10) == NOT_AUTHORIZED
            assert all(payload != b"forged" for _, payload in await heard(service, 0.5))

    asyncio.run(main())


def test_a_device_publishes_its_own_readings_and_mistyped_ones(broker: Broker) -> None:
    async def main() -> None:
        async with broker.service("watch", keep=False) as service, broker.device("board-01") as board:
            await service.subscribe("sensors/#", qos=1)
            for topic in (TOPIC, "sensors/board-01/imo", "sensors/board-01/x/y"):
                await board.publish(topic, b"1", qos=1)
            assert {topic for topic, _ in await heard(service)} == {
                TOPIC,
                "sensors/board-01/imo",
                "sensors/board-01/x/y",
            }

    asyncio.run(main())


@pytest.mark.clause("CR 2.1")
@pytest.mark.parametrize("user", ["headrace", "Headrace", "device", ""])
def test_the_devices_listener_lets_no_service_in(broker: Broker, user: str) -> None:
    password = broker.plan.secrets["mqtt"]

    async def main() -> None:
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client(HOST, broker.plan.ports["mqtt"], username=user or None, password=password):
                pass

    asyncio.run(main())


def test_a_browser_is_a_device_like_any_other_over_websockets(broker: Broker) -> None:
    if broker.version < (2, 1):
        pytest.skip("Mosquitto 2.0 has no WebSockets, as Debian builds it")

    def client(name: str, password: str) -> aiomqtt.Client:
        port = broker.plan.ports["mqtt.websockets"]
        return aiomqtt.Client(
            HOST, port, username=name, password=password, identifier=SESSION, transport="websockets",
            protocol=aiomqtt.ProtocolVersion.V5,
        )  # fmt: skip

    async def main() -> None:
        async with broker.service("watch", keep=False) as service, client("board-01", "one") as board:
            await service.subscribe("#", qos=1)
            await board.publish(TOPIC, b"mine", qos=1)
            await board.publish("sensors/board-02/imu", b"forged", qos=0)
            assert await heard(service) == [(TOPIC, b"mine")]
        with pytest.raises(aiomqtt.MqttError):
            async with client("board-01", "two"):
                pass

    asyncio.run(main())


@pytest.mark.clause("CR 2.1")
def test_the_services_listener_lets_no_device_in(broker: Broker) -> None:
    async def main() -> None:
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client(HOST, broker.plan.config.mqtt.port, username="board-01", password="one"):
                pass

    asyncio.run(main())


async def publish_too_much(broker: Broker, payload: bytes) -> None:
    async with broker.device("thief", protocol=aiomqtt.ProtocolVersion.V311) as thief:
        thief._client.publish("sensors/thief/vibration", payload, qos=1)
        await asyncio.wait_for(asyncio.shield(thief._disconnected), 10)


@pytest.mark.clause("CRA I 2(h)")
def test_what_is_too_large_ends_its_sender_s_connection_only(broker: Broker) -> None:
    async def main() -> None:
        large = bytes(broker.plan.config.bridge.max_payload_bytes)
        await open_session(broker)
        async with broker.device("board-01") as board:
            await board.publish("sensors/board-01/vibration", large, qos=1)  # what is allowed
            before = broker.resident_bytes
            for _ in range(5):
                with pytest.raises(aiomqtt.MqttError):
                    await publish_too_much(broker, large + bytes(128 << 10))
            await board.publish(TOPIC, b"1", qos=1)
            assert broker.resident_bytes - before < 32 << 20
        async with broker.service() as bridge:
            assert [(t, len(p)) for t, p in await heard(bridge)] == [
                ("sensors/board-01/vibration", len(large)), (TOPIC, 1),
            ]  # fmt: skip

    asyncio.run(main())


def test_a_filter_that_is_dropped_brings_no_second_copy_and_what_waited_still_comes(broker: Broker) -> None:
    config = broker.plan.config

    async def main() -> None:
        await open_session(broker)
        async with broker.device("board-01") as board:
            await board.publish(TOPIC, b"waited", qos=1)
            bridge = config.bridge
            session = mqtt.Session(SESSION, 3600, bridge.keepalive_seconds, 100, bridge.max_payload_bytes)
            connection = await mqtt.connect(config.mqtt, session)
            connection.subscribe([mqtt.Subscription("sensors/+/imu", 7)], ["sensors/#"])
            got: list[bytes] = []
            try:
                async with asyncio.timeout(2):
                    while not connection.subscribed:
                        got += [p.payload for p in await connection.receive()]
                    await asyncio.sleep(0.3)
                    await board.publish(TOPIC, b"now", qos=1)
                    while True:
                        got += [p.payload for p in await connection.receive()]
            except TimeoutError:
                pass
            await connection.disconnect()
            assert got == [b"waited", b"now"]

    asyncio.run(main())


def test_what_waits_for_the_bridge_survives_each_kind_of_restart(tmp_path: Path) -> None:
    """Mosquitto finds the rights of a saved session by the port of its listener, and denies all where there is none."""
    broker = Broker(tmp_path / "state")
    broker.start(PASSWORDS)
    sent = 0

    async def send(n: int) -> None:
        nonlocal sent
        async with broker.device("board-01") as board:
            for _ in range(n):
                await board.publish(TOPIC, b"%d" % sent, qos=1)
                sent += 1

    try:
        asyncio.run(open_session(broker))
        asyncio.run(send(3))
        time.sleep(2.5)  # until it is saved
        broker.process.kill()
        broker.process.wait()
        broker.start()
        asyncio.run(send(3))
        broker.stop()
        broker.start()
        asyncio.run(send(3))

        async def collect() -> None:
            async with broker.service() as bridge:
                assert [int(p) for _, p in await heard(bridge)] == list(range(sent))

        asyncio.run(collect())
    finally:
        broker.stop()
