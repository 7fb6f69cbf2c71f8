"""Devices with certificates and keys at a real Mosquitto, with hub and the agent: who comes in, as whom, how long."""

import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from headrace.errors import TransientError
from headrace.hub.client import device_path
from headrace.identity.ca import Authority, Pair
from headrace.operate import brokercerts, mqttprobe
from headrace.operate.brokerfiles import ACCESS
from headrace.stack.plan import HOST
from tests.integration.test_brokeragent import World, begun
from tests.waiting import stop_process, until

pytestmark = pytest.mark.integration
WITHIN_SECONDS = 5.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with begun(tmp_path_factory.mktemp("certificates")) as it:
        it.add("first")  # until the agent has put hub's list there, nobody comes in with a certificate
        yield it


def port(world: World, kind: str) -> int:
    return world.broker.plan.ports[f"mqtt.{kind}"]


def certified(world: World, name: str, *, new: bool = True, **more: Any) -> Pair:
    """A certificate from hub; a device that has no password unless it is there."""
    if new:
        world.hub.admin.post("/api/devices", {"id": name, "credential": "none", **more})
    key = ec.generate_private_key(ec.SECP256R1())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    made = world.hub.admin.post(device_path(name, "certificate"), {"public_key": public})
    return Pair(made["certificate"], key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode())


def context(world: World, pair: Pair | None) -> ssl.SSLContext:
    out = ssl.create_default_context(cafile=str(world.broker.plan.state.certs / "ca.pem"))
    if pair is not None:
        file = world.broker.plan.state.tmp / f"client-{time.time_ns()}.pem"
        file.write_text(pair.cert + pair.key)
        out.load_cert_chain(file)
    return out


def admits(world: World, pair: Pair | None, user: str | None = None) -> bool:
    try:
        return mqttprobe.handshake(HOST, port(world, "certificates"), user, None, 30, tls=context(world, pair)) == 0
    except TransientError:
        return False


class Board:
    """A device that stays, and publishes all the time. `gone`: when its connection ended, in seconds of a clock."""

    def __init__(self, world: World, name: str, pair: Pair) -> None:
        self.name, self.gone, self.acknowledged = name, 0.0, 0
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="any", reconnect_on_failure=False)
        self.client.tls_set_context(context(world, pair))
        self.client.on_publish = self._published
        self.client.on_disconnect = lambda *_: setattr(self, "gone", self.gone or time.monotonic())
        self.client.connect(HOST, port(world, "certificates"))
        self.client.loop_start()
        until(self.client.is_connected, 5, "it does not come in", pause=0.01)
        self.send()

    def send(self) -> None:
        self.client.publish(f"sensors/{self.name}/imu", b"1", qos=1)

    def _published(self, *_: object) -> None:
        self.acknowledged += 1
        time.sleep(0.005)
        if not self.gone:
            self.send()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def boards(world: World, **pairs: Pair) -> Iterator[dict[str, Board]]:
    made = {name.replace("_", "-"): Board(world, name.replace("_", "-"), pair) for name, pair in pairs.items()}
    try:
        yield made
    finally:
        for one in made.values():
            one.close()


def in_force(world: World, version: int) -> None:
    assert world.hub.admin.in_force(version, 20), world.log.read_text()


def acknowledged(world: World, pair: Pair, topic: str) -> bool:
    """Whether what the device publishes there reaches the services."""
    got = threading.Event()
    it = world.broker.plan.config.mqtt
    assert it.password is not None
    watch = paho.Client(CallbackAPIVersion.VERSION2)
    watch.username_pw_set(it.username, it.password.get_secret_value())
    watch.on_message = lambda *_: got.set()
    watch.on_connect = lambda *_: watch.subscribe(topic, 1) and None
    ready = threading.Event()
    watch.on_subscribe = lambda *_: ready.set()
    watch.connect(it.host, it.port)
    watch.loop_start()
    device = paho.Client(CallbackAPIVersion.VERSION2)
    device.tls_set_context(context(world, pair))
    try:
        assert ready.wait(5)
        device.connect(HOST, port(world, "certificates"))
        device.loop_start()
        device.publish(topic, b"1", qos=1).wait_for_publish(5)
        return got.wait(0.5)
    finally:
        for one in (watch, device):
            one.disconnect()
            one.loop_stop()


