import base64
import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.errors import TransientError
from headrace.httpserver import HttpServer
from headrace.provision import topic_specs
from headrace.stack import extras, kafka, mosquitto, plan, scrape, show, store
from headrace.stack.page import serve
from headrace.stack.plan import Listen, Plan
from headrace.stack.state import State


@pytest.fixture
def made(tmp_path: Path) -> Plan:
    numbers = {name: 20_000 + n for n, name in enumerate([*plan.DEFAULT_PORTS, *plan.INNER_PORTS])}
    secrets = {**{f"sign{n}": f"key{n}" for n in range(4)}, "s3_access": "A", "s3_secret": "S", "sse": "E"}
    return Plan(State(tmp_path), numbers, {**secrets, "mqtt": "pw", "device": "dpw"}, Config(), None, None)


def test_devices_publish_and_hear_nothing_but_receipts() -> None:
    rules = mosquitto.access("told/").split("\n\n")
    assert rules == [
        "user headrace\ntopic readwrite #\ntopic read $SYS/#",
        "user device\ntopic write #\ntopic read told/#\n",
    ]
    assert "read" not in mosquitto.access("").partition("user device")[2]


def listeners(made: Plan, listen: Listen | None) -> list[str]:
    text = mosquitto.configuration(Plan(**{**vars(made), "listen": listen}))
    return [line for line in text.splitlines() if line.startswith(("listener", "certfile", "keyfile"))]


def test_the_broker_listens_on_loopback_alone_unless_told(made: Plan) -> None:
    port = made.ports["mqtt"]
    assert listeners(made, None) == [f"listener {port} 127.0.0.1"]
    assert listeners(made, Listen("10.1.1.1", port)) == [f"listener {port} 127.0.0.1", f"listener {port} 10.1.1.1"]
    assert listeners(made, Listen("0.0.0.0", port)) == [f"listener {port} 0.0.0.0"]
    tls = listeners(made, Listen("0.0.0.0", 8883, Path("/c"), Path("/k")))
    assert tls == [f"listener {port} 127.0.0.1", "listener 8883 0.0.0.0", "certfile /c", "keyfile /k"]


def test_the_broker_never_takes_a_client_without_a_password(made: Plan) -> None:
    for listen in (None, Listen("0.0.0.0", made.ports["mqtt"])):
        text = mosquitto.configuration(Plan(**{**vars(made), "listen": listen}))
        assert "allow_anonymous false\n" in text
        assert "allow_anonymous true" not in text
        assert "password_file " in text


def test_a_password_line_holds_a_salted_hash() -> None:
    user, _, rest = mosquitto.password_line("u", "secret").strip().partition(":")
    _, kind, rounds, salt, digest = rest.split("$")
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", base64.b64decode(salt), int(rounds))
    assert (user, kind, base64.b64decode(digest)) == ("u", "7", expected)
    assert mosquitto.password_line("u", "secret") != mosquitto.password_line("u", "secret")


def test_kafka_listens_on_loopback_alone(made: Plan) -> None:
    lines = dict(line.split("=", 1) for line in kafka.properties(made).splitlines())
    for listener in lines["listeners"].split(","):
        assert "://127.0.0.1:" in listener
    assert lines["unclean.leader.election.enable"] == "false"


def test_seaweedfs_is_told_every_port_and_closed_with_four_keys(made: Plan, tmp_path: Path) -> None:
    argv = store.spec(made, tmp_path / "weed").argv()
    given = {a.partition("=")[0]: a.partition("=")[2] for a in argv}
    for flag, name in store.PORTS.items():
        assert given[f"-{flag}"] == str(made.ports[name])
    assert given["-ip.bind"] == "127.0.0.1"
    assert given["-master.telemetry"] == "false"
    assert [line for line in store.security(made).splitlines() if "key" in line] == [
        f'key = "key{n}"' for n in range(4)
    ]


def test_what_fits_a_raw_topic_fits_the_next_ones() -> None:
    config = Config.model_validate({"streams": {"imu": {"partitions": 5}}})
    specs = {s.name: s for s in topic_specs(config)}
    raw, clean, letters = specs["imu.raw"], specs["imu.clean"], specs["dead-letters"]
    assert config.max_message_bytes == raw.max_message_bytes < clean.max_message_bytes < letters.max_message_bytes
    assert raw.partitions == clean.partitions == 5
    assert raw.log_append_time
    assert letters.cleanup_policy == "compact,delete"


