"""Hub with real Kafka: what it answered, what its streams tell and what the lake has agree, also after kill -9."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.errors import TransientError
from headrace.hub.client import Hub, RefusedError, device_path
from headrace.operate.live import Reader
from tests.stack import Stack
from tests.waiting import until

pytestmark = pytest.mark.integration

KILLS, CALLERS = 3, 3


def ask(hub: Hub, path: str, body: object, seconds: float = 30) -> None:
    """Until hub has answered. What was done before it was killed is refused the second time."""
    end = time.monotonic() + seconds
    while True:
        try:
            hub.post(path, body)
        except TransientError:
            assert time.monotonic() < end
            time.sleep(0.05)
        except RefusedError as e:
            assert e.status == 409  # noqa: PT017 - the expected refusal, in a loop
            return
        else:
            return


def readings(stack: Stack, stream: str) -> list[Mapping[str, Any]]:
    with Reader(stack.config(), f"{stream}.raw") as reader:
        return [r.reading for r in reader.backlog(100_000) if r.reading is not None]


def check_numbers(*streams: list[Mapping[str, Any]]) -> None:
    """Nothing is missing, and what was told first was first. Each stream has one partition."""
    numbers = {r["number"] for stream in streams for r in stream}
    assert numbers == set(range(1, max(numbers) + 1))
    for stream in streams:
        first = list(dict.fromkeys(r["number"] for r in stream))
        assert first == sorted(first)


def kept(hub: Hub) -> dict[str, str]:
    """Every device in the registry, and its state."""
    out, after = dict[str, str](), ""
    while after is not None:
        page = hub.get("/api/devices", {"limit": 1000, "after": after})
        out.update({d["id"]: d["state"] for d in page["devices"]})
        after = page["next"]
    return out


# A hub that is killed in the middle of a TLS handshake leaves http.client's socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_after_kills_the_registry_and_its_streams_agree_and_the_lake_has_each_event_once(stack: Stack) -> None:
    hub = Hub(stack.config().hub)
    rng, ended, answered = random.Random(4), threading.Event(), list[str]()

    def call(name: str) -> None:
        n = 0
        while not ended.is_set():
            device = f"{name}-{n}"
            ask(hub, "/api/devices", {"id": device, "tags": [name]})
            if n % 3 == 0:
                ask(hub, device_path(device, "revoke"), None)
            answered.append(device)
            n += 1

    callers = [threading.Thread(target=call, args=(f"kill{rng.randrange(10**6)}-{c}",)) for c in range(CALLERS)]
    for thread in callers:
        thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.3, 1.0))
            stack.strike("hub", signal.SIGKILL)
    finally:
        ended.set()
        for thread in callers:
            thread.join(40)

    def told() -> bool:
        return {r["device_id"] for r in readings(stack, "device_events")} >= set(answered)

    until(told, 120, lambda: "events are missing")
    events, audit = readings(stack, "device_events"), readings(stack, "device_audit")
    check_numbers(events, audit)
    assert {r["device_id"]: r["state"] for r in events} == kept(hub)
    assert len(answered) > 10
    stack.run("audit", "verify")
    sql = "select count(*) n, count(distinct number) d, max(number) m from device_events"

    def stored() -> bool:
        (row,) = stack.json("query", "-f", "json", sql)
        assert row["n"] == row["d"], "an event is in the lake twice"
        return bool(row["n"] == len({r["number"] for r in events}))

    until(stored, 120, lambda: stack.json("query", "-f", "json", sql), pause=2.0)

    def in_lake() -> bool:
        return stack.run("audit", "verify", "--lake", ok=False).returncode == 0

    until(in_lake, 120, lambda: stack.run("audit", "verify", "--lake", ok=False).stdout, pause=2.0)


def test_hub_serves_while_kafka_is_away_and_tells_it_afterwards(stack: Stack) -> None:
    hub = Hub(stack.config().hub)
    device = f"away-{time.time_ns()}"
    with stack.frozen("kafka"):
        began = time.monotonic()
        hub.post("/api/devices", {"id": device})
        assert time.monotonic() - began < 5
        time.sleep(3)
        assert stack.services()["hub"]["state"] == "ready"
        assert hub.get(device_path(device))["state"] == "active"
    until(lambda: any(r["device_id"] == device for r in readings(stack, "device_events")), 60, lambda: "no event")


@pytest.mark.lane("streams")
def test_a_device_that_publishes_is_seen(stack: Stack) -> None:
    hub = Hub(stack.config().hub)
    device, began = "sim-imu-001", datetime.now(UTC)
    stack.run("simulate", "--streams", "imu", "--devices", "1", "--rate", "5", "--duration", "3")

    def seen() -> bool:
        when = hub.get(device_path(device))["last_seen"]
        return when is not None and datetime.fromisoformat(when) >= began

    until(seen, 30, lambda: hub.get(device_path(device)))


@pytest.mark.long
@pytest.mark.lane("streams")
def test_a_reading_stands_beside_the_firmware_that_its_device_had_then(stack: Stack) -> None:
    hub, device = Hub(stack.config().hub), f"told-{time.time_ns()}"
    known = {"id": device, "model": "M1", "firmware": "1.0", "attributes": {"position": "hall 3"}}
    password = hub.post("/api/devices", known)["password"]
    port = str(stack.config().mqtt.for_devices[1])
    argv = ["mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-u", device, "-P", password, "-q", "1"]
    topic = f"sensors/{device}/environment"

    def sends(temperature: float) -> bool:
        message = ["-t", topic, "-m", f'{{"temperature": {temperature}}}']
        return subprocess.run([*argv, *message], check=False, timeout=30, capture_output=True).returncode == 0

    until(lambda: sends(1.0), 60, lambda: "the broker does not let the device in")
    hub.patch(device_path(device), {"firmware": "1.1", "attributes": {"position": "hall 4"}})
    assert sends(2.0)
    sql = (
        "select temperature t, device_model m, device_firmware f, device_attributes ->> 'position' p "
        f"from environment_with_devices where device_id = '{device}' order by event_time"
    )
    expected = [{"t": 1.0, "m": "M1", "f": "1.0", "p": "hall 3"}, {"t": 2.0, "m": "M1", "f": "1.1", "p": "hall 4"}]

    def rows() -> object:
        return stack.json("query", "-f", "json", sql)

    until(lambda: rows() == expected, 90, rows, pause=2.0)
