"""The console's pages about what runs: how the services are, and the newest readings."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from headrace.config import Config
from headrace.config.model import Http
from headrace.errors import TransientError
from headrace.operate.live import Record
from headrace.operate.newest import Newest
from headrace.runtime import health
from headrace.runtime.health import Health
from hub.console.status import trend
from hub.watch import ServiceWatch
from tests.browser import Browser
from tests.hubworld import ADMIN, Served, add, lite, served
from tests.unit.toy_log import Log

EVIL = "<img src=x onerror=alert(1)>"
CONFIG = Config.model_validate({"streams": {"imu": {}, "vibration": {}, "device_events": {}}})


class Topic(Log):
    """Three readings of the devices d0, d1 and d0; with text of theirs in them."""

    def record(self, m: Message) -> Record:
        n = m.offset() or 0
        reading: dict[str, Any] = {"device_id": f"d{n % 2}", "event_time": f"2026-11-27T05:00:0{n}.000000+00:00"}
        more = {"ax": 1.23456789 * n, "label": EVIL, "samples": [0.1] * 1200, "sequence": None}
        return super().record(m)._replace(reading={**reading, **more})


class Kafka:
    away = False

    @contextmanager
    def open(self, _: Config, topic: str) -> Iterator[Log]:
        if self.away:
            raise TransientError("Kafka 127.0.0.1:1: no answer")
        log = Topic(1)
        log.add(0, 0 if topic.startswith("vibration") else 3)
        yield log


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Health]:
    monkeypatch.setattr(health, "generate_latest", lambda: b"")  # what other tests have counted is none of its business
    with Health(Http(), ("kafka",)) as it:
        it.ready("kafka", ok=False, why=EVIL)
        yield it


@pytest.fixture
def watch(service: Health) -> ServiceWatch:
    return ServiceWatch({"clean": f"http://127.0.0.1:{service.port}", "bridge": "http://127.0.0.1:9"}, "")


@pytest.fixture
def hub(tmp_path: Path, kafka: Kafka, watch: ServiceWatch) -> Iterator[Served]:
    newest = Newest(CONFIG, kafka.open)
    with served(lite(tmp_path), watch=watch, newest=newest) as it:
        yield it
    newest.close()


@pytest.fixture
def it(hub: Served) -> Browser:
    browser = Browser(hub.settings.url)
    browser.log_in(ADMIN)
    return browser


def look(watch: ServiceWatch) -> None:
    with ThreadPoolExecutor(2) as pool:
        watch.look(pool)


def test_status_says_what_each_service_lacks_and_what_the_broker_has(
    hub: Served, it: Browser, watch: ServiceWatch, service: Health
) -> None:
    look(watch)
    look(watch)
    add(hub.admin, "b")
    words = it.get("/status").words
    assert "Not all services are ready" in words
    assert "The broker has version 0 of the devices; version 1 is on its way" in words
    assert words.index("bridge MQTT to Kafka no answer") < words.index("clean rules, repeats not ready lacks kafka")
    assert f"clean {EVIL}" in words
    assert EVIL not in it.get("/status").text
    part = it.get("/status", **{"HX-Request": "true"})
    assert "<html" not in part.text
    assert "not ready" in part.words
    assert 'href="/readings/imu"' in part.text
    assert 'href="/readings/device_events"' not in part.text
    assert "<polyline" in part.text
    service.ready("kafka", ok=True)
    look(watch)
    told = hub.admin.get("/api/status")
    assert told["services"]["clean"] == {
        "state": "ready", "instances": 1, "problems": [], "readings": 0, "readings_per_second": 0.0, "dead_letters": 0,
    }  # fmt: skip
    assert (told["broker"], len(told["history"])) == ({"version": 1, "applied": 0}, 3)


def test_status_says_how_far_behind_a_derived_stream_is_where_there_is_one(
    tmp_path: Path, service: Health, monkeypatch: pytest.MonkeyPatch, it: Browser
) -> None:
    assert "Derive is behind" not in it.get("/status").words
    lag = b'headrace_lag_records{service="derive",topic="heat.raw",partition="0"} 41.0'
    monkeypatch.setattr(health, "generate_latest", lambda: lag)
    watch = ServiceWatch({"derive": f"http://127.0.0.1:{service.port}"}, "")
    look(watch)
    (tmp_path / "other").mkdir()
    with served(lite(tmp_path / "other"), watch=watch) as hub:
        browser = Browser(hub.settings.url)
        browser.log_in(ADMIN)
        words = browser.get("/status").words
    assert "derive derived streams" in words
    assert "Derive is behind" in words
    assert re.search(r"heat \W+ \W+ 41 \W+ \W+ \W+ 0", words)


def test_without_anything_to_watch_status_says_what_to_do(tmp_path: Path) -> None:
    with served(lite(tmp_path)) as hub:
        it = Browser(hub.settings.url)
        it.log_in(ADMIN)
        assert "hub.serve.watch" in it.get("/status").words
        assert it.get("/readings").headers["location"] == "/status"
        assert it.get("/devices/b/readings").words == "There is no stream for devices."


def test_a_trend_is_a_line_as_high_as_its_picture() -> None:
    assert trend([]) == trend([5.0]) == ""
    assert trend([0.0, 10.0, 5.0]) == "0.0,24.0 60.0,2.0 120.0,13.0"
    assert trend([0.0, 0.0]) == "0.0,24.0 120.0,24.0"


def test_the_newest_readings_of_a_stream_are_for_who_is_logged_in(hub: Served, it: Browser, kafka: Kafka) -> None:
    assert it.get("/readings").headers["location"] == "/readings/imu"
    page = it.get(f"/readings/imu?device={EVIL.replace('<', '%3C').replace(' ', '+')}"[:80])
    assert page.status == 200
    assert "<img src=x" not in page.text
    told = it.get("/readings/imu/newest")
    assert [r["device_id"] for r in json.loads(told.text)["readings"]] == ["d0", "d1", "d0"]
    assert told.headers["content-type"] == "application/json"
    for path in ("/readings/other", "/readings/other/newest", "/readings/device_events/newest"):
        assert it.get(path).status == 404, path
    stranger = Browser(it.url)
    assert stranger.get("/readings/imu/newest").status == 303
    kafka.away = True
    late = it.get("/readings/vibration/newest")
    assert (late.status, json.loads(late.text)) == (503, {"error": "Kafka 127.0.0.1:1: no answer"})


def test_a_devices_page_has_its_last_reading_of_each_stream(hub: Served, it: Browser, kafka: Kafka) -> None:
    for device in ("d0", "d1", "d7"):
        add(hub.admin, device)
    assert 'hx-get="/devices/d0/readings"' in it.get("/devices/d0").text
    page = it.get("/devices/d0/readings")
    assert f"imu 2026-11-27 05:00:02 UTC ax 2.469136 m/s2 label {EVIL}" in page.words
    assert EVIL not in page.text
    assert "vibration" not in page.words
    assert "05:00:01" in it.get("/devices/d1/readings").words
    assert "None among the newest" in it.get("/devices/d7/readings").words
    kafka.away = True


def test_without_kafka_a_devices_page_says_so(it: Browser, kafka: Kafka) -> None:
    kafka.away = True
    assert it.get("/devices/d0/readings").words == "Kafka 127.0.0.1:1: no answer"
