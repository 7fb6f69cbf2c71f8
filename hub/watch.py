"""How the other services are: what they say at /readyz and /metrics, asked every two seconds, for the console."""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from headrace.errors import TransientError
from headrace.runtime import http
from hub.figures import Instance, Rates, Samples, figures, parse

EVERY_SECONDS = 2.0
HISTORY = 300  # looks that are kept: ten minutes
_ANSWER_SECONDS = 1.5
_AT_ONCE = 8
READY, NOT_READY, AWAY = "ready", "not ready", "no answer"


class Problem(NamedTuple):
    """A check of a service that fails, or what it warns of, and why. `check` is empty where it gives no answer."""

    check: str
    why: str


class _Told(NamedTuple):
    state: str
    problems: tuple[Problem, ...] = ()
    samples: Samples | None = None


class ServiceWatch(threading.Thread):
    """Asks until it is halted. `services`: their URLs by name. A name with several addresses is asked at each.

    `token`: the bearer token of all of them.
    """

    def __init__(self, services: Mapping[str, str], token: str) -> None:
        super().__init__(name="watch", daemon=True)
        self._services, self._login = services, http.bearer(token) if token else ""
        self._halt = threading.Event()
        self._rates = Rates()
        self._now: dict[str, Any] = {"services": {name: _service(()) for name in services}, "streams": {}}
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY)

    def halt(self) -> None:
        """Come to an end. `join` waits for it."""
        self._halt.set()

    def run(self) -> None:
        """The life of the thread."""
        with ThreadPoolExecutor(_AT_ONCE, "watch") as pool:
            while True:
                self.look(pool)
                if self._halt.wait(EVERY_SECONDS):
                    return

    def snapshot(self) -> dict[str, Any]:
        """{"services": {name: ...}, "streams": {name: ...}, "history": [{"time", "readings_per_second"}, ...]}.

        A service has state (ready, not ready, no answer), instances, problems (each a check, and why it fails), and, as
        a stream has, what `hub.figures.figures` tells.
        """
        return {**self._now, "history": list(self._history)}

    def look(self, pool: ThreadPoolExecutor) -> None:
        """Ask every instance once."""
        instances = [(name, url) for name, url in self._services.items() for url in addresses(url)]
        told = dict(zip(instances, pool.map(self._ask, instances), strict=True))
        services, streams = figures({i: t.samples for i, t in told.items() if t.samples is not None}, self._rates)
        named = {name: _service(t for i, t in told.items() if i[0] == name) for name in self._services}
        self._now = {
            "services": {name: {**state, **services.get(name, {})} for name, state in named.items()},
            "streams": streams,
        }
        rates = {stream: round(f.get("received_rate", 0.0), 1) for stream, f in streams.items()}
        self._history.append({"time": round(time.time(), 1), "readings_per_second": rates})

    def _ask(self, instance: Instance) -> _Told:
        try:
            status, body = http.status_of(f"{instance[1]}/readyz", _ANSWER_SECONDS, self._login)
            said = orjson.loads(body)
            checks, warnings = said["checks"], said.get("warnings", {})
            wrong = tuple(Problem(name, str(why)) for name, why in (*checks.items(), *warnings.items()) if why != "ok")
            samples = parse(http.get(f"{instance[1]}/metrics", _ANSWER_SECONDS, self._login).decode())
        except TransientError as e:
            return _Told(AWAY, (Problem("", str(e)),))
        except (ValueError, KeyError, TypeError, AttributeError):
            why = f"{instance[1]}: this is no service of Headrace. Correct hub.serve.watch"
            return _Told(AWAY, (Problem("", why),))
        return _Told(READY if status == 200 else NOT_READY, wrong, samples)


def addresses(url: str) -> list[str]:
    """The URL at each address that its name has: one a pod, behind a headless Service. As it is where it has none."""
    parts = urlsplit(url.rstrip("/"))
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return [url.rstrip("/")]
    hosts = sorted({str(f[4][0]) for f in found if f[0] == socket.AF_INET}) or sorted(
        {f"[{f[4][0]}]" for f in found if f[0] == socket.AF_INET6}
    )
    return [f"{parts.scheme}://{host}:{parts.port or 80}{parts.path}" for host in hosts]


def _service(told: Iterable[_Told]) -> dict[str, Any]:
    """Of all instances together: the worst state, and what is wrong, each thing once."""
    all_told = list(told)
    states = {t.state for t in all_told} or {AWAY}
    state = next(s for s in (AWAY, NOT_READY, READY) if s in states)
    problems = dict.fromkeys(p for t in all_told for p in t.problems)
    return {"state": state, "instances": len(all_told), "problems": [p._asdict() for p in problems]}
