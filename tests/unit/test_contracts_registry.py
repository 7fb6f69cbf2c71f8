"""The registry's client, against a small server that answers as a registry does, and as none should."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from headrace.config import load
from headrace.config.connect import Registry as Settings
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, PoisonError, Reason, RefusedContractError, TransientError
from headrace.schema_registry import client
from headrace.schema_registry.client import UNKNOWN_SECONDS, Registry

DEVICE = {"name": "device_id", "type": "string"}
TIME = {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}}
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}


def contract(*fields: Any) -> Contract:
    return parse("pump", json.dumps({"type": "record", "name": "pump", "fields": [DEVICE, TIME, *fields, QUALITY]}))


class Fake:
    """As much of a registry as the client asks: subjects with versions, levels, and ids by text."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.levels: dict[str, str] = {}
        self.versions: dict[str, list[str]] = {}
        self.texts: list[str] = []
        self.answer: tuple[int, bytes] | None = None  # to everything, when set
        self.authorization: str | None = None
        self.incompatible = False
        self.raced = ""  # a level that somebody else has just set
        self.others: list[str] = []  # what somebody else registers just before the next requests, which get a 409

    def handle(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.requests.append(f"{method} {path}")
        match [p for p in path.partition("?")[0].split("/") if p]:
            case ["config", subject] if method == "PUT":
                raced, self.raced = self.raced, ""
                self.levels[subject] = raced or body["compatibility"]
                if raced:
                    return 409, _error(409, "A rule named 'COMPATIBILITY' already exists.")
                return 200, {"compatibility": body["compatibility"]}
            case ["config", subject]:
                level = self.levels.get(subject)
                return (200, {"compatibilityLevel": level}) if level else (404, _error(40408, "no level"))
            case ["schemas", "ids", number]:
                known = 0 < int(number) <= len(self.texts)
                return (200, {"schema": self.texts[int(number) - 1]}) if known else (404, _error(40403, "unknown"))
            case ["subjects", subject]:
                if body["schema"] not in self.versions.get(subject, []):
                    return 404, _error(40403, "not there")
                return 200, self._registered(subject, body["schema"])
            case ["subjects", subject, "versions"]:
                return self._register(subject, body["schema"])
            case ["subjects", subject, "versions", "latest"]:
                found = self.versions.get(subject)
                return (200, self._registered(subject, found[-1])) if found else (404, _error(40401, "no subject"))
            case ["compatibility", *_]:
                return 200, {"is_compatible": not self.incompatible}
        return 404, None

    def _register(self, subject: str, text: str) -> tuple[int, Any]:
        if self.others:
            self._add(subject, self.others.pop(0))
            return 409, _error(409, "io.x.VersionAlreadyExistsException: it is there already")
        if self.incompatible:
            return 409, _error(409, "io.x.RuleViolationException: Incompatible artifact: because")
        return 200, {"id": self._add(subject, text)}

    def _add(self, subject: str, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        self.versions.setdefault(subject, []).append(text)
        return self.texts.index(text) + 1

    def _registered(self, subject: str, text: str) -> dict[str, Any]:
        version = self.versions[subject].index(text) + 1
        return {"subject": subject, "id": self.texts.index(text) + 1, "version": version, "schema": text}


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error_code": code, "message": message}


@contextmanager
def serving(fake: Fake) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # one write an answer: two would wait for the client's delayed acknowledgement

        def _do(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            fake.authorization = self.headers.get("Authorization")
            status, found = fake.answer or fake.handle(self.command, self.path, body)
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = _do  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def url(fake: Fake) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with Registry(Settings(url=url, timeout_seconds=5)) as opened:
        yield opened


def test_registering_sets_backward_first_and_gives_one_id_for_one_text(fake: Fake, registry: Registry) -> None:
    c = contract()
    ids = {registry.register(s, c) for s in ("a.raw-value", "a.clean-value", "a.raw-value")}
    assert ids == {1}
    assert fake.levels == {"a.raw-value": "BACKWARD", "a.clean-value": "BACKWARD"}
    order = [r.partition("?")[0] for r in fake.requests]
    assert order.index("PUT /config/a.raw-value") < order.index("POST /subjects/a.raw-value/versions")
    assert order.count("POST /subjects/a.raw-value/versions") == 1
    assert registry.schema_text(1) == c.text
    assert registry.latest("a.raw-value") == c.text
    assert registry.latest("nope") is None


@pytest.mark.parametrize(("before", "after"), [("FULL", "FULL"), ("BACKWARD_TRANSITIVE",) * 2, ("NONE", "BACKWARD")])
def test_a_stricter_level_is_left_alone(fake: Fake, registry: Registry, before: str, after: str) -> None:
    fake.levels["s"] = before
    registry.register("s", contract())
    assert fake.levels["s"] == after


def test_a_level_that_another_sets_at_the_same_moment_will_do(fake: Fake, registry: Registry) -> None:
    fake.raced = "BACKWARD"
    assert registry.register("pump.raw-value", contract()) == 1


def test_a_lower_level_set_at_the_same_moment_will_not(fake: Fake, registry: Registry) -> None:
    fake.raced = "NONE"
    with pytest.raises(ConfigError, match="already exists"):
        registry.register("pump.raw-value", contract())


def test_an_incompatible_contract_is_refused_in_words_and_not_sent(fake: Fake, registry: Registry) -> None:
    registry.register("s", contract({"name": "t", "type": "double"}))
    changed = contract({"name": "t", "type": "string"})
    words = "field t changed from double to string"
    assert words in registry.check("s", changed)[0]
    with pytest.raises(ConfigError, match=f"contract pump can't become the next version of s:\n  {words}"):
        registry.register("s", changed)
    assert len(fake.versions["s"]) == 1


def test_an_older_version_may_be_registered_again(registry: Registry) -> None:
    old = contract({"name": "t", "type": "double"})
    new = contract({"name": "t", "type": ["null", "double"], "default": None})
    first = registry.register("s", old)
    assert registry.register("s", new) != first
    assert registry.check("s", old) == [], "though it can't read what was written with the newer one"
    assert registry.register("s", old) == first


def test_a_409_is_no_incompatibility_where_another_has_just_registered_the_same(fake: Fake, registry: Registry) -> None:
    c = contract({"name": "t", "type": "double"})
    fake.others = [c.text]
    assert registry.register("s", c) == 1
    assert fake.versions["s"] == [c.text]


@pytest.mark.usefixtures("_quick")
def test_a_409_is_tried_again_where_another_has_just_registered_a_version_that_this_one_may_follow(
    fake: Fake, registry: Registry
) -> None:
    fake.others = [contract().text, contract({"name": "u", "type": "long"}).text]
    assert registry.register("s", contract({"name": "t", "type": ["null", "double"], "default": None})) == 3


def test_a_409_is_an_incompatibility_where_another_has_just_registered_what_this_one_can_not_read(
    fake: Fake, registry: Registry
) -> None:
    fake.others = [contract({"name": "t", "type": "string"}).text]
    with pytest.raises(RefusedContractError, match="field t changed from string to double"):
        registry.register("s", contract({"name": "t", "type": "double"}))


def test_what_the_registry_does_not_take_for_a_contract_is_refused_like_an_incompatible_one(
    fake: Fake, registry: Registry
) -> None:
    fake.answer = 422, json.dumps(_error(42201, "not Avro to me")).encode()
    with pytest.raises(RefusedContractError, match="not Avro to me"):
        registry.register("s", contract())


def test_a_registry_that_takes_nothing_now_refuses_no_contract(fake: Fake, registry: Registry) -> None:
    fake.answer = 422, json.dumps(_error(42205, "Subject s is in read-only mode")).encode()
    with pytest.raises(TransientError, match="read-only mode"):
        registry.register("s", contract())


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_CONFLICT_PAUSES", (0.001,) * 3)


@pytest.mark.usefixtures("_quick")
def test_the_registrys_own_reason_is_told(fake: Fake, registry: Registry) -> None:
    registry.register("s", contract())
    fake.incompatible = True
    with pytest.raises(ConfigError, match="can't read readings written with version 1"):
        registry.register("s", contract({"name": "t", "type": ["null", "double"], "default": None}))
    with pytest.raises(ConfigError, match="Incompatible artifact: because"):
        registry.register("other", contract())


def test_nothing_registered_is_compatible_with_everything(registry: Registry) -> None:
    assert registry.check("s", contract()) == []


def test_unknown_ids_are_remembered_for_a_while(fake: Fake, url: str) -> None:
    now = 0.0
    with Registry(Settings(url=url), clock=lambda: now) as registry:
        for _ in range(5):
            with pytest.raises(PoisonError) as e:
                registry.schema_text(1)
            assert e.value.reason is Reason.UNKNOWN_SCHEMA
        assert len(fake.requests) == 1
        registry.register("s", contract())
        now = UNKNOWN_SECONDS + 1
        assert registry.schema_text(1) == contract().text
        asked = len(fake.requests)
        registry.schema_text(1)
        assert len(fake.requests) == asked


@pytest.mark.parametrize("schema_id", [0, -1, 2**31, 2**32 - 1])
def test_ids_that_no_registry_gives_are_not_asked_for(fake: Fake, registry: Registry, schema_id: int) -> None:
    with pytest.raises(PoisonError):
        registry.schema_text(schema_id)
    assert fake.requests == []


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (500, b'{"error_code": 50001, "message": "store"}', TransientError, "store"),
        (503, b"<html>starting</html>", TransientError, "503"),
        (429, b"{}", TransientError, "429"),
        (200, b"<html>maintenance</html>", TransientError, "not a registry's answer"),
        (401, b"{}", ConfigError, "registry.username"),
        (403, b"denied", ConfigError, "registry.username"),
        (404, b"nothing here", TransientError, "Apicurio's ends in /apis/ccompat/v7"),
        (405, b"{}", ConfigError, "Apicurio's ends in"),
    ],
)
def test_answers_of_others(
    fake: Fake, registry: Registry, status: int, body: bytes, error: type[Exception], words: str
) -> None:
    fake.answer = (status, body)
    for call in (lambda: registry.schema_text(1), lambda: registry.register("s", contract())):
        with pytest.raises(error, match=words):
            call()


def test_away_is_transient_and_quick() -> None:
    with Registry(Settings(url="http://127.0.0.1:1/", timeout_seconds=1)) as registry, pytest.raises(TransientError):
        registry.schema_text(1)


def test_a_silent_server_times_out() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Registry(Settings(url=address, timeout_seconds=0.1)) as registry, pytest.raises(TransientError):
            registry.schema_text(1)


@pytest.mark.parametrize("address", ["", "ftp://x", "nonsense", "http://"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigError, match=r"registry\.url"):
        load(None, {"HEADRACE_REGISTRY__URL": address})


def test_credentials_are_sent(fake: Fake, url: str) -> None:
    settings = Settings(url=url, username="u", password=SecretStr("a:b"))
    with Registry(settings) as registry:
        registry.check("s", contract())
    assert fake.authorization == "Basic dTphOmI="
