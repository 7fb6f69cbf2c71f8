"""The stack is closed by default: who has no password or key gets nothing in, nothing out, and deletes nothing."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.stack import mosquitto
from headrace.store.open import open_store
from tests.stack import Stack

pytestmark = pytest.mark.integration

KEY = "closed/secret.txt"
BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED = 0x86, 0x87


def status(address: str, method: str, path: str, body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def stored(stack: Stack) -> Iterator[str]:
    """The path of an object that is in the store, and still there, unchanged, after the test."""
    store = open_store(stack.config().store)
    store.put(KEY, b"untouched")
    yield f"/{stack.config().store.bucket}/{KEY}"
    assert store.get(KEY) == b"untouched"
    store.delete(KEY)


def _needs_native(stack: Stack, why: str) -> None:
    if not stack.native:
        pytest.skip(f"with containers {why}: tests/compose looks at that")


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("headrace", None), ("headrace", "guess"), ("nobody", "x")]
)
def test_mqtt_refuses_who_has_no_password(stack: Stack, user: str | None, password: str | None) -> None:
    mqtt = stack.config().mqtt
    assert mqtt.username == "headrace"
    code = mosquitto.handshake(mqtt.host, mqtt.port, user, password)
    assert code in {BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED}
    assert mqtt.password is not None
    assert mosquitto.handshake(mqtt.host, mqtt.port, mqtt.username, mqtt.password.get_secret_value()) == 0


def test_s3_refuses_unsigned_requests(stack: Stack, stored: str) -> None:
    endpoint, bucket = stack.config().store.endpoint, stack.config().store.bucket
    assert status(endpoint, "GET", "/") == 403
    assert status(endpoint, "GET", f"/{bucket}?list-type=2") == 403
    assert status(endpoint, "GET", stored) == 403
    assert status(endpoint, "PUT", stored, b"mine") == 403
    assert status(endpoint, "PUT", f"/{bucket}/closed/new.txt", b"mine") == 403
    assert status(endpoint, "DELETE", stored) == 403


def test_the_filer_refuses_requests_without_a_token(stack: Stack, stored: str) -> None:
    _needs_native(stack, "SeaweedFS's filer is not published")
    filer = f"127.0.0.1:{stack.json('status', '--json')['ports']['filer']}"
    assert status(filer, "GET", f"/buckets{stored}") == 401
    assert status(filer, "PUT", f"/buckets{stored}", b"mine") == 401
    assert status(filer, "POST", "/buckets/anything.txt", b"mine") == 401
    assert status(filer, "DELETE", f"/buckets{stored}") == 401
    assert status(filer, "DELETE", "/buckets?recursive=true") == 401


def test_secrets_are_readable_by_their_owner_alone(stack: Stack) -> None:
    _needs_native(stack, "the state folder holds what the containers have in volumes")
    held = [stack.state / "headrace.yaml", *(stack.state / "secrets").iterdir(), *(stack.state / "conf").iterdir()]
    assert {oct(p.stat().st_mode & 0o777) for p in held} == {"0o600"}
    assert stack.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux only")
def test_everything_listens_on_loopback(stack: Stack) -> None:
    """By the kernel's own table: the ports of this stack are bound to 127.0.0.1 only."""
    _needs_native(stack, "ports are published by Docker")
    ours = set(stack.json("status", "--json")["ports"].values())
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for fields in (line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]):
            address, _, port = fields[1].rpartition(":")
            if fields[3] == "0A" and int(port, 16) in ours:  # 0A: listening
                found.add((int(port, 16), address))
    assert {port for port, _ in found} == ours
    assert {address for _, address in found} <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1
