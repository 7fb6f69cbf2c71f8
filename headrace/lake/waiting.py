"""Wait until all readings that were published are stored."""

import re
import time
from collections.abc import Callable

from headrace.config import Config
from headrace.errors import TransientError
from headrace.lake.flow import Watcher
from headrace.runtime.http import bearer, get

_EVERY_SECONDS = 0.3
_QUIET_SECONDS = 1.5  # when nothing new comes for so long, what was published has reached Kafka
_SAMPLE = re.compile(r"^(headrace_bridge_\w+?)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_BUSY = ("headrace_bridge_unacknowledged_messages", "headrace_bridge_in_flight_records")


def wait_stored(
    cfg: Config, watcher: Watcher, seconds: float, notify: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Wait until all readings are stored, `seconds` at most. Returns in words what is still under way; [] for nothing.

    All is stored when the bridge has nothing in flight, clean and archive have dealt with everything, no batch is being
    stored, and none of that has changed for a moment. Without bridge.http.port in the configuration only the ends of
    the logs are looked at. `notify` is called with what is waited for.
    """
    deadline = time.monotonic() + seconds
    before: object = None
    since = time.monotonic()
    while True:
        try:
            under_way, bridge = _bridge(cfg)
            flow = watcher.snapshot()
            under_way += flow.pending()
            now: object = (flow.ends(), bridge)
        except TransientError as e:
            under_way, now = [str(e)], object()
        if under_way or now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since >= _QUIET_SECONDS:
            return []
        if time.monotonic() >= deadline:
            return under_way or ["readings are still arriving"]
        notify(under_way[0] if under_way else "all is stored; looking whether more comes")
        time.sleep(_EVERY_SECONDS)


def _bridge(cfg: Config) -> tuple[list[str], str]:
    """What the bridge has in flight, in words, and how many messages it has received. TransientError: no answer."""
    http = cfg.bridge.http
    if http.port == 0:
        return [], ""
    host = "127.0.0.1" if http.host in {"0.0.0.0", "::"} else http.host  # noqa: S104 - compared, not bound
    login = bearer(http.token.get_secret_value()) if http.token is not None else ""
    text = get(f"http://{host}:{http.port}/metrics", authorization=login).decode()
    figures: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        figures[name] = figures.get(name, 0.0) + float(value)
    busy = [f"the bridge has {figures[n]:,.0f} messages in flight" for n in _BUSY if figures.get(n)]
    return busy[:1], str(figures.get("headrace_bridge_received_total", 0.0))