@pytest.mark.clause("CR 2.1")
def test_a_device_with_a_certificate_publishes_as_itself_alone(world: World) -> None:
    one = certified(world, "cert-01")
    assert admits(world, one)
    assert acknowledged(world, one, "sensors/cert-01/imu")
    assert not acknowledged(world, one, "sensors/cert-02/imu")
    assert not acknowledged(world, one, "receipts/cert-01")
    assert admits(world, one, user="cert-02"), "the name in CONNECT does not count"


@pytest.mark.clause("EN 5.1-1, CR 1.2")
def test_certificates_of_others_and_those_that_have_ended_are_refused(world: World) -> None:
    certs = world.broker.plan.state.certs
    files = (world.broker.plan.devices_ca.with_suffix(end) for end in (".pem", ".key"))
    ours = Authority(Pair(*(file.read_text() for file in files)))
    stack = Pair((certs / "mqtt.pem").read_text(), (certs / "mqtt.key").read_text())
    refused = {
        "none": None,
        "another authority of the same name": Authority.make("Headrace devices").client("cert-01"),
        "one that has ended": ours.client("cert-01", days=-0.01),
        "the broker's own": stack,
    }
    assert {name: admits(world, pair) for name, pair in refused.items()} == dict.fromkeys(refused, False)
    assert admits(world, ours.client("cert-03")), "so it is not for another reason"


@pytest.mark.clause("CR 1.9")
def test_who_is_revoked_is_out_within_seconds_and_can_t_come_back_and_others_notice_nothing(world: World) -> None:
    pairs = {f"out_{n}": certified(world, f"out-{n}") for n in range(3)}
    stays = certified(world, "stays")
    with boards(world, **pairs, stays=stays) as there:
        begun, version = time.monotonic(), 0
        for name in pairs:
            version = world.hub.admin.post(device_path(name.replace("_", "-"), "revoke"))["broker_version"]
        gone = [there[name.replace("_", "-")] for name in pairs]
        until(lambda: all(b.gone for b in gone), 20, world.log.read_text, pause=0.02)
        assert max(b.gone for b in gone) - begun < WITHIN_SECONDS
        assert not any(admits(world, pair) for pair in pairs.values())
        in_force(world, version)
        before = there["stays"].acknowledged
        until(lambda: there["stays"].acknowledged > before, 5, "it publishes no more")
        assert not there["stays"].gone
    assert admits(world, stays)


@pytest.mark.clause("CR 1.9")
def test_a_device_that_is_quarantined_is_out_and_comes_in_again_when_it_is_active(world: World) -> None:
    pair = certified(world, "held")
    with boards(world, held=pair) as there:
        world.hub.admin.patch(device_path("held"), {"state": "quarantined"})
        until(lambda: there["held"].gone, 10, world.log.read_text)
    assert not admits(world, pair)
    world.hub.admin.patch(device_path("held"), {"state": "active"})
    until(lambda: admits(world, pair), 10, world.log.read_text)


@pytest.mark.clause("CR 1.9")
def test_certificates_overlap_at_a_rotation_and_a_third_ends_the_first(world: World) -> None:
    one = certified(world, "turns")
    two = certified(world, "turns", new=False)
    assert admits(world, one)
    assert admits(world, two)
    with boards(world, turns=one) as there:
        three = certified(world, "turns", new=False)
        until(lambda: there["turns"].gone, 10, world.log.read_text)
    assert [admits(world, pair) for pair in (one, two, three)] == [False, True, True]


def psk_client(world: World, command: str, name: str, key: str, *more: str) -> list[str]:
    given = ["-h", HOST, "-p", str(port(world, "psk")), "--psk-identity", name, "--psk", key]
    return [command, *given, "-V", "5", *more]


