"""/livez, /readyz and /metrics of a service, on a thread of their own."""

import threading
import time
from types import TracebackType
from typing import Any, Self

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.config.model import Http
from headrace.httpserver import Answer, HttpServer
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
        self._server = HttpServer(http.host, http.port, self._find, "Choose another http.port")

    @property
    def port(self) -> int:
        """The port listened on, also where 0 was asked for."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.__exit__(kind, error, tb)

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

    def _find(self, target: str, _host: str) -> Answer:
        path = target.partition("?")[0]
        if path == "/metrics":
            return Answer(200, CONTENT_TYPE_LATEST, generate_latest())
        if path not in {"/livez", "/readyz"}:
            return Answer(404, "text/plain", b"/livez, /readyz or /metrics\n")
        ok, facts = self.live() if path == "/livez" else self.is_ready()
        return Answer(200 if ok else 503, "application/json", orjson.dumps({"ok": ok, **facts}) + b"\n")
