"""Devices that enrol, with hub, the agent and a real Mosquitto."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.hub.client import device_path
from headrace.identity import proofs
from headrace.identity.ca import Authority, Pair
from tests import hubworld
from tests.enrolling import Key, claim, enroll, reenroll
from tests.integration.test_brokeragent import World
from tests.integration.test_certificates import acknowledged, admits
from tests.integration.test_listeners import Broker
from tests.waiting import until

pytestmark = pytest.mark.integration
DAY = 86400


class Short(World):
    """A world whose certificates live for as long as a test says."""

    def __init__(self, broker: Broker, hub: hubworld.Served, authority: Authority) -> None:
        super().__init__(broker, hub)
        self.authority = authority

    def lives(self, days: float) -> None:
        """For how long the certificates live that are made from now on."""
        self.authority._days = days


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Short]:
    folder = tmp_path_factory.mktemp("enrolment")
    broker = Broker(folder / "state")
    files = (broker.plan.devices_ca.with_suffix(suffix) for suffix in (".pem", ".key"))
    authority = Authority(Pair(*(file.read_text() for file in files)))
    with hubworld.served(hubworld.lite(folder), authority) as hub:
        it = Short(broker, hub, authority)
        it.start()
        try:
            it.add("first")  # until the agent has put hub's list there, nobody comes in with a certificate
            yield it
        finally:
            it.stop()


def invited(world: World, device: str, **more: Any) -> str:
    made = world.hub.admin.post("/api/devices", {"id": device, "credential": "token", **more})
    return str(made["token"])


def test_a_device_enrols_and_publishes_and_its_token_is_worth_nothing_then(world: Short) -> None:
    url, key = world.hub.settings.url, Key()
    token = invited(world, "enrol-01", serial="S1")
    assert enroll(url, key.csr(), token, serial="S2").status == 403
    got = enroll(url, key.csr("first"), token, serial="S1")
    pair = Pair(got.body["certificate"], key.pem)
    assert acknowledged(world, pair, "sensors/enrol-01/imu")
    assert not acknowledged(world, pair, "sensors/first/imu")
    assert enroll(url, Key().csr(), token, serial="S1").status == 409
    ends = invited(world, "enrol-02", token_days=1e-7)
    time.sleep(0.05)
    assert enroll(url, Key().csr(), ends).status == 403


def test_a_pending_device_comes_in_once_it_is_approved_and_a_claim_never_does(world: Short) -> None:
    url, key, hub = world.hub.settings.url, Key(), world.hub.admin
    pair = proofs.claim("lot-7", 1)
    hub.post("/api/claims", {"name": "lot-7", "certificate": pair.cert})
    assert not admits(world, pair)
    wanted = {"id": "lot-01", "serial": "L1", "groups": ["lot-7"], "state": "pending", "credential": "none"}
    hub.post("/api/devices", wanted)
    waits = claim(url, key.csr(), "lot-7", pair.key, "L1")
    assert (waits.status, "certificate" in waits.body) == (202, False)
    hub.post(device_path("lot-01", "approve"))
    got = claim(url, key.csr(), "lot-7", pair.key, "L1")
    assert admits(world, Pair(got.body["certificate"], key.pem))


def test_old_and_new_certificate_are_good_side_by_side_until_the_old_one_ends(world: Short) -> None:
    url, old, new = world.hub.settings.url, Key(), Key()
    world.lives(12 / DAY)
    began = time.monotonic()
    first = Pair(enroll(url, old.csr(), invited(world, "enrol-03")).body["certificate"], old.pem)
    world.lives(90)
    second = Pair(reenroll(url, "enrol-03", new.csr(), old).body["certificate"], new.pem)
    assert admits(world, first)
    assert admits(world, second)
    until(lambda: not admits(world, first), 30, lambda: "the old one is still taken", pause=0.5)
    assert time.monotonic() - began > 10
    assert admits(world, second)
    assert reenroll(url, "enrol-03", Key().csr(), old).status == 401
    world.hub.admin.post(device_path("enrol-03", "revoke"))
    assert reenroll(url, "enrol-03", Key().csr(), new).status == 401
