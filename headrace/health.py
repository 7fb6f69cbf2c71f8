"""/livez, /readyz and /metrics of a service, on a thread of their own."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.config.model import Http
from headrace.errors import ConfigError
from headrace.metrics import READY


class Health:
    """Answers whether the main loop makes progress (/livez) and whether the service can do its job now (/readyz).

    Not ready until every check that was named has been told true at least once.
    """

    def __init__(self, http: Http, checks: tuple[str, ...] = (), stalled_seconds: float = 60.0) -> None:
        self._stalled = stalled_seconds
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._checks: dict[str, str] = dict.fromkeys(checks, "starting")
        self._details: dict[str, Any] = {}
        handler = type("Handler", (_Handler,), {"health": self})
        try:
            self._server = ThreadingHTTPServer((http.host, http.port), handler)
        except OSError as e:
            raise ConfigError(
                f"can't listen on {http.host}:{http.port}: {e.strerror}. Choose another http.port"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port listened on, also where 0 was asked for."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def progress(self) -> None:
        """The main loop has come round once more."""
        self._last = time.monotonic()

    def ready(self, check: str, ok: bool, why: str = "") -> None:
        """Say of a named dependency whether it serves, and if not, why."""
        with self._lock:
            self._checks[check] = "" if ok else why or "not ready"
        READY.labels(check).set(ok)

    def detail(self, name: str, value: Any) -> None:
        """A figure to show beside the checks in /readyz: numbers, text, or lists and mappings of them."""
        with self._lock:
            self._details[name] = value

    def live(self) -> tuple[bool, dict[str, Any]]:
        """(whether the main loop came round lately, the facts as JSON)."""
        idle = time.monotonic() - self._last
        return idle < self._stalled, {"seconds_since_progress": round(idle, 1)}

    def is_ready(self) -> tuple[bool, dict[str, Any]]:
        """(whether every check is fine, the checks as JSON: "ok" or what is wrong)."""
        with self._lock:
            checks = {k: v or "ok" for k, v in self._checks.items()}
            return all(v == "ok" for v in checks.values()), {"checks": checks, **self._details}


class _Handler(BaseHTTPRequestHandler):
    health: Health
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(200, generate_latest(), CONTENT_TYPE_LATEST)
        elif path in {"/livez", "/readyz"}:
            ok, facts = self.health.live() if path == "/livez" else self.health.is_ready()
            self._send(200 if ok else 503, orjson.dumps({"ok": ok, **facts}) + b"\n", "application/json")
        else:
            self._send(404, b"/livez, /readyz or /metrics\n", "text/plain")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        """Probes come every few seconds: not logged."""
