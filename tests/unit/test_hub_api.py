"""Hub over HTTP: the registry, who may call, what is refused and in which words."""

import base64
import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from headrace.errors import ConfigError, TransientError
from headrace.hub.client import RefusedError, device_path
from headrace.runtime import attempts
from hub import tables
from tests.hubworld import Served, add, lite, served


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path)) as it:
        yield it


def fits(password: str, verifier: str) -> bool:
    """Whether Mosquitto would take the password."""
    _, kind, rounds, salt, digest = verifier.split("$")
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(rounds))
    return kind == "7" and base64.b64decode(digest) == made


def refused(call: Any, *args: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(RefusedError) as e:
        call(*args, **more)
    return e.value.status, str(e.value)


@pytest.mark.clause("EN 5.1-1, CR 1.2")
def test_a_device_that_is_added_has_a_password_of_its_own_that_is_kept_as_a_hash_only(
    hub: Served, tmp_path: Path
) -> None:
    one, two = add(hub.admin, "board-01"), add(hub.admin, "board-02", kind="gateway", model="m1")
    told = hub.broker.get("/api/broker")
    assert set(told["passwords"]) == {"board-01", "board-02"}
    assert fits(one, told["passwords"]["board-01"])
    assert fits(two, told["passwords"]["board-02"])
    assert one != two
    kept = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert b"board-01" in kept
    assert one.encode() not in kept
    assert {p.stat().st_mode & 0o077 for p in tmp_path.iterdir()} == {0}


def test_what_is_known_of_a_device_can_be_changed_piece_by_piece(hub: Served) -> None:
    add(hub.admin, "b", tags=["x"], attributes={"room": "1", "floor": 2}, calibration={"2026-01-01": {"gain": 1.5}})
    hub.admin.patch(
        device_path("b"),
        {"model": "m2", "attributes": {"room": None, "door": True}, "calibration": {"2026-02-01": {"gain": 2}}},
    )
    found = hub.admin.get(device_path("b"))
    assert (found["model"], found["tags"]) == ("m2", ["x"])
    assert found["attributes"] == {"floor": 2, "door": True}
    assert found["calibration"] == {"2026-01-01": {"gain": 1.5}, "2026-02-01": {"gain": 2}}
    hub.admin.patch(device_path("b"), {"calibration": {"2026-01-01": None}})
    assert list(hub.admin.get(device_path("b"))["calibration"]) == ["2026-02-01"]


@pytest.mark.clause("CR 3.5")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"id": "a/b"}, "id: 'a/b' can't name a device"),
        ({"id": "HEADRACE-bridge"}, "can't name a device"),
        ({"id": "%u"}, "can't name a device"),
        ({"id": ""}, "can't name a device"),
        ({"id": "-x"}, "would take it for an option"),
        ({"id": "x", "tag": []}, "tag: unknown key"),
        ({"id": "x", "tags": ["a b"]}, "tags[0]: 'a b'"),
        ({"id": "x", "model": "a\nb"}, "model: control characters"),
        ({"id": "x", "attributes": {"1": 2}}, "attributes: '1' can't name an attribute"),
        ({"id": "x", "attributes": {"a": "y" * 20_000}}, "more than 16,384 bytes"),
        ({"id": "x", "calibration": {"soon": {}}}, "calibration"),
    ],
)
def test_a_device_that_does_not_fit_is_refused_in_words(hub: Served, body: dict[str, Any], words: str) -> None:
    status, message = refused(hub.admin.post, "/api/devices", body)
    assert status == 422
    assert words in message


def test_an_id_is_given_once(hub: Served) -> None:
    add(hub.admin, "b")
    status, message = refused(hub.admin.post, "/api/devices", {"id": "b"})
    assert status == 409
    assert "rotate" in message
    assert refused(hub.admin.get, device_path("nobody"))[0] == 404
    assert refused(hub.admin.post, device_path("nobody", "revoke"))[0] == 404


