import socket
import urllib.error
import urllib.request
from typing import Any

import orjson
import pytest

from headrace.config.model import Http
from headrace.errors import ConfigError
from headrace.health import Health


def get(health: Health, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{health.port}{path}", timeout=5) as answer:
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


def test_a_taken_port_is_a_config_error() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        with pytest.raises(ConfigError, match=r"can't listen on 127\.0\.0\.1"):
            Health(Http(port=s.getsockname()[1]))
