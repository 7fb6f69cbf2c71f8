"""The stack is closed by default: who has no password or key gets nothing in, nothing out, and deletes nothing."""

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping

import pytest

from headrace import kafka
from headrace.contracts import files
from headrace.kafka import TopicSpec
from headrace.operate import mqttprobe
from headrace.runtime.http import basic, get
from headrace.schema_registry.client import Registry
from headrace.store.open import open_store
from tests import stranger
from tests.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]

KEY = "closed/secret.txt"
BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED = 0x86, 0x87


def status(
    address: str, method: str, path: str, body: bytes | None = None, head: Mapping[str, str] | None = None
) -> int:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body, head or {})
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


@pytest.mark.clause("EN 5.1-2")
@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("headrace", None), ("headrace", "guess"), ("nobody", "x")]
)
def test_mqtt_refuses_who_has_no_password(stack: Stack, user: str | None, password: str | None) -> None:
    mqtt = stack.config().mqtt
    assert mqtt.username == "headrace"
    code = mqttprobe.handshake(mqtt.host, mqtt.port, user, password, 30)
    assert code in {BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED}
    assert mqtt.password is not None
    assert mqttprobe.handshake(mqtt.host, mqtt.port, mqtt.username, mqtt.password.get_secret_value(), 30) == 0


@pytest.mark.clause("EN 5.1-2")
def test_s3_refuses_unsigned_requests(stack: Stack, stored: str) -> None:
    endpoint, bucket = stack.config().store.endpoint, stack.config().store.bucket
    assert status(endpoint, "GET", "/") == 403
    assert status(endpoint, "GET", f"/{bucket}?list-type=2") == 403
    assert status(endpoint, "GET", stored) == 403
    assert status(endpoint, "PUT", stored, b"mine") == 403
    assert status(endpoint, "PUT", f"/{bucket}/closed/new.txt", b"mine") == 403
    assert status(endpoint, "DELETE", stored) == 403


@pytest.fixture
def topic(stack: Stack) -> Iterator[str]:
    """A topic that holds one message, and still does after the test."""
    cfg, name = stack.config().kafka, f"closed-{uuid.uuid4().hex[:8]}"
    kafka.ensure_topics(cfg, [TopicSpec(name, 1, 1 << 20, 3_600_000)])
    producer = kafka.producer(cfg)
    producer.produce(name, b"untouched")
    assert producer.flush(20) == 0
    yield name
    assert name in kafka.describe(cfg, [name])
    client = kafka.admin(cfg)
    client.delete_topics([name])[name].result()


@pytest.mark.clause("EN 5.1-2")
def test_kafka_gives_nothing_to_who_has_no_password(stack: Stack, topic: str) -> None:
    assert not any(stranger.tries("kafka", stack.config().kafka.bootstrap, topic).values())


@pytest.mark.clause("EN 5.1-2")
def test_kafkas_controller_gives_nothing_to_who_has_no_password(stack: Stack, topic: str) -> None:
    _needs_native(stack, "the controller listens inside its container only")
    address = f"127.0.0.1:{stack.json('status', '--json')['ports']['kafka.controller']}"
    assert not any(stranger.tries("controller", address, topic).values())


@pytest.fixture
def subject(stack: Stack) -> Iterator[str]:
    """A registered contract, which is still there, with its compatibility, after the test."""
    name, contract = f"closed-{uuid.uuid4().hex[:8]}", files.find("imu", ())
    with Registry(stack.config().registry) as registry:
        number = registry.register(name, contract)
        yield name
        assert registry.register(name, contract) == number
        assert registry.latest(name) is not None