def psk_admits(world: World, name: str, key: str, topic: str = "") -> bool:
    line = psk_client(world, "mosquitto_pub", name, key, "-q", "1", "-m", "1", "-t", topic or f"sensors/{name}/imu")
    return subprocess.run(line, capture_output=True, timeout=10, check=False).returncode == 0


@pytest.mark.clause("CR 1.9")
def test_a_device_with_a_key_publishes_as_itself_and_is_out_within_seconds_when_it_gets_another(world: World) -> None:
    made = world.hub.admin.post("/api/devices", {"id": "key-01", "credential": "psk"})
    in_force(world, made["broker_version"])
    key = made["psk"]
    assert psk_admits(world, "key-01", key)
    assert not psk_admits(world, "key-01", "00" * 32)
    assert not psk_admits(world, "key-02", key)
    log = world.broker.plan.state.tmp / "psk.log"
    with log.open("w") as out:
        line = ["stdbuf", "-oL", *psk_client(world, "mosquitto_sub", "key-01", key, "-d", "-t", "receipts/key-01")]
        live = subprocess.Popen(line, stdout=out, stderr=out)
    try:
        until(lambda: "received SUBACK" in log.read_text(), 10, log.read_text)
        begun = time.monotonic()
        new = world.hub.admin.post(device_path("key-01", "psk"))
        until(
            lambda: log.read_text().count("sending CONNECT") > 1 or live.poll() is not None,
            10,
            log.read_text,
            pause=0.02,
        )
        assert time.monotonic() - begun < WITHIN_SECONDS
        in_force(world, new["broker_version"])
        assert log.read_text().count("received CONNACK (0)") == 1, "it is back"
    finally:
        stop_process(live, 5)
    assert not psk_admits(world, "key-01", key)
    assert psk_admits(world, "key-01", new["psk"])


@pytest.mark.clause("CR 2.1")
def test_only_a_gateway_publishes_where_a_gateway_speaks_for_others(world: World) -> None:
    gateway, device = certified(world, "gate-1", kind="gateway"), certified(world, "board-9")
    text = world.config.read_text()
    route = yaml.safe_load(text)
    route["streams"]["imu"]["routes"] = [{"filter": "gw/{gateway}/{device_id}/imu", "identity": "gateway"}]
    access = world.broker.plan.state.conf / ACCESS
    try:
        world.config.write_text(yaml.safe_dump(route))
        world.add("so-that-the-agent-looks")
        until(lambda: "topic write gw/gate-1/+/imu" in access.read_text(), 20, access.read_text)
        until(lambda: acknowledged(world, gateway, "gw/gate-1/board-7/imu"), 10, access.read_text)
        assert not acknowledged(world, gateway, "gw/gate-2/board-7/imu")
        assert not acknowledged(world, device, "gw/board-9/board-7/imu"), "any device would speak for any other"
        assert not acknowledged(world, device, "gw/gate-1/board-7/imu")
    finally:
        world.config.write_text(text)
        world.add("so-that-it-looks-again")
        until(lambda: "sensors/%u/imu" in access.read_text(), 20, access.read_text)


@pytest.mark.clause("CR 1.9")
def test_a_list_that_was_damaged_is_put_back_and_lets_nobody_stay_in_and_locks_nobody_out(world: World) -> None:
    good, bad = certified(world, "good-1"), certified(world, "bad-1")
    in_force(world, world.hub.admin.post(device_path("bad-1", "revoke"))["broker_version"])
    file = world.broker.plan.state.conf / brokercerts.CRL
    with boards(world, good_1=good) as there:
        file.write_text("garbage")
        if world.broker.version < (2, 1):  # which ends
            world.broker.process.send_signal(signal.SIGHUP)
            until(lambda: admits(world, bad), 5, "Mosquitto 2.0 lets everybody in when it can't read a list")
        world.add("so-that-the-agent-looks-here")
        assert file.read_text() != "garbage"
        assert not admits(world, bad)
        assert not there["good-1"].gone
    world.broker.stop()
    file.write_text("garbage")
    world.broker.start(None)
    assert not admits(world, bad), "it starts, and takes nobody, until the agent has put the list back"
    until(lambda: admits(world, good), 20, world.log.read_text)
    assert not admits(world, bad)
