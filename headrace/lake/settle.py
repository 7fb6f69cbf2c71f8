"""Waiting until all that was published is stored."""

import re
import time
from collections.abc import Callable

from headrace.config import Config
from headrace.errors import TransientError
from headrace.lake.flow import Watcher
from headrace.stack.http import get

_EVERY_SECONDS = 0.3
_QUIET_SECONDS = 1.5  # nothing new for this long: what a publisher handed over has reached Kafka
_SAMPLE = re.compile(r"^(headrace_bridge_\w+?)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_BUSY = ("headrace_bridge_unacknowledged_messages", "headrace_bridge_in_flight_records")


def settle(cfg: Config, watcher: Watcher, seconds: float, tell: Callable[[str], None] = lambda _: None) -> list[str]:
    """Wait until nothing is under way, `seconds` at most; in words, what still is then (nothing: settled).

    Settled: the bridge has nothing in flight, clean and archive have dealt with everything, no batch is being stored,
    and none of that has changed for a moment. Where the configuration does not say where the bridge's health port is,
    the ends of the logs alone tell. `tell` hears what is awaited.
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
            return under_way or ["readings still arrive"]
        tell(under_way[0] if under_way else "nothing new?")
        time.sleep(_EVERY_SECONDS)


def _bridge(cfg: Config) -> tuple[list[str], str]:
    """(what the bridge has in flight, in words; how much it has received so far)."""
    http = cfg.bridge.http
    if http.port == 0:
        return [], ""
    host = "127.0.0.1" if http.host in {"0.0.0.0", "::"} else http.host  # noqa: S104 - compared, not bound
    text = get(f"http://{host}:{http.port}/metrics").decode()
    figures: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        figures[name] = figures.get(name, 0.0) + float(value)
    busy = [f"the bridge has {figures[n]:,.0f} messages in flight" for n in _BUSY if figures.get(n)]
    return busy[:1], str(figures.get("headrace_bridge_received_total", 0.0))
