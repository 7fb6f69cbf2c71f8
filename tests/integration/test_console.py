"""The console on the local stack: in with the link of `headrace status`, and a device that is revoked is out."""

import re
import subprocess
import time

import orjson
import pytest

from headrace.hub.client import Hub, device_path
from tests.browser import Browser, Page
from tests.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]


@pytest.fixture(autouse=True)
def _native(stack: Stack) -> None:
    if not stack.native:
        pytest.skip("with containers `headrace status` has no stack to show")


def publish(stack: Stack, device: str, password: str) -> int:
    """Mosquitto's own client publishes as the device, where nobody may: it is let in, and stores nothing."""
    port = str(stack.config().mqtt.for_devices[1])
    where = ["-h", "127.0.0.1", "-p", port, "-u", device, "-P", password, "-q", "1"]
    argv = ["mosquitto_pub", *where, "-t", "nowhere", "-m", "{}"]
    return subprocess.run(argv, check=False, timeout=20, capture_output=True).returncode


def wait(it: Browser, page: Page) -> None:
    """Until the page would say that the broker has taken the change."""
    found = re.search(r'hx-get="(/broker/\d+)"', page.text)
    assert found is not None, page.words
    path = found[1]
    until(lambda: it.get(path).status == 286, 20, lambda: it.get(path).words)


def test_a_person_logs_in_by_the_link_gives_a_device_a_password_and_revokes_it(stack: Stack) -> None:
    hub, device = Hub(stack.config().hub), f"console-{time.time_ns()}"
    old = hub.post("/api/devices", {"id": device})["password"]
    link = re.search(r"console (http://\S+?)(/login\?code=\S+)", stack.run("status", ok=False).stdout)
    assert link is not None
    it = Browser(link[1])
    assert it.get(f"/devices/{device}").status == 303
    assert it.get(link[2]).status == 200
    assert it.post("/login", {"code": link[2].partition("code=")[2]}).status == 303
    until(lambda: publish(stack, device, old) == 0, 20, lambda: it.get(f"/devices/{device}").words)

    shown = it.press(f"/devices/{device}", f"/devices/{device}/rotate")
    new = re.search(r'class="secret">(\w+)<', shown.text)
    assert new is not None
    wait(it, shown)
    assert publish(stack, device, old) != 0
    assert publish(stack, device, new[1]) == 0

    wait(it, it.get(it.press(f"/devices/{device}", f"/devices/{device}/revoke").headers["location"]))
    assert publish(stack, device, new[1]) != 0
    assert hub.get(device_path(device))["state"] == "revoked"
    assert "Chain verified" in it.get("/audit/chain").words
    stack.run("audit", "verify")
    until(lambda: "All services are ready" in it.get("/status").words, 20, lambda: it.get("/status").words)
    words = it.get("/status").words
    assert all(f" {name} " in words for name in ("bridge", "clean", "archive", "hub", "agent"))
    newest = orjson.loads(it.get("/readings/environment/newest").text)
    assert "temperature" in {field["name"] for field in newest["fields"]}
    assert it.get("/devices", Host="evil.com").status == 421
    assert "'none'" in it.get("/devices").headers["content-security-policy"]
