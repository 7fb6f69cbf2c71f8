"""What the services' /metrics say about readings: counts, how far each is behind, and rates between two looks."""

import re
import time
from typing import Any

_SAMPLE = re.compile(r"^(headrace_\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# What each service does with readings, and its count of them.
COUNTS = {
    "bridge": ("received", "headrace_bridge_messages_total"),
    "ingest": ("received", "headrace_bridge_messages_total"),
    "clean": ("cleaned", "headrace_clean_rows_total"),
    "derive": ("received", "headrace_derive_rows_total"),  # into the stream that it makes
    "archive": ("stored", "headrace_archive_rows_total"),
}
LAG, DEAD_LETTERS = "headrace_lag_records", "headrace_dead_letters_total"

Samples = list[tuple[str, dict[str, str], float]]
Instance = tuple[str, str]  # a service, and where it answers


def parse(text: str) -> Samples:
    """(name, labels, value) of Headrace's labelled samples in Prometheus's text format."""
    found = (_SAMPLE.match(line) for line in text.splitlines())
    return [(m[1], dict(_LABEL.findall(m[2])), float(m[3])) for m in found if m is not None]


class Rates:
    """How fast counts grow. One that falls does not count: its service was restarted."""

    def __init__(self) -> None:
        self._before: dict[tuple[Instance, str], tuple[float, float]] = {}

    def of(self, instance: Instance, stream: str, count: float) -> float:
        """A second, since the last look."""
        now = time.monotonic()
        then, before = self._before.get((instance, stream), (now, count))
        self._before[instance, stream] = (now, count)
        return (count - before) / (now - then) if now > then and count >= before else 0.0


def figures(found: dict[Instance, Samples], rates: Rates) -> tuple[dict[str, Any], dict[str, Any]]:
    """By service, and by stream: what all instances of a service say, together.

    A service has readings, readings_per_second, dead_letters and lag (records), as far as it tells of any. A stream
    has received, cleaned, stored, each as a count and with _rate, clean_lag, derive_lag, archive_lag, and dead_letters.
    What is absent was not told.
    """
    services: dict[str, Any] = {}
    streams: dict[str, Any] = {}
    for instance, samples in found.items():
        name = instance[0]
        counted = {"readings": 0, "readings_per_second": 0.0, "dead_letters": 0} if name in COUNTS else {}
        own = services.setdefault(name, counted)
        does, count_of = COUNTS.get(name, ("", ""))
        counts: dict[str, float] = {}
        for metric, labels, value in samples:
            stream = labels.get("stream", "")
            if metric == count_of:
                counts[stream] = counts.get(stream, 0.0) + value
            elif metric == DEAD_LETTERS:
                own["dead_letters"] = own.get("dead_letters", 0) + int(value)
                _add(streams, stream or "(none)", "dead_letters", int(value))
            elif metric == LAG:
                own["lag"] = own.get("lag", 0) + int(max(value, 0.0))
                _add(streams, labels.get("topic", "").rpartition(".")[0], f"{name}_lag", int(max(value, 0.0)))
        for stream, count in counts.items():
            rate = rates.of(instance, stream, count)
            own["readings"] += int(count)
            own["readings_per_second"] += rate
            _add(streams, stream, does, int(count))
            _add(streams, stream, f"{does}_rate", rate)
    return services, streams


def _add(streams: dict[str, Any], stream: str, name: str, value: float) -> None:
    told = streams.setdefault(stream, {})
    told[name] = told.get(name, 0) + value
