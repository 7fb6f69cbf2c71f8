"""Enrolment as devices and people see it: tokens, claims, approval, renewal, and what is refused."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select, update

from headrace.config import Config
from headrace.hub.client import RefusedError, device_path
from headrace.identity import ca, proofs
from headrace.identity.ca import Authority
from hub import access, credentials, enrolment, refusal, tables, welcome
from hub.changes import counter
from hub.enrolment import WAIT_SECONDS
from tests.enrolling import Answer, Key, ask, enroll, events, reenroll, state
from tests.hubworld import Served, add, lite, served

OURS = Authority.make("devices")
DAY = 86400e6


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path), OURS) as it:
        yield it


def invited(hub: Served, device: str, **more: Any) -> str:
    token: str = hub.admin.post("/api/devices", {"id": device, "credential": "token", **more})["token"]
    return token


def certificates(hub: Served, device: str) -> list[dict[str, Any]]:
    held = hub.admin.get(device_path(device))["credentials"]
    return [c for c in held if c["kind"] == "certificate"]


def acts(hub: Served) -> list[tuple[str, str]]:
    return [(row["actor"], row["act"]) for row in hub.admin.get("/api/audit")["rows"]]


def aged(hub: Served, device: str, days: float) -> None:
    """Its certificates were made so many days ago, and so was all else of them that hub looks at."""
    ago = timedelta(days=days)
    with hub.database.write() as connection:
        c = tables.credentials.c
        for number, text in connection.execute(select(c.number, c.certificate).where(c.device == device)).all():
            facts = ca.facts(text, "it")
            key = x509.load_pem_x509_certificate(text.encode()).public_key()
            pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            older = _backdated(device, pem.decode(), facts, ago)
            new = {"certificate": older, "made": c.made - int(days * DAY), "ends": c.ends - int(days * DAY)}
            connection.execute(update(tables.credentials).where(c.number == number).values(new))


def _backdated(device: str, key: str, facts: ca.Facts, ago: timedelta) -> str:
    made = x509.load_pem_x509_certificate(OURS.device(device, key).encode())
    issuer = serialization.load_pem_private_key(OURS.pair.key.encode(), None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    it = (
        x509.CertificateBuilder().subject_name(made.subject).issuer_name(made.issuer).public_key(made.public_key())
        .serial_number(facts.serial).not_valid_before(facts.begins - ago).not_valid_after(facts.ends - ago)
        .sign(issuer, hashes.SHA256())
    )  # fmt: skip
    return it.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.clause("EN 5.1-1, CR 1.2")
def test_a_token_brings_a_certificate_for_the_device_that_it_is_for(hub: Served) -> None:
    token, key = invited(hub, "board-07"), Key()
    got = enroll(hub.settings.url, key.csr("headrace"), token)
    assert got.status == 201
    assert key.has(got.body["certificate"])
    facts = ca.facts(got.body["certificate"], "it")
    assert facts.name == got.body["id"] == "board-07"
    assert got.body["authority"] == OURS.pair.cert
    assert got.body["renew_from"] == facts.due_from.isoformat(timespec="seconds")
    assert [c["serial"] for c in certificates(hub, "board-07")] == [got.body["serial"]]
    assert events(hub, "board-07") == ["added", "enrolled"]
    assert acts(hub)[-2:] == [("device:board-07", "ask for a certificate"), ("device:board-07", "enrol")]
    assert hub.broker.get("/api/broker")["passwords"] == {}


def test_the_database_has_no_token(hub: Served, tmp_path: Path) -> None:
    token = invited(hub, "board-07")
    enroll(hub.settings.url, Key().csr(), token)
    kept = b"".join(p.read_bytes() for p in tmp_path.glob("hub.sqlite*"))
    assert token.encode() not in kept
    assert access.hashed(token).encode() in kept


def test_a_token_is_used_once_but_who_missed_the_answer_may_ask_again(hub: Served) -> None:
    token, key = invited(hub, "board-07"), Key()
    first = enroll(hub.settings.url, key.csr(), token)
    again = enroll(hub.settings.url, key.csr(), token)
    assert (again.status, again.body) == (201, first.body)
    other = enroll(hub.settings.url, Key().csr(), token)
    assert other.status == 409
    assert "with another key already" in other.error
    assert len(certificates(hub, "board-07")) == 1


def test_of_two_keys_that_race_one_wins(hub: Served) -> None:
    token, keys = invited(hub, "board-07"), [Key() for _ in range(8)]
    got: list[Answer] = []
    threads = [threading.Thread(target=lambda k=k: got.append(enroll(hub.settings.url, k.csr(), token))) for k in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.status for a in got) == [201] + [409] * 7
    assert len(certificates(hub, "board-07")) == 1


def test_a_wrong_token_another_device_and_a_forged_request_are_refused(hub: Served) -> None:
    token = invited(hub, "board-07")
    invited(hub, "board-08")
    url = hub.settings.url
    assert enroll(url, Key().csr(), "he_" + "x" * 22).status == 401
    assert enroll(url, Key().csr(), token, id="board-08").status == 401
    assert enroll(url, "garbage", token).status == 422
    good = x509.load_pem_x509_csr(Key().csr().encode()).public_bytes(serialization.Encoding.DER)
    forged = x509.load_der_x509_csr(good[:-1] + bytes([good[-1] ^ 1]))
    got = enroll(url, forged.public_bytes(serialization.Encoding.PEM).decode(), token)
    assert (got.status, got.error) == (422, "board-07: the request is not signed with the key in it")
    assert enroll(url, "x" * 5000, token).status == 422
    assert enroll(url, Key().csr(), "he_\0").status == 422  # PostgreSQL takes no NUL
    assert certificates(hub, "board-07") == []
    assert hub.admin.get(device_path("board-07"))["enrolment"]["used"] is None, "a refused request uses no token"


@pytest.mark.clause("CR 1.11")
def test_who_tries_many_tokens_waits_and_who_has_the_right_one_does_not(hub: Served) -> None:
    token, url = invited(hub, "board-07"), hub.settings.url
    csr = Key().csr()
    tried = [enroll(url, csr, f"he_{n:022}").status for n in range(12)]
    assert tried == [401] * 10 + [429] * 2
    assert int(enroll(url, csr, "he_x").headers["Retry-After"]) > 0
    assert enroll(url, csr, token).status == 201


def test_a_serial_number_in_the_registry_must_be_the_device_s(hub: Served) -> None:
    token, key, url = invited(hub, "board-07", serial="SN 7"), Key(), hub.settings.url
    for given in ({}, {"serial": "SN 8"}):
        got = enroll(url, key.csr(), token, **given)
        assert (got.status, "serial" in got.error) == (403, True)
    assert enroll(url, key.csr(), token, serial="SN 7").status == 201
    other = hub.admin.post(device_path("board-07", "enrolment"), {"serial": "SN 9"})["token"]
    assert enroll(url, Key().csr(), other, serial="SN 7").status == 403
    assert enroll(url, Key().csr(), token, serial="SN 7").status == 401, "a later token ends the one before it"


def test_a_token_that_was_not_used_in_time_has_ended(hub: Served) -> None:
    token, used = invited(hub, "b", token_days=2), invited(hub, "c")
    key, url = Key(), hub.settings.url
    assert enroll(url, key.csr(), used).status == 201
    with hub.database.write() as connection:
        connection.execute(update(tables.enrolments).values(ends=time.time_ns() // 1000 - 1))
    got = enroll(url, Key().csr(), token)
    assert got.status == 403
    assert "has ended unused" in got.error
    assert enroll(url, key.csr(), used).status == 201, "who has used it in time may miss an answer after that"


def test_a_pending_device_has_no_certificate_before_it_is_approved(hub: Served) -> None:
    token, key, url = invited(hub, "b", state="pending"), Key(), hub.settings.url
    for _ in range(3):
        got = enroll(url, key.csr(), token)
        assert (got.status, got.headers["Retry-After"]) == (202, str(WAIT_SECONDS))
        assert got.body == {"id": "b", "state": "pending", "again_in_seconds": WAIT_SECONDS}
    asked = hub.admin.get(device_path("b"))["enrolment"]
    assert asked["key"] == proofs.fingerprint(key.csr(), "it")
    assert [d["id"] for d in hub.admin.get("/api/devices", {"state": "pending"})["devices"]] == ["b"]
    assert enroll(url, Key().csr(), token).status == 409
    assert certificates(hub, "b") == []
    assert hub.admin.post(device_path("b", "approve")) == {"id": "b", "state": "active"}
    got = enroll(url, key.csr(), token)
    assert (got.status, key.has(got.body["certificate"])) == (201, True)
    assert events(hub, "b") == ["added", "asked", "approved", "enrolled"]
    with pytest.raises(RefusedError, match="does not wait for approval"):
        hub.admin.post(device_path("b", "approve"))


def test_a_device_that_is_rejected_or_shut_out_gets_none(hub: Served) -> None:
    url, tokens = hub.settings.url, {d: invited(hub, d, state="pending") for d in ("a", "b")}
    keys = {d: Key() for d in tokens}
    for device, token in tokens.items():
        enroll(url, keys[device].csr(), token)
    hub.admin.post(device_path("a", "reject"))
    assert (state(hub, "a"), events(hub, "a")[-1]) == ("revoked", "rejected")
    assert enroll(url, keys["a"].csr(), tokens["a"]).status == 401
    with pytest.raises(RefusedError, match="set its state to pending or active first"):
        hub.admin.post(device_path("a", "enrolment"), {})
    hub.admin.patch(device_path("a"), {"state": "pending"})
    anew = hub.admin.post(device_path("a", "enrolment"), {})["token"]
    assert enroll(url, keys["a"].csr(), anew).status == 202
    hub.admin.patch(device_path("b"), {"state": "quarantined"})
    got = enroll(url, keys["b"].csr(), tokens["b"])
    assert (got.status, "quarantined" in got.error) == (403, True)


def test_many_devices_get_a_token_each(hub: Served) -> None:
    fleet = [{"id": f"b{n}", "credential": "token", "state": "pending", "serial": str(n)} for n in range(3)]
    tokens = hub.admin.post("/api/devices/import", {"devices": fleet})["tokens"]
    assert [enroll(hub.settings.url, Key().csr(), tokens[f"b{n}"], serial=str(n)).status for n in range(3)] == [202] * 3


def test_one_key_is_for_one_device(hub: Served) -> None:
    key, url = Key(), hub.settings.url
    tokens = [invited(hub, d) for d in ("a", "b")]
    assert enroll(url, key.csr(), tokens[0]).status == 201
    got = enroll(url, key.csr(), tokens[1])
    assert (got.status, "another device has this key" in got.error) == (409, True)
    hub.admin.post(device_path("a", "credentials", "1", "revoke"))
    again = hub.admin.post(device_path("a", "enrolment"), {})["token"]
    got = enroll(url, key.csr(), again)
    assert (got.status, "has ended. Make a new key" in got.error) == (409, True)


def test_a_device_is_told_where_the_broker_is_and_what_it_may_publish(tmp_path: Path) -> None:
    (tmp_path / "broker.pem").write_text("PEM")
    routes = {"environment": ["sensors/{device_id}/environment"], "ruuvi": [
        {"filter": "gw/{gateway}/+/{device_id}", "identity": "gateway"}
    ]}  # fmt: skip
    config = Config.model_validate({
        "mqtt": {"devices": {"certificates": "mqtt.test:8884", "ca_file": tmp_path / "broker.pem"}},
        "streams": {name: {"routes": r} for name, r in routes.items()},
    })  # fmt: skip
    told = welcome.of(config)
    assert told.broker == {"host": "mqtt.test", "port": 8884, "authority": "PEM"}
    assert told.topics_of("b", "device") == ["sensors/b/environment"]
    assert told.topics_of("g", "gateway") == ["sensors/g/environment", "gw/g/+/+"]
    assert welcome.of(Config()) == welcome.NOWHERE


def enrolled(hub: Served, device: str = "b") -> tuple[Key, dict[str, Any]]:
    key = Key()
    got = enroll(hub.settings.url, key.csr(), invited(hub, device))
    assert got.status == 201
    return key, got.body


def test_the_next_certificate_comes_from_two_thirds_of_the_life_of_the_present_one(hub: Served) -> None:
    old, first = enrolled(hub)
    url, new = hub.settings.url, Key()
    early = reenroll(url, "b", new.csr(), old)
    assert early.status == 409
    assert early.body["renew_from"] == first["renew_from"]
    assert first["renew_from"][:10] in early.error
    aged(hub, "b", 59)
    assert reenroll(url, "b", new.csr(), old).status == 409
    aged(hub, "b", 2)
    got = reenroll(url, "b", new.csr(), old)
    assert (got.status, new.has(got.body["certificate"])) == (201, True)
    assert datetime.fromisoformat(got.body["ends"]) >= datetime.fromisoformat(first["ends"])
    assert [c["revoked"] for c in certificates(hub, "b")] == [None, None], "both are good until the old one ends"
    assert hub.broker.get("/api/broker")["certificates"]["owners"] == {}
    assert events(hub, "b")[-1] == "renewed"
    with hub.database.read() as connection:
        before = counter(connection, "audit")
    again = reenroll(url, "b", new.csr(), old)
    assert (again.status, again.body) == (201, got.body), "the same once more, for who missed the answer"
    with hub.database.read() as connection:
        assert counter(connection, "audit") == before, "a repeat does nothing"


def test_a_clock_that_was_set_back_makes_nobody_wait_longer() -> None:
    now = time.time_ns() // 1000
    with pytest.raises(refusal.RefusedError) as refused:
        enrolment._check_pause([{"made": now + int(90 * DAY)}], now)
    assert refused.value.more == {"again_in_seconds": 601}


def test_hub_counts_who_is_late_with_the_next_certificate(hub: Served) -> None:
    old, _ = enrolled(hub)
    enrolled(hub, "c")

    def late() -> int:
        with hub.database.read() as connection:
            return credentials.unrenewed(connection, time.time_ns() // 1000)

    aged(hub, "b", 74)
    assert late() == 0
    aged(hub, "b", 2)
    assert late() == 1
    assert reenroll(hub.settings.url, "b", Key().csr(), old).status == 201
    assert late() == 0
    aged(hub, "c", 80)
    assert late() == 1
    hub.admin.post(device_path("c", "revoke"))
    assert late() == 0


def test_a_lost_key_is_replaced_and_the_certificate_in_use_stays(hub: Served) -> None:
    old, first = enrolled(hub)
    aged(hub, "b", 61)
    url = hub.settings.url
    lost = reenroll(url, "b", Key().csr(), old).body
    soon = reenroll(url, "b", Key().csr(), old)
    assert soon.status == 429, "each has the broker read its list anew"
    with hub.database.write() as connection:
        c = tables.credentials.c
        connection.execute(update(tables.credentials).where(c.number == 2).values(made=c.made - 700_000_000))
    new = Key()
    assert reenroll(url, "b", new.csr(), old).status == 201
    assert {c["serial"]: c["revoked"] is None for c in certificates(hub, "b")} == {
        first["serial"]: True, lost["serial"]: False, certificates(hub, "b")[2]["serial"]: True
    }  # fmt: skip


def test_who_does_not_have_the_key_of_a_living_certificate_gets_no_next_one(hub: Served) -> None:
    key, _ = enrolled(hub)
    other, _ = enrolled(hub, "c")
    aged(hub, "b", 61)
    aged(hub, "c", 61)
    url, new = hub.settings.url, Key()
    assert reenroll(url, "b", new.csr(), Key()).status == 401
    assert reenroll(url, "b", new.csr(), other).status == 401
    assert reenroll(url, "nobody", new.csr(), key).status == 401
    assert reenroll(url, "b", key.csr(), key).status == 409, "its own key again"
    assert reenroll(url, "b", other.csr(), key).status == 409, "another device's"
    hub.admin.patch(device_path("b"), {"state": "quarantined"})
    assert reenroll(url, "b", new.csr(), key).status == 403
    hub.admin.post(device_path("b", "revoke"))
    assert reenroll(url, "b", new.csr(), key).status == 401
    aged(hub, "c", 30)
    assert reenroll(url, "c", new.csr(), other).status == 401, "an ended certificate proves nothing"


def test_a_renewal_that_was_recorded_gives_a_stranger_nothing(hub: Served) -> None:
    key, _ = enrolled(hub)
    aged(hub, "b", 61)
    url, new = hub.settings.url, Key()
    csr = new.csr()
    assert reenroll(url, "b", csr, key).status == 201
    mine = Key()
    for forged in (mine.csr(), csr.replace("A", "B", 1)):
        body = {"id": "b", "csr": forged, "signature": proofs.sign(key.pem, proofs.renewal("b", csr))}
        assert ask(url, "/api/reenroll", body).status == 401
    hub.admin.post(device_path("b", "credentials", "2", "revoke"))
    again = reenroll(url, "b", csr, key)
    assert (again.status, "has ended" in again.error) == (409, True)


def test_without_an_authority_nobody_enrols(tmp_path: Path) -> None:
    with served(lite(tmp_path)) as it:
        token = invited(it, "b")
        got = enroll(it.settings.url, Key().csr(), token)
        assert (got.status, "hub.serve.devices_ca" in got.error) == (409, True)
        assert add(it.admin, "c")