def test_a_password_is_renewed_and_the_answer_says_when_the_old_one_ends(hub: Served) -> None:
    old = add(hub.admin, "b")
    done = hub.admin.post(device_path("b", "rotate"))
    told = hub.broker.get("/api/broker")
    assert told["version"] == done["broker_version"]
    assert f"version {told['version']}" in done["old_password"]
    assert fits(done["password"], told["passwords"]["b"])
    assert not fits(old, told["passwords"]["b"])


def test_only_an_active_device_gets_in_at_the_broker(hub: Served) -> None:
    add(hub.admin, "a")
    add(hub.admin, "b")
    version = hub.broker.get("/api/broker")["version"]
    hub.admin.patch(device_path("a"), {"model": "m"})
    assert hub.broker.get("/api/broker")["version"] == version, "the broker need not know"
    hub.admin.patch(device_path("a"), {"state": "quarantined"})
    assert hub.broker.get("/api/broker", {"after": version, "wait": 5})["version"] == version + 1
    hub.admin.post(device_path("b", "revoke"))
    assert hub.broker.get("/api/broker")["passwords"] == {}
    assert refused(hub.admin.post, device_path("b", "revoke"))[0] == 409
    assert refused(hub.admin.post, device_path("b", "rotate"))[0] == 409
    assert refused(hub.admin.patch, device_path("a"), {"state": "revoked"})[0] == 409
    assert refused(hub.admin.patch, device_path("a"), {"state": "erased"})[0] == 409
    hub.admin.patch(device_path("a"), {"state": "active"})
    hub.admin.patch(device_path("b"), {"state": "active"})  # it has no password until it gets a new one
    assert set(hub.broker.get("/api/broker")["passwords"]) == {"a"}


def test_the_broker_is_told_of_a_change_at_once_and_of_none_after_the_wait(hub: Served) -> None:
    add(hub.admin, "a")
    version = hub.broker.get("/api/broker")["version"]
    began = time.monotonic()
    assert hub.broker.get("/api/broker", {"after": version, "wait": 0.3}) is None
    assert 0.3 <= time.monotonic() - began < 2
    threading.Timer(0.2, add, (hub.admin, "b")).start()
    began = time.monotonic()
    told = hub.broker.get("/api/broker", {"after": version, "wait": 9})
    assert (told["version"], set(told["passwords"])) == (version + 1, {"a", "b"})
    assert time.monotonic() - began < 0.9
    assert hub.broker.get("/api/broker", {"after": version + 7, "wait": 9})["version"] == version + 1


def test_the_broker_says_which_version_it_has(hub: Served) -> None:
    add(hub.admin, "a")
    assert not hub.admin.in_force(1, 0)
    assert refused(hub.broker.post, "/api/broker/applied", {"version": 2})[0] == 422
    hub.broker.post("/api/broker/applied", {"version": 1})
    assert hub.admin.get("/api/broker/version") == {"version": 1, "applied": 1}
    assert hub.admin.in_force(1, 0)


def test_many_are_added_at_once_or_none(hub: Served) -> None:
    add(hub.admin, "there")
    fleet = [{"id": "a"}, {"id": "b/c"}, {"id": "a"}, {"id": "x", "owner": 3}]
    with pytest.raises(RefusedError, match="nothing was imported: 3 of 4") as e:
        hub.admin.post("/api/devices/import", {"devices": fleet})
    assert [(f["line"], f["message"][:20]) for f in e.value.answer["faults"]] == [
        (2, "id: 'b/c' can't name"), (3, "a is given twice"), (4, "owner: Input should "),
    ]  # fmt: skip
    with pytest.raises(RefusedError) as e:
        hub.admin.post("/api/devices/import", {"devices": [{"id": "a"}, {"id": "there"}]})
    assert e.value.answer["faults"] == [{"line": 2, "id": "there", "message": "there is there already"}]
    assert set(hub.broker.get("/api/broker")["passwords"]) == {"there"}
    done = hub.admin.post("/api/devices/import", {"devices": [{"id": f"d{n}", "tags": ["t"]} for n in range(300)]})
    told = hub.broker.get("/api/broker")
    assert len(told["passwords"]) == 301
    assert fits(done["passwords"]["d7"], told["passwords"]["d7"])