@pytest.mark.clause("EN 5.1-2")
def test_the_registry_gives_nothing_to_who_has_no_password(stack: Stack, subject: str) -> None:
    root = stack.config().registry.url.removesuffix("/apis/ccompat/v7")
    api, native = f"{root}/apis/ccompat/v7", f"{root}/apis/registry/v3"
    found = stranger.tries(
        "web", f"GET {api}/subjects", f"GET {api}/subjects/{subject}/versions/latest", f"GET {api}/schemas/ids/1",
        f"POST {api}/subjects/{subject}/versions", f"PUT {api}/config", f"PUT {api}/config/{subject}",
        f"DELETE {api}/config/{subject}", f"DELETE {api}/subjects/{subject}/versions/1",
        f"DELETE {api}/subjects/{subject}", f"DELETE {api}/subjects/{subject}?permanent=true",
        f"GET {native}/search/artifacts", f"GET {native}/admin/export", f"GET {native}/system/info",
        f"DELETE {native}/groups/default/artifacts/{subject}", f"GET {root}/", f"GET {root}/ui/", f"GET {root}/apis",
    )  # fmt: skip
    assert not {request: answer for request, answer in found.items() if answer}


def test_not_even_the_services_delete_a_contract(stack: Stack, subject: str) -> None:
    registry = stack.config().registry
    assert registry.password is not None
    login = {"Authorization": basic("headrace", registry.password.get_secret_value())}
    address, _, path = registry.url.removeprefix("http://").partition("/")
    for more in ("", "?permanent=true", "/versions/1"):
        assert status(address, "DELETE", f"/{path}/subjects/{subject}{more}", head=login) == 403


def _services(stack: Stack) -> list[str]:
    config = stack.config()
    each = (
        config.bridge.http, config.ingest.http, config.clean.http, config.derive.http, config.archive.http,
        config.compact.http,
        config.hub.serve.http,
    )  # fmt: skip
    return [f"http://127.0.0.1:{http.port}" for http in each]


@pytest.mark.clause("EN 5.1-2")
def test_metrics_are_for_who_has_the_token(stack: Stack) -> None:
    found = stranger.tries("web", *(f"GET {url}/metrics" for url in _services(stack)))
    assert not {request: answer for request, answer in found.items() if answer}


def test_a_strangers_health_check_hears_no_more_than_which_check_fails(stack: Stack) -> None:
    asked = [f"GET {url}/{path}" for url in _services(stack) for path in ("livez", "readyz")]

    def served() -> bool:  # a service on a busy machine may not be ready for a moment
        found = stranger.tries("web", *asked)
        assert not {request: answer for request, answer in found.items() if answer and "evil.com" in request}
        return all(answer.startswith("200 ") for request, answer in found.items() if "evil.com" not in request)

    until(served, 60, "every health check answers 200")
    for url in _services(stack):
        told = json.loads(get(f"{url}/readyz"))
        assert set(told) == {"ok", "checks"}
        assert set(told["checks"].values()) <= {"ok", "not ready"}


@pytest.mark.clause("EN 5.1-2")
def test_the_console_is_for_who_is_logged_in(stack: Stack) -> None:
    serve = stack.config().hub.serve
    url = f"http://{serve.host}:{serve.port}"
    paths = ("", "devices", "status", "readings/imu", "readings/imu/newest", "audit", "audit/chain", "login?code=guess")
    found = stranger.tries("web", *(f"GET {url}/{path}" for path in paths))
    leads_to_login = {"303 b''", ""}
    assert set(found.values()) == leads_to_login, found
    assert stranger.tries("web", f"GET {url}/api/status")[f"GET {url}/api/status"] == ""


@pytest.mark.clause("CR 4.1")
def test_secrets_are_readable_by_their_owner_alone(stack: Stack) -> None:
    _needs_native(stack, "the state folder holds what the containers have in volumes")
    held = [stack.state / "headrace.yaml", *(stack.state / "secrets").iterdir(), *(stack.state / "conf").iterdir()]
    assert {oct(p.stat().st_mode & 0o777) for p in held} == {"0o600"}
    assert stack.state.stat().st_mode & 0o777 == 0o700
