import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from headrace.config.model import Http
from headrace.errors import ConfigError
from headrace.runtime.health import Health


def get(health: Health, path: str, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{health.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def test_a_service_is_ready_only_once_every_check_has_passed() -> None:
    with Health(Http(), checks=("kafka", "mqtt")) as health:
        assert get(health, "/readyz")[0] == 503
        health.ready("kafka", ok=True)
        health.ready("mqtt", ok=False, why="connection refused")
        status, body = get(health, "/readyz")
        assert (status, orjson.loads(body)["checks"]) == (503, {"kafka": "ok", "mqtt": "connection refused"})
        health.ready("mqtt", ok=True)
        health.detail("in_flight", 3)
        status, body = get(health, "/readyz")
        assert (status, orjson.loads(body)["in_flight"]) == (200, 3)


def test_a_stalled_loop_is_not_live() -> None:
    with Health(Http(), stalled_seconds=60) as health:
        health.progress()
        assert get(health, "/livez")[0] == 200
    with Health(Http(), stalled_seconds=0) as health:
        assert get(health, "/livez")[0] == 503


def test_metrics_are_served_and_other_paths_are_not() -> None:
    with Health(Http()) as health:
        status, body = get(health, "/metrics")
        assert status == 200
        assert b"headrace_ready" in body
        assert get(health, "/etc/passwd")[0] == 404


def test_with_a_token_metrics_are_for_who_sends_it() -> None:
    with Health(Http(token=SecretStr("s3cret"))) as health:
        assert get(health, "/metrics")[0] == 401
        assert get(health, "/metrics", Authorization="Bearer guess")[0] == 401
        assert get(health, "/metrics", Authorization="Basic s3cret")[0] == 401
        status, body = get(health, "/metrics", Authorization="Bearer s3cret")
        assert (status, b"headrace_ready" in body) == (200, True)


def test_a_token_in_a_file_may_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with Health(Http(token_file=file)) as health:
        file.write_text("second\n")
        assert get(health, "/metrics", Authorization="Bearer second")[0] == 200
        assert get(health, "/metrics", Authorization="Bearer first")[0] == 401
        file.write_text("")
        assert get(health, "/metrics", Authorization="Bearer ")[0] == 401


def test_a_stranger_is_told_which_check_fails_and_not_why() -> None:
    with Health(Http(token=SecretStr("s3cret")), checks=("kafka", "mqtt")) as health:
        health.ready("kafka", ok=True)
        health.ready("mqtt", ok=False, why="10.1.1.1:1883 refuses headrace")
        health.detail("topics", ["imu.raw"])
        status, body = get(health, "/readyz")
        assert (status, orjson.loads(body)) == (503, {"ok": False, "checks": {"kafka": "ok", "mqtt": "not ready"}})
        assert b"10.1.1.1" in get(health, "/readyz", Authorization="Bearer s3cret")[1]
        assert get(health, "/livez")[0] == 200


OURS = (
    "127.0.0.1", "[::1]", "10.0.3.7", "localhost", "LOCALHOST", "archive", "headrace-clean.plant.svc",
    "bridge.plant.svc.cluster.local", "metrics.example.org",
)  # fmt: skip
FOREIGN = ("evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "evil.svc.com", "", "metrics.example.org.evil.com")


@pytest.mark.parametrize("port", ["", ":8080"])
@pytest.mark.parametrize("host", OURS)
def test_a_service_answers_to_its_own_names(host: str, port: str) -> None:
    with Health(Http(hosts=("Metrics.example.org",))) as health:
        assert get(health, "/livez", Host=host + port)[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
@pytest.mark.parametrize("host", FOREIGN)
def test_a_site_whose_name_points_here_reads_nothing(host: str, path: str) -> None:
    with Health(Http(hosts=("metrics.example.org",))) as health:
        assert get(health, path, Host=host)[0] == 421


def test_a_taken_port_is_a_config_error() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        with pytest.raises(ConfigError, match=r"can't listen on 127\.0\.0\.1"):
            Health(Http(port=s.getsockname()[1]))