def test_devices_are_found_by_words_tag_group_and_state_page_by_page(hub: Served) -> None:
    for n in range(5):
        add(hub.admin, f"d{n}", model=f"Model 10{n}%", tags=[f"t{n % 2}", "all"], groups=["g"], attributes={"room": n})
    hub.admin.post(device_path("d4", "revoke"))

    def ids(**query: Any) -> list[str]:
        return [d["id"] for d in hub.admin.get("/api/devices", query)["devices"]]

    assert ids(tag="t1") == ["d1", "d3"]
    assert ids(tag="t") == []
    assert ids(group="g", state="revoked") == ["d4"]
    assert ids(text="MODEL room=2") == ["d2"]
    assert ids(text="3%") == ["d3"]
    assert ids(text="_") == []
    first = hub.admin.get("/api/devices", {"limit": 2})
    assert ([d["id"] for d in first["devices"]], first["next"], first["count"]) == (["d0", "d1"], "d1", 5)
    last = hub.admin.get("/api/devices", {"limit": 3, "after": "d1"})
    assert ([d["id"] for d in last["devices"]], last["next"]) == (["d2", "d3", "d4"], None)


@pytest.mark.clause("CR 2.1")
def test_each_role_may_do_what_it_is_for_and_no_more(hub: Served) -> None:
    add(hub.admin, "b")
    roles = ("viewer", "operator", "admin", "broker")
    clients = {r: hub.as_(hub.admin.post("/api/tokens", {"name": f"a-{r}", "role": r})["token"]) for r in roles}
    tries = {
        "look": lambda c: c.get("/api/devices"),
        "add": lambda c: c.post("/api/devices", {"id": f"x{time.time_ns()}"}),
        "tokens": lambda c: c.get("/api/tokens"),
        "broker": lambda c: c.get("/api/broker"),
    }

    def may(role: str, name: str) -> bool:
        try:
            tries[name](clients[role])
        except ConfigError as e:
            if "this needs" not in str(e):
                raise
            return False
        return True

    assert {r: [name for name in tries if may(r, name)] for r in roles} == {
        "viewer": ["look"], "operator": ["look", "add"], "admin": ["look", "add", "tokens"], "broker": ["broker"],
    }  # fmt: skip


def test_a_token_that_is_revoked_ends_at_once_and_is_kept_as_a_hash_only(hub: Served) -> None:
    token = hub.admin.post("/api/tokens", {"name": "joe", "role": "viewer"})["token"]
    joe = hub.as_(token)
    joe.get("/api/devices")
    with hub.database.read() as connection:
        kept = connection.execute(select(tables.tokens)).one()
    assert token not in kept
    assert refused(hub.admin.post, "/api/tokens", {"name": "joe", "role": "admin"})[0] == 409
    hub.admin.post("/api/tokens/joe/revoke")
    with pytest.raises(ConfigError, match="not known, or was revoked"):
        joe.get("/api/devices")


