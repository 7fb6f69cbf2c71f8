"""Claims: what the devices of a group have in common, and ask for their certificates with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.hub.client import RefusedError, device_path
from headrace.identity import ca, proofs
from headrace.identity.ca import Authority
from tests.enrolling import Key, claim, events, state
from tests.hubworld import Served, lite, served

OURS = Authority.make("devices")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path), OURS) as it:
        yield it


def lot(hub: Served, name: str = "lot-7", **more: Any) -> ca.Pair:
    pair = proofs.claim(name, 30)
    hub.admin.post("/api/claims", {"name": name, "certificate": pair.cert, **more})
    return pair


def waiting(hub: Served, device: str, serial: str, group: str = "lot-7", **more: Any) -> None:
    wanted = {"id": device, "serial": serial, "groups": [group], "state": "pending", "credential": "none", **more}
    hub.admin.post("/api/devices", wanted)


def test_a_claim_lets_the_devices_of_its_group_ask_by_serial_number(hub: Served) -> None:
    pair, key, url = lot(hub), Key(), hub.settings.url
    waiting(hub, "b1", "S1")
    assert claim(url, key.csr(), "lot-7", pair.key, "S1").status == 202
    other = claim(url, Key().csr(), "lot-7", pair.key, "S1")
    assert (other.status, "has asked with another key" in other.error) == (409, True)
    assert hub.admin.get(device_path("b1"))["enrolment"]["by"] == "claim"
    hub.admin.post(device_path("b1", "approve"))
    got = claim(url, key.csr(), "lot-7", pair.key, "S1")
    assert (got.status, got.body["id"]) == (201, "b1")
    assert claim(url, key.csr(), "lot-7", pair.key, "S1").body == got.body
    assert claim(url, Key().csr(), "lot-7", pair.key, "S1").status == 409


def test_a_claim_may_let_them_in_at_once(hub: Served) -> None:
    pair, url = lot(hub, at_once=True), hub.settings.url
    waiting(hub, "b1", "S1")
    assert claim(url, Key().csr(), "lot-7", pair.key, "S1").status == 201
    assert state(hub, "b1") == "active"
    assert events(hub, "b1") == ["added", "approved", "enrolled"]


def test_a_claim_is_good_for_nothing_else(hub: Served) -> None:
    pair, url, key = lot(hub, at_once=True), hub.settings.url, Key()
    waiting(hub, "b1", "S1")
    waiting(hub, "b2", "S2", group="other")
    waiting(hub, "b3", "S3", credential="token")
    waiting(hub, "b4", "S4", credential="password")
    waiting(hub, "b5", "S5")
    waiting(hub, "b6", "S5")
    for serial in ("", "S9", "S2", "S3", "S4", "S5"):
        assert claim(url, key.csr(), "lot-7", pair.key, serial).status == 403, serial
    stranger = proofs.claim("lot-7", 30)
    assert claim(url, key.csr(), "lot-7", stranger.key, "S1").status == 401
    assert claim(url, key.csr(), "lot-8", pair.key, "S1").status == 401
    hub.admin.post("/api/claims/lot-7/revoke")
    assert claim(url, key.csr(), "lot-7", pair.key, "S1").status == 401
    assert [(c["name"], c["revoked"] is None) for c in hub.admin.get("/api/claims")["claims"]] == [("lot-7", False)]
    for body in ({"name": "lot-7", "certificate": pair.cert}, {"name": "x", "certificate": "garbage"}):
        with pytest.raises(RefusedError):
            hub.admin.post("/api/claims", body)
