"""IEC 62443-4-2 CR 2.8: each act of a person is in the audit log, and who changes that is found."""

import pkgutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

from headrace.hub.client import Hub, device_path
from headrace.identity import proofs
from headrace.identity.ca import Authority
from headrace.protocol import auditlog
from hub import api
from tests import hubworld
from tests.enrolling import Key
from tests.hubworld import Served, lite, served
from tests.stack import ROOT, Stack
from tests.waiting import until

pytestmark = pytest.mark.clause("CR 2.8")

LOT = proofs.claim("lot", 30)
PENDING = [{"id": name, "state": "pending", "credential": "none"} for name in ("good", "bad")]
# Each route that changes something, with a request, and what the log says of it: act and target.
ACTS: list[tuple[str, str, dict[str, Any], tuple[str, str]]] = [
    ("POST /devices", "/devices", {"id": "a"}, ("add", "a")),
    ("POST /devices/import", "/devices/import", {"devices": [{"id": "b"}, *PENDING]}, ("import", "headrace-hub")),
    ("PATCH /devices/{device}", "/devices/a", {"firmware": "2"}, ("edit", "a")),
    ("POST /devices/{device}/rotate", "/devices/a/rotate", {}, ("rotate", "a")),
    ("POST /devices/{device}/psk", "/devices/a/psk", {}, ("rotate", "a")),
    ("POST /devices/{device}/certificate", "/devices/a/certificate", {"csr": Key().csr()}, ("certificate", "a")),
    ("POST /devices/{device}/enrolment", "/devices/b/enrolment", {}, ("invite", "b")),
    ("POST /devices/{device}/credentials/{number}/revoke", "/devices/b/credentials/2/revoke", {},
     ("end credential", "b")),
    ("POST /claims", "/claims", {"name": "lot", "certificate": LOT.cert}, ("make claim", "lot")),
    ("POST /devices/{device}/approve", "/devices/good/approve", {}, ("approve", "good")),
    ("POST /devices/{device}/reject", "/devices/bad/reject", {}, ("reject", "bad")),
    ("POST /claims/{name:path}/revoke", "/claims/lot/revoke", {}, ("revoke claim", "lot")),
    ("POST /tokens", "/tokens", {"name": "bob", "role": "viewer"}, ("make token", "bob")),
    ("POST /tokens/{name}/revoke", "/tokens/bob/revoke", {}, ("revoke token", "bob")),
    ("POST /devices/{device}/revoke", "/devices/a/revoke", {}, ("revoke", "a")),
]  # fmt: skip
NO_ACTS_OF_PEOPLE = {
    "POST /broker/applied", "POST /broker/behaviour",  # what the agent reports; what comes of it is in the log
    "POST /logins",  # a code for a browser: what is done there is in the log under the same name
    "POST /enroll", "POST /reenroll",  # of devices; in the log too: tests/unit/test_hub_enrolment.py
}  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path), Authority.make("devices")) as it:
        yield it


def changing() -> set[str]:
    """Every route of hub's API that is no question."""
    parts = [import_module(f"hub.api.{found.name}") for found in pkgutil.iter_modules(api.__path__)]
    routes = [route for part in parts for route in part.router.routes]
    found = {f"{method} {route.path}" for route in routes for method in route.methods}
    return {it for it in found if not it.startswith(("GET ", "HEAD "))}


def test_no_route_is_left_out() -> None:
    assert {route for route, *_ in ACTS} | NO_ACTS_OF_PEOPLE == changing()


def test_each_act_is_in_the_log_with_who_did_it(hub: Served) -> None:
    alice = hub.as_(hub.admin.post("/api/tokens", {"name": "alice", "role": "admin"})["token"])
    for route, path, body, (act, target) in ACTS:
        last = hub.admin.get("/api/audit", {"limit": 1})["last"]
        (alice.patch if route.startswith("PATCH") else alice.post)(f"/api{path}", body)
        rows = hub.admin.get("/api/audit", {"after": str(last)})["rows"]
        assert [(r["actor"], r["act"], r["target"]) for r in rows] == [("alice", act, target)], route


def forge(database: Path, device: str) -> int:
    """Change who revoked a device, and make all hashes from there on anew; returns the row's number."""
    with closing(sqlite3.connect(database)) as db, db:
        names = "number, time, actor, act, target, detail"
        rows = db.execute(f"SELECT {names} FROM audit ORDER BY number").fetchall()
        previous, number = auditlog.FIRST, 0
        for row in rows:
            kept = list(row)
            if kept[3:5] == ["revoke", device]:
                number, kept[2] = row[0], "somebody-else"
            right = auditlog.digest(cast("Any", tuple(kept)), previous)
            db.execute("UPDATE audit SET actor = ?, previous = ?, hash = ? WHERE number = ?",
                       (kept[2], previous, right, row[0]))  # fmt: skip
            previous = right
    return number


@pytest.mark.integration
@pytest.mark.lane("own-1")
def test_a_log_that_was_changed_and_hashed_anew_is_found_by_its_copy_in_the_lake(stack: Stack, tmp_path: Path) -> None:
    if not stack.native:
        pytest.skip("reads the database of the local stack's hub")
    hub, device = Hub(stack.config().hub), f"forged-{time.time_ns():x}"
    hub.post("/api/devices", {"id": device})
    hub.post(device_path(device, "revoke"))
    sql = f"select count(*) n from device_audit where target = '{device}' and act = 'revoke'"
    until(lambda: stack.json("query", "-f", "json", sql) == [{"n": 1}], 60, "the row is not in the lake", pause=1.0)
    with (
        closing(sqlite3.connect(stack.state / "data" / "hub" / "hub.sqlite")) as original,
        closing(sqlite3.connect(tmp_path / "hub.sqlite")) as copy,
    ):
        original.backup(copy)
    number = forge(tmp_path / "hub.sqlite", device)
    with served(lite(tmp_path)) as forged:
        config = stack.config_file(
            tmp_path / "forged.yaml", {"hub": {"url": forged.settings.url, "token": hubworld.ADMIN}}
        )

        def verify(*more: str) -> tuple[int, str]:
            argv = [sys.executable, "-m", "headrace", "--config", str(config), "audit", "verify", *more]
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            return done.returncode, done.stdout + done.stderr

        code, said = verify()
        assert code == 0, said  # each row follows from the one before: else it would prove nothing
        code, said = verify("--lake")
        assert code == 1
        assert f"row {number} is another one in the lake" in said
