"""EN 303 645 5.1, IEC 62443-4-2 CR 1.2 and 1.9: each device has a password of its own, and loses it within a minute."""

import asyncio
import base64
import http.client
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt
import pytest
from pydantic import SecretStr

from headrace.errors import ConfigError, TransientError
from headrace.hub.client import Hub, RefusedError, device_path
from headrace.operate import mqttprobe
from headrace.stack import plan
from headrace.stack.state import State
from tests.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]

DEVICES, REVOKED, ROTATED = 20, 4, 2
PROMISED_SECONDS = 60.0  # until who was revoked is out
BITS = 96
REFUSED = {0x86, 0x87}  # bad user name or password, not authorised
GUESSES = [
    (user, word)
    for user in ("admin", "root", "user", "guest", "device", "mosquitto", "headrace", "default", "test")
    for word in (user, "admin", "password", "12345678", "headrace", "")
]


def names(count: int) -> list[str]:
    return [f"own-{time.time_ns():x}-{n:02d}" for n in range(count)]


def given(stack: Stack, devices: list[str]) -> dict[str, str]:
    """New devices and their passwords, which the broker takes by now."""
    if not stack.native:
        pytest.skip("with containers no agent is beside their broker: tests/compose looks at that")
    hub = Hub(stack.config().hub)
    made = hub.post("/api/devices/import", {"devices": [{"id": name} for name in devices]})
    assert hub.in_force(made["broker_version"], 20)
    found: dict[str, str] = made["passwords"]
    return found


def code(stack: Stack, user: str | None, word: str | None) -> int:
    door = stack.config().mqtt.as_device("", "")
    return mqttprobe.handshake(door.host, door.port, user, word, 10.0)


@pytest.mark.clause("EN 5.1-1, CR 1.2")
def test_each_device_has_a_password_of_its_own_that_lets_in_nobody_else(stack: Stack) -> None:
    words = given(stack, devices := names(DEVICES))
    assert len(set(words.values())) == DEVICES
    assert all(len(bytes.fromhex(word)) * 8 >= BITS for word in words.values())
    assert {code(stack, name, words[name]) for name in devices} == {0}
    neighbours = zip(devices, [*devices[1:], devices[0]], strict=True)
    assert {code(stack, name, words[other]) for name, other in neighbours} <= REFUSED


@pytest.mark.clause("EN 5.1-1, CR 1.2")
def test_nobody_chooses_a_password(stack: Stack) -> None:
    hub = Hub(stack.config().hub)
    with pytest.raises(RefusedError, match="password: unknown key"):
        hub.post("/api/devices", {"id": names(1)[0], "password": "12345678"})


@pytest.mark.clause("EN 5.1-2")
def test_two_installations_have_no_secret_in_common_and_none_is_short(tmp_path: Path) -> None:
    one, other = (plan.make(State(tmp_path / n), plan.Wishes(auto_ports=True)) for n in ("one", "other"))
    assert one.secrets.keys() == other.secrets.keys()
    assert not set(one.secrets.values()) & set(other.secrets.values())
    keys = [path.read_text() for it in (one, other) for path in it.state.certs.rglob("*.key")]
    assert len(set(keys)) == len(keys) > 4
    public = {"s3_access"}  # a name, not a secret
    assert min(len(word) * 6 for name, word in one.secrets.items() if name not in public) >= BITS


@pytest.mark.clause("EN 5.1-2")
def test_no_login_that_others_ship_opens_anything(stack: Stack) -> None:
    mqtt = stack.config().mqtt
    for user, word in GUESSES:
        assert code(stack, user, word) in REFUSED
        assert mqttprobe.handshake(mqtt.host, mqtt.port, user, word, 10.0) in REFUSED
    registry = stack.config().registry.url.removeprefix("http://")
    for user, word in GUESSES:
        login = base64.b64encode(f"{user}:{word}".encode()).decode()
        assert asked(registry, "/subjects", f"Basic {login}") in {401, 403}
    for word in ("admin", "headrace", "hr_"):  # a few: others come from this address too, and would have to wait
        hub = Hub(stack.config().hub.model_copy(update={"token": SecretStr(word), "token_file": None}))
        with pytest.raises((ConfigError, TransientError), match=r"not known|too many"):
            hub.get("/api/devices")


def asked(url: str, path: str, login: str) -> int:
    address, _, before = url.partition("/")
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", f"/{before}{path}" if before else path, headers={"Authorization": login})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.clause("CR 1.9")
def test_who_is_revoked_is_out_within_a_minute_with_the_live_connection_and_nobody_else(stack: Stack) -> None:
    words = given(stack, devices := names(DEVICES))
    hub, door = Hub(stack.config().hub), stack.config().mqtt.as_device("", "")
    gone, rotated, stay = devices[:REVOKED], devices[REVOKED : REVOKED + ROTATED], devices[REVOKED + ROTATED :]

    async def main() -> float:
        async with AsyncExitStack() as open_:
            live = {}
            for name in devices:
                it = aiomqtt.Client(door.host, door.port, username=name, password=words[name], identifier=name)
                live[name] = it
                await it.__aenter__()
                open_.push_async_callback(_leave, it)
            began = time.monotonic()
            for name in gone:
                await asyncio.to_thread(hub.post, device_path(name, "revoke"))
            for name in rotated:
                await asyncio.to_thread(hub.post, device_path(name, "rotate"))
            out = [asyncio.shield(live[name]._disconnected) for name in (*gone, *rotated)]
            done, _ = await asyncio.wait(out, timeout=PROMISED_SECONDS)
            took = time.monotonic() - began
            assert len(done) == len(out), f"{len(out) - len(done)} are still in after {took:.0f} s"
            [it.exception() for it in done]
            for name in stay:
                await live[name].subscribe(f"receipts/{name}")
                assert not live[name]._disconnected.done(), name
            return took

    took = asyncio.run(main())
    print(f"{len(gone)} revoked, {len(rotated)} with new passwords: all out after {took:.2f} s")
    assert {code(stack, name, words[name]) for name in (*gone, *rotated)} <= REFUSED
    assert {code(stack, name, words[name]) for name in stay} == {0}
    hub.patch(device_path(gone[0]), {"state": "active"})
    again = hub.post(device_path(gone[0], "rotate"))
    assert hub.in_force(again["broker_version"], 20)
    until(lambda: code(stack, gone[0], again["password"]) == 0, 10, "let in again with a new password")
    assert code(stack, gone[0], words[gone[0]]) in REFUSED


async def _leave(it: aiomqtt.Client) -> None:
    try:
        await it.__aexit__(None, None, None)
    except aiomqtt.MqttError:
        return