@pytest.mark.clause("CR 1.11")
def test_wrong_tokens_are_limited_and_those_who_are_known_still_come_in(
    hub: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST", 3)
    hub.admin.get("/api/devices")
    for _ in range(3):
        with pytest.raises(ConfigError, match="not known"):
            hub.as_("guess" * 5).get("/api/devices")
    with pytest.raises(TransientError, match="too many wrong tokens from 127"):
        hub.as_("guess" * 5).get("/api/devices")
    with pytest.raises(TransientError, match="too many"):
        hub.broker.get("/api/broker")  # a right token, never seen from there: a guess is not told from it
    hub.admin.get("/api/devices")
    monkeypatch.setattr(attempts, "SECONDS", 0.0)
    hub.broker.get("/api/broker")


@pytest.mark.clause("CR 1.11")
def test_a_stranger_who_sends_wrong_tokens_locks_nobody_out_whose_token_is_long(
    hub: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST", 3)
    fresh = hub.as_(hub.admin.post("/api/tokens", {"name": "fresh", "role": "viewer"})["token"])
    for _ in range(3):
        with pytest.raises(ConfigError, match="not known"):
            hub.as_("guess" * 9).get("/api/devices")
    fresh.get("/api/devices")
    with pytest.raises(TransientError, match="too many wrong tokens from 127"):
        hub.as_("guess" * 9).get("/api/devices")


def raw(hub: Served, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", int(hub.settings.url.rpartition(":")[2]), timeout=5)
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_page_elsewhere_whose_name_leads_here_is_refused(hub: Served) -> None:
    for host in ("evil.com", "evil.com:8090", "localhost.evil.com", ""):
        assert raw(hub, "GET", "/api/devices", {"Host": host})[0] == 421, host
    for host in ("localhost:1", "LOCALHOST", "127.0.0.1", "[::1]:8090", "10.1.2.3:80"):
        assert raw(hub, "GET", "/api/devices", {"Host": host})[0] == 401, host


@pytest.mark.clause("CR 3.5")
def test_a_request_without_a_token_and_one_too_large_are_refused(hub: Served) -> None:
    status, text = raw(hub, "GET", "/api/devices", {})
    assert status == 401
    assert "Authorization: Bearer TOKEN" in text
    login = {"Authorization": f"Bearer {'a' * 30}", "Content-Type": "application/json"}
    assert raw(hub, "POST", "/api/devices", login, b"x" * 70_000)[0] == 413
    assert raw(hub, "POST", "/api/devices", login, b"{")[0] == 422
    assert raw(hub, "GET", "/api/nothing", login)[0] == 404
    assert raw(hub, "GET", "/docs", {})[0] == 404


def test_what_happens_stands_in_the_outbox_and_in_the_audit_log_in_one_transaction(hub: Served) -> None:
    add(hub.admin, "a")
    hub.admin.post(device_path("a", "revoke"))
    refused(hub.admin.post, device_path("a", "revoke"))
    with hub.database.read() as connection:
        told = connection.execute(select(tables.outbox.c.number, tables.outbox.c.stream, tables.outbox.c.key)).all()
        log = connection.execute(select(tables.audit.c.number, tables.audit.c.actor, tables.audit.c.act)).all()
    assert [tuple(t) for t in told] == [
        (1, "device_events", "a"), (2, "device_audit", "a"), (3, "device_events", "a"), (4, "device_audit", "a"),
    ]  # fmt: skip
    assert [tuple(row) for row in log] == [(1, "admin", "add"), (2, "admin", "revoke")]


@pytest.mark.clause("CR 3.5")
def test_a_large_body_is_not_read_from_who_has_no_token(hub: Served) -> None:
    head = "POST /api/devices/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
    for more in ("", "Authorization: Bearer wrong\r\n"):
        with socket.create_connection(("127.0.0.1", int(hub.settings.url.rpartition(":")[2])), timeout=5) as stranger:
            stranger.sendall(f"{head}{more}\r\n".encode())  # and nothing of the body: the answer does not wait for it
            assert stranger.recv(1000).startswith(b"HTTP/1.1 401")


def test_a_number_of_the_audit_log_that_no_database_takes_is_refused_in_words(hub: Served) -> None:
    assert refused(hub.admin.get, "/api/audit", {"after": "1" + "0" * 23})[0] == 422


@pytest.mark.parametrize("value", ["NaN", "1e999", "1" * 30, '"\\ud800"', '"\\u0000"'])
def test_an_attribute_that_no_database_takes_is_refused_in_words(hub: Served, value: str) -> None:
    login = {"Authorization": f"Bearer {'a' * 30}", "Content-Type": "application/json"}
    body = f'{{"id": "a", "attributes": {{"n": [{value}]}}}}'.encode()
    status, text = raw(hub, "POST", "/api/devices", login, body)
    assert status == 422, text
    assert "attributes" in text


def test_no_further_token_has_the_name_of_a_first_one(hub: Served) -> None:
    for name in ("admin", "Broker"):
        assert refused(hub.admin.post, "/api/tokens", {"name": name, "role": "viewer"})[0] == 409