METRICS = """# HELP headrace_bridge_messages_total x
headrace_bridge_messages_total{{stream="imu"}} {0}.0
headrace_dead_letters_total{{stage="bridge",stream="imu",reason="malformed"}} 2.0
headrace_lag_records{{service="clean",topic="imu.raw",partition="0"}} 5.0
headrace_lag_records{{service="clean",topic="imu.raw",partition="1"}} 7.0
python_info{{version="3"}} 1.0
"""


def test_rates_come_from_two_looks_and_a_restart_is_no_negative_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    count, now = 100, 50.0
    monkeypatch.setattr("headrace.stack.http.get", lambda *_, **__: METRICS.format(count).encode())
    monkeypatch.setattr("headrace.stack.scrape.time.monotonic", lambda: now)
    figures = scrape.Figures({"bridge": 1})
    figures.look()
    assert figures.services["bridge"] == {"readings_per_second": 0.0, "readings": 100, "dead_letters": 2, "lag": 12}
    count, now = 300, 52.0
    figures.look()
    assert figures.services["bridge"]["readings_per_second"] == 100.0
    assert figures.streams["imu"]["bridge_rate"] == 100.0
    assert figures.history[-1]["readings_per_second"] == {"imu": 100.0}
    count, now = 5, 54.0
    figures.look()
    assert figures.services["bridge"]["readings_per_second"] == 0.0


def test_a_service_that_does_not_answer_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> bytes:
        raise TransientError("away")

    monkeypatch.setattr("headrace.stack.http.get", away)
    figures = scrape.Figures({"bridge": 1})
    figures.look()
    assert figures.services == {}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[HttpServer]:
    (tmp_path / "index.html").write_text("<p>hello")
    (tmp_path / "secret.txt").write_text("no")
    (tmp_path.parent / "outside.html").write_text("no")
    with serve(0, {"/api/status": lambda query: {"query": query}}, tmp_path) as it:
        yield it


def ask(page: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, {k.lower(): v for k, v in answer.getheaders()}


def test_the_page_and_its_data_are_served_to_this_origin_only(page: HttpServer) -> None:
    assert ask(page, "/")[:2] == (200, b"<p>hello")
    status, body, headers = ask(page, "/api/status?stream=imu", Host=f"localhost:{page.port}")
    assert (status, json.loads(body)) == (200, {"query": {"stream": "imu"}})
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_another_name_for_this_machine_is_refused(page: HttpServer, host: str) -> None:
    assert ask(page, "/api/status", Host=host)[0] == 421


@pytest.mark.parametrize(
    "path", ["/../outside.html", "/%2e%2e/outside.html", "/secret.txt", "/a/b.html", "//etc/passwd"]
)
def test_nothing_but_the_page_is_served(page: HttpServer, path: str) -> None:
    assert ask(page, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_page_is_read_only(page: HttpServer, method: str) -> None:
    assert ask(page, "/api/status", method)[0] == 501


def test_pins_are_read_from_a_lock() -> None:
    lock = "# by uv\naiomqtt==2.5.1 \\\n    --hash=sha256:00\n    # via headrace\nrich==15.0 ; x == 'y' \\\n"
    assert extras.pins(lock) == ["aiomqtt==2.5.1", "rich==15.0 ; x == 'y'"]


def test_missing_packages_are_those_of_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    required = [
        "pydantic>=2",
        'minio<8,>=7 ; extra == "bridge"',
        'no-such-thing==1 ; extra == "stack"',
        "other-thing>=2",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: required)
    assert extras.missing() == ["no-such-thing==1"]


def test_the_line_for_a_board_is_whole() -> None:
    info = {"listen": "10.0.0.5:1883", "listen_tls": False}
    text = "\n".join(show.network(info, "pw", ["-t", "a/b", "-f", "sample.json"]))
    assert "mosquitto_pub -h 10.0.0.5 -p 1883 -u device -P pw" in text
    assert "--tls-cert" in text


def test_the_reading_to_try_goes_where_the_configuration_takes_it() -> None:
    def words(streams: dict[str, list[str]]) -> list[str]:
        return show.reading(Config.model_validate({"streams": {n: {"routes": r} for n, r in streams.items()}}))

    pump = {"pump": ["plant/{device_id}/pump"]}
    assert words(pump) == ["-t", "plant/board-01/pump", "-f", "sample.json"]
    assert words({**pump, "environment": ["air/{device_id}"]})[:3] == ["-t", "air/board-01", "-m"]
    assert words({"copied": []})[:2] == ["-t", "TOPIC"]
