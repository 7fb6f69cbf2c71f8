"""How hub sees the other services: states, problems, figures of all instances together, rates."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.config.model import Http
from headrace.runtime.health import Health
from hub import watch
from hub.figures import Rates, figures, parse
from hub.watch import ServiceWatch, addresses

METRICS = """# HELP headrace_bridge_messages_total x
headrace_bridge_messages_total{{stream="imu"}} {0}.0
headrace_dead_letters_total{{stage="bridge",stream="imu",reason="malformed"}} 2.0
headrace_lag_records{{service="clean",topic="imu.raw",partition="0"}} 5.0
headrace_lag_records{{service="clean",topic="imu.raw",partition="1"}} 7.0
python_info{{version="3"}} 1.0
"""
ONE, TWO, OTHER = ("bridge", "http://a"), ("bridge", "http://b"), ("ingest", "http://c")


def test_rates_come_from_two_looks_and_a_restart_is_no_negative_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rates = 50.0, Rates()
    monkeypatch.setattr("hub.figures.time.monotonic", lambda: now)

    def look(count: int) -> float:
        services, streams = figures({ONE: parse(METRICS.format(count))}, rates)
        assert services["bridge"]["readings"] == count
        assert streams["imu"]["received_rate"] == services["bridge"]["readings_per_second"]
        return float(services["bridge"]["readings_per_second"])

    assert look(100) == 0.0
    now = 52.0
    assert look(300) == 100.0
    now = 54.0
    assert look(5) == 0.0


def test_instances_of_a_service_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rates = 50.0, Rates()
    monkeypatch.setattr("hub.figures.time.monotonic", lambda: now)
    figures({ONE: parse(METRICS.format(100)), TWO: parse(METRICS.format(5000))}, rates)
    now = 51.0
    services, streams = figures({ONE: parse(METRICS.format(110)), TWO: parse(METRICS.format(5005))}, rates)
    assert services["bridge"] == {"readings": 5115, "readings_per_second": 15.0, "dead_letters": 4, "lag": 24}
    assert streams["imu"] == {"received": 5115, "received_rate": 15.0, "bridge_lag": 24, "dead_letters": 4}


def test_what_comes_over_http_is_received_as_well() -> None:
    _, streams = figures({ONE: parse(METRICS.format(100)), OTHER: parse(METRICS.format(7))}, Rates())
    assert streams["imu"]["received"] == 107


def test_what_derive_makes_is_received_by_the_stream_that_it_makes() -> None:
    lines = (
        'headrace_derive_readings_total{stream="heat",outcome="kept"} 900.0',
        'headrace_derive_rows_total{stream="heat"} 30.0',
        'headrace_lag_records{service="derive",topic="heat.raw",partition="0"} 4.0',
    )
    clean = 'headrace_lag_records{service="clean",topic="heat.raw",partition="0"} 1.0'
    found = {("derive", "http://d"): parse("\n".join(lines)), ("clean", "http://c"): parse(clean)}
    services, streams = figures(found, Rates())
    assert (services["derive"]["readings"], services["derive"]["lag"]) == (30, 4)
    assert streams == {"heat": {"received": 30, "received_rate": 0.0, "derive_lag": 4, "clean_lag": 1}}


@pytest.fixture
def service() -> Iterator[Health]:
    with Health(Http.model_validate({"token": "t" * 30}), ("kafka", "mqtt")) as it:
        it.ready("mqtt", ok=True)
        it.ready("kafka", ok=False, why="no answer")
        yield it


def snapshot(services: dict[str, str], token: str = "t" * 30) -> dict[str, dict[str, object]]:
    it = ServiceWatch(services, token)
    with ThreadPoolExecutor(2) as pool:
        it.look(pool)
    assert len(it.snapshot()["history"]) == 1
    found: dict[str, dict[str, object]] = it.snapshot()["services"]
    return {name: {k: v for k, v in s.items() if k in {"state", "instances", "problems"}} for name, s in found.items()}


def test_what_a_ready_service_warns_of_is_told_too() -> None:
    with Health(Http(), ("kafka",)) as it:
        it.ready("kafka", ok=True)
        it.warn("contract of heat", "it is refused")
        found = snapshot({"bridge": f"http://127.0.0.1:{it.port}"})["bridge"]
    assert found["state"] == "ready"
    assert found["problems"] == [{"check": "contract of heat", "why": "it is refused"}]


def test_a_service_is_as_its_checks_say_and_one_that_is_away_or_another_is_named(service: Health) -> None:
    url = f"http://127.0.0.1:{service.port}"
    assert snapshot({"x": url}) == {
        "x": {"state": "not ready", "instances": 1, "problems": [{"check": "kafka", "why": "no answer"}]}
    }
    service.ready("kafka", ok=True)
    assert snapshot({"x": f"{url}/"})["x"] == {"state": "ready", "instances": 1, "problems": []}
    told = snapshot({"x": url}, token="wrong")["x"]
    assert told["state"] == "no answer"
    assert "401" in str(told["problems"])
    told = snapshot({"y": "http://127.0.0.1:9", "x": url})["y"]
    assert told["state"] == "no answer"
    assert "127.0.0.1:9" in str(told["problems"])


def test_a_name_with_several_addresses_is_asked_at_each(service: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert (host, port) == ("headrace-bridge", service.port)
        v4, v6 = socket.AF_INET, socket.AF_INET6
        hosts = [(v4, "127.0.0.1"), (v4, "127.0.0.2"), (v6, "::1")]
        return [(family, 1, 6, "", (host, port)) for family, host in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    url = f"http://headrace-bridge:{service.port}"
    assert addresses(url) == [f"http://127.0.0.{n}:{service.port}" for n in (1, 2)]
    service.ready("kafka", ok=True)
    told = snapshot({"bridge": url})["bridge"]
    assert (told["state"], told["instances"]) == ("no answer", 2)  # nobody is at the second


def test_a_name_that_nobody_knows_is_no_answer() -> None:
    assert snapshot({"x": "http://nowhere.invalid:80"})["x"]["state"] == "no answer"


def test_it_looks_again_and_again_until_it_is_halted(service: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.01)
    it, looked = ServiceWatch({"x": f"http://127.0.0.1:{service.port}"}, "t" * 30), threading.Event()
    look = it.look

    def counted(pool: ThreadPoolExecutor) -> None:
        look(pool)
        if len(it.snapshot()["history"]) > 2:
            looked.set()

    monkeypatch.setattr(it, "look", counted)
    it.start()
    assert looked.wait(10)
    it.halt()
    it.join(5)
    assert not it.is_alive()
