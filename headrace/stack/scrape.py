"""What the services' /metrics say about readings: counts, and rates between two looks."""

import re
import time
from collections import deque
from typing import Any

from headrace.errors import TransientError
from headrace.stack import http
from headrace.stack.plan import HOST

_SAMPLE = re.compile(r"^(headrace_\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# Each service's count of readings dealt with.
COUNTS = {
    "bridge": "headrace_bridge_messages_total",
    "clean": "headrace_clean_rows_total",
    "archive": "headrace_archive_rows_total",
}
LAG, DEAD_LETTERS = "headrace_lag_records", "headrace_dead_letters_total"
HISTORY = 300  # looks that are kept for the chart

Samples = list[tuple[str, dict[str, str], float]]


def parse(text: str) -> Samples:
    """(name, labels, value) of Headrace's labelled samples in Prometheus's text format."""
    out: Samples = []
    for line in text.splitlines():
        if found := _SAMPLE.match(line):
            out.append((found[1], dict(_LABEL.findall(found[2])), float(found[3])))
    return out


class Figures:
    """The newest figures of all services. `look` at them every second or two, from one thread."""

    def __init__(self, health_ports: dict[str, int]) -> None:
        self._ports = health_ports
        self._before: dict[tuple[str, str], tuple[float, float]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.streams: dict[str, dict[str, Any]] = {}
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)

    def look(self) -> None:
        """Ask every service once."""
        services: dict[str, dict[str, Any]] = {}
        streams: dict[str, dict[str, Any]] = {}
        for name, port in self._ports.items():
            try:
                samples = parse(http.get(f"http://{HOST}:{port}/metrics", timeout=1.0).decode())
            except TransientError:
                continue
            services[name] = self._service(name, samples, streams)
        self.services, self.streams = services, streams
        rates = {stream: figures.get("bridge_rate", 0.0) for stream, figures in streams.items()}
        self.history.append({"time": round(time.time(), 1), "readings_per_second": rates})

    def _service(self, name: str, samples: Samples, streams: dict[str, dict[str, Any]]) -> dict[str, Any]:
        counts: dict[str, float] = {}
        lag = dead = 0.0
        lag_known = False
        for metric, labels, value in samples:
            stream = labels.get("stream", "")
            if metric == COUNTS.get(name):
                counts[stream] = counts.get(stream, 0.0) + value
            elif metric == DEAD_LETTERS:
                dead += value
                figures = streams.setdefault(stream or "(none)", {})
                figures["dead_letters"] = figures.get("dead_letters", 0) + int(value)
            elif metric == LAG:
                lag, lag_known = lag + max(value, 0.0), True
                topic = labels.get("topic", "").rsplit(".", 1)[0]
                key = f"{name}_lag"
                streams.setdefault(topic, {})[key] = streams.get(topic, {}).get(key, 0) + int(value)
        rate = 0.0
        for stream, count in counts.items():
            per_second = self._rate(name, stream, count)
            rate += per_second
            streams.setdefault(stream, {}).update({name: int(count), f"{name}_rate": round(per_second, 1)})
        out: dict[str, Any] = {"readings_per_second": round(rate, 1), "readings": int(sum(counts.values()))}
        out["dead_letters"] = int(dead)
        if lag_known:
            out["lag"] = int(lag)
        return out

    def _rate(self, service: str, stream: str, count: float) -> float:
        now = time.monotonic()
        then, before = self._before.get((service, stream), (now, count))
        self._before[service, stream] = (now, count)
        # A count that fell is one of a service that was restarted.
        return (count - before) / (now - then) if now > then and count >= before else 0.0
