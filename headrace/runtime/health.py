"""/livez, /readyz and /metrics of a service, served by a thread of their own."""

import contextlib
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, Self

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.config.model import Http
from headrace.runtime.httpserver import Answer, HttpServer, Request
from headrace.runtime.metrics import READY

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Checks(Protocol):
    """Where /livez and /readyz get their facts: the whole service, or a part of it that has a loop of its own."""

    def progress(self) -> None:
        """Say that the main loop is alive."""

    def ready(self, check: str, ok: bool, why: str = "") -> None:
        """Say whether a dependency serves, and if not, why."""


class Health:
    """Answers whether the main loop makes progress (/livez) and whether the service can do its job now (/readyz).

    A service is ready once each of its named checks was reported as good, and while none is reported as bad. With a
    token in `http`, who does not send it gets no metrics, and of the checks only their names and whether they are good.
    """

    def __init__(self, http: Http, checks: tuple[str, ...] = (), stalled_seconds: float = 60.0) -> None:
        self._stalled = stalled_seconds
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._checks: dict[str, str] = dict.fromkeys(checks, "starting")
        self._warnings: dict[str, str] = {}
        self._details: dict[str, Any] = {}
        self._parts: list[Part] = []
        self._http = http
        self._server = HttpServer(http.host, http.port, self._find, "Choose another http.port", names=http.hosts)

    @property
    def port(self) -> int:
        """The port listened on, also where the configuration says 0."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.__exit__(kind, error, tb)

    def progress(self) -> None:
        """Call this each time the main loop comes round."""
        self._last = time.monotonic()

    def ready(self, check: str, ok: bool, why: str = "") -> None:
        """Report whether the dependency `check` serves, and if not, why."""
        with self._lock:
            self._checks[check] = "" if ok else why or "not ready"
        READY.labels(check).set(ok)

    def warn(self, name: str, why: str) -> None:
        """Report what a person must mend while the service does the rest of its job: it stays ready."""
        with self._lock:
            self._warnings[name] = why

    def detail(self, name: str, value: Any) -> None:
        """A figure to show beside the checks in /readyz: numbers, text, or lists and mappings of them."""
        with self._lock:
            self._details[name] = value

    def part(self, name: str, checks: Iterable[str]) -> "Part":
        """A part with a loop and checks of its own: the service lives while each of its parts does."""
        it = Part(self, name)
        for check in checks:
            it.ready(check, False, "starting")
        self._parts.append(it)
        return it

    def live(self) -> tuple[bool, dict[str, Any]]:
        """(whether the main loop came round lately, the facts as JSON)."""
        idle = time.monotonic() - min((it.last for it in self._parts), default=self._last)
        return idle < self._stalled, {"seconds_since_progress": round(idle, 1)}

    def is_ready(self) -> tuple[bool, dict[str, Any]]:
        """(whether every check is fine, the checks as JSON: "ok" or what is wrong; and the warnings, if any)."""
        with self._lock:
            checks = {k: v or "ok" for k, v in self._checks.items()}
            warnings = {"warnings": dict(self._warnings)} if self._warnings else {}
            return all(v == "ok" for v in checks.values()), {"checks": checks, **warnings, **self._details}

    def _trusts(self, request: Request) -> bool:
        """Whether the request has the token as it is now: the file is read each time, so that it may be replaced."""
        if self._http.token is None:
            return True
        token = ""
        if self._http.token_file is not None:
            with contextlib.suppress(OSError, ValueError):
                token = self._http.token_file.read_text(encoding="utf-8").strip()
        return request.bears(token or self._http.token.get_secret_value())

    def _find(self, request: Request) -> Answer:
        path = request.target.partition("?")[0]
        trusted = self._trusts(request)
        if path == "/metrics":
            if not trusted:
                return Answer(401, "text/plain", b"Send the service's http.token as a bearer token.\n", _CHALLENGE)
            return Answer(200, CONTENT_TYPE_LATEST, generate_latest())
        if path not in {"/livez", "/readyz"}:
            return Answer(404, "text/plain", b"/livez, /readyz or /metrics\n")
        ok, facts = self.live() if path == "/livez" else self.is_ready()
        if not trusted and path == "/readyz":
            facts = {"checks": {name: why if why == "ok" else "not ready" for name, why in facts["checks"].items()}}
        return Answer(200 if ok else 503, "application/json", orjson.dumps({"ok": ok, **facts}) + b"\n")


class Part:
    """What a part of a service reports: `Health.part`. In /readyz its checks are called `<check> of <name>`."""

    def __init__(self, whole: Health, name: str) -> None:
        self._whole, self._name = whole, name
        self.last = time.monotonic()

    def progress(self) -> None:
        """Call this each time the part's loop comes round."""
        self.last = time.monotonic()

    def ready(self, check: str, ok: bool, why: str = "") -> None:
        """Report whether the dependency `check` serves the part, and if not, why."""
        self._whole.ready(f"{check} of {self._name}", ok, why)
