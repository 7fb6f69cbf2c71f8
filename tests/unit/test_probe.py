"""The health check of the containers: it says no by its exit code, and never hangs."""

import socket
import subprocess
import sys
import time

import pytest

from headrace.operate import probe
from headrace.runtime.httpserver import Answer, HttpServer, Request


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1), (301, 1)])
def test_only_200_is_healthy(status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def find(request: Request) -> Answer:
        asked.append(request.target)
        return Answer(status, "application/json", b'{"ok": true}\n')

    with HttpServer("127.0.0.1", 0, find, "") as server:
        assert probe.main([f"http://127.0.0.1:{server.port}/readyz?full=1"]) == code
    assert asked == ["/readyz?full=1"]
    assert capsys.readouterr().out == f'{status} {{"ok": true}}\n'


def test_a_port_where_nobody_listens_is_unhealthy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert probe.main([f"http://127.0.0.1:{s.getsockname()[1]}/readyz"]) == 1
    assert "refused" in capsys.readouterr().err


def test_who_says_nothing_is_unhealthy_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as s:
        begun = time.monotonic()
        assert probe.main([f"http://127.0.0.1:{s.getsockname()[1]}/readyz"]) == 1
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["127.0.0.1:8080"], ["https://127.0.0.1/"], ["http://"]])
def test_bad_arguments(argv: list[str]) -> None:
    assert probe.main(argv) == 1


def test_it_needs_the_standard_library_alone() -> None:
    code = "import sys; import headrace.operate.probe; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours = {m for m in eval(told) if m not in sys.stdlib_module_names and not m.startswith(("_", "sitecustomize"))}
    assert ours == {"headrace"}
