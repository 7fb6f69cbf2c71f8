"""Readings over HTTP on the real services: what is answered is stored once, also after kill -9 in the middle."""

import base64
import http.client
import random
import threading
import time
import uuid
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.hub.client import Hub, device_path
from headrace.stack import ports
from tests.faults.own import Own, payload
from tests.stack import Stack
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]
KILLS, READINGS = 4, 300  # of each device


class Device:
    """Posts readings to `port`, each until it is answered, as a client should."""

    def __init__(self, hub: Hub, port: int, name: str = "") -> None:
        self.name = name or f"post-{uuid.uuid4().hex[:8]}"
        password = hub.post("/api/devices", {"id": self.name})["password"]
        self._login = base64.b64encode(f"{self.name}:{password}".encode()).decode()
        self._port = port
        self.again = 0

    def once(self, path: str, body: bytes, media: str = "application/json", seconds: float = 15) -> tuple[int, Any]:
        """The answer to one request; status 0 when the connection broke."""
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        try:
            client.request("POST", path, body, {"Authorization": f"Basic {self._login}", "Content-Type": media})
            answer = client.getresponse()
            return answer.status, orjson.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            client.close()

    def post(self, path: str, body: bytes, media: str = "application/json", seconds: float = 60) -> Any:
        """The answer, with the same bytes sent again until there is one."""
        end = time.monotonic() + seconds
        while True:
            status, told = self.once(path, body, media)
            if status == 200:
                return told
            assert status in {0, 401, 429, 503}, told  # 401: hub has told of the device only now
            assert time.monotonic() < end, told
            self.again += 1
            time.sleep(0.05)


@pytest.fixture
def own(stack: Stack, tmp_path: Path) -> Own:
    """A stream, with an ingest of its own to come on `own.config.ingest.port`."""
    serve = stack.config().hub.serve
    it = Own(stack, tmp_path, partitions=2, ingest={"port": ports.free(set()), "http": {"port": 0}})
    assert serve.broker_token is not None
    it.change("hub", token=serve.broker_token.get_secret_value())
    return it


def stream(device: Device, own: Own, first: int, rng: random.Random) -> None:
    """READINGS readings from `first` on, in requests of all forms."""
    topic = f"{own.stream}/{device.name}/imu"
    numbers = iter(range(first, first + READINGS))
    while some := list(islice(numbers, rng.randint(1, 9))):
        bodies = [payload(n) for n in some]
        match rng.randrange(3):
            case 0:
                told = device.post(f"/readings/{topic}", b"[" + b",".join(bodies) + b"]")
                each = told["each"]
            case 1:
                told = device.post(f"/readings/{topic}", b"\n".join(bodies), "application/x-ndjson")
                each = [part for result in told["results"] for part in result["each"]]
            case _:
                named = b",".join(b'{"topic":"%b","payload":%b}' % (topic.encode(), body) for body in bodies)
                told = device.post("/readings", b"[" + named + b"]")
                each = [part for result in told["results"] for part in result["each"]]
        assert [part["status"] for part in each] == ["stored"] * len(some), told


@pytest.mark.long
def test_whatever_is_answered_is_in_the_lake_once_also_after_kills(stack: Stack, own: Own) -> None:
    hub, port = Hub(stack.config().hub), own.config.ingest.port
    devices = [Device(hub, port) for _ in range(3)]
    rng, failed = random.Random(11), list[BaseException]()

    def run(number: int) -> None:
        try:
            stream(devices[number], own, number * READINGS, random.Random(number))
        except BaseException as e:  # noqa: BLE001 - raised below
            failed.append(e)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(devices))]
    for thread in threads:
        thread.start()
    with own.clean(), own.archive():
        for _ in range(KILLS):
            with own.service("bridge", "ingest") as ingest:
                ingest.says('"serving"')
                time.sleep(rng.uniform(0.05, 0.3))  # then kill -9
        with own.service("bridge", "ingest") as ingest:
            for thread in threads:
                thread.join(60)
            assert not failed, (failed, ingest.log)
            ingest.stop()
        assert sum(d.again for d in devices) > KILLS, "no request was disturbed"
        report = own.whole(range(READINGS * len(devices)))
    assert report["gaps"] == 0


def test_a_device_that_is_revoked_is_out_at_once_and_one_that_is_added_is_in(stack: Stack, own: Own) -> None:
    hub = Hub(stack.config().hub)
    with own.service("bridge", "ingest") as ingest:
        ingest.says('"serving"')
        device = Device(hub, own.config.ingest.port)
        path = f"/readings/{own.stream}/{device.name}/imu"
        device.post(path, payload(1), seconds=5)
        assert device.once(f"/readings/{own.stream}/other/imu", payload(1))[0] == 403
        hub.post(device_path(device.name, "revoke"))
        began = time.monotonic()
        until(lambda: device.once(path, payload(2))[0] == 401, 5, lambda: ingest.log, pause=0.02)
        assert time.monotonic() - began < 2
        ingest.stop()


@pytest.mark.lane("alone")
def test_while_kafka_is_away_nothing_is_answered_as_stored(stack: Stack) -> None:
    config = stack.config()
    device = Device(Hub(config.hub), config.ingest.port)
    path = f"/readings/sensors/{device.name}/environment"
    body = b'{"event_time": %d, "temperature": 20}' % (time.time_ns() // 1000)
    device.post(path, body)
    with stack.frozen("kafka"):
        assert device.once(path, body)[0] == 503
        began = time.monotonic()
        status, told = device.once(path, body)
        assert (status, time.monotonic() - began < 1) == (503, True), "further ones do not wait"
        assert "Kafka is away" in told["error"]
    device.post(path, body)
