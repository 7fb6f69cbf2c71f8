"""A process that exports every metric of a service, all of them moving.

python -m tests.observability.every_metric JOB PORT
"""

import itertools
import sys
import time

from prometheus_client import REGISTRY, Counter, Gauge, start_http_server

from headrace.operate.brokermetrics import FIGURES, PREFIX, Figures
from headrace.runtime import metrics

LABELS = {
    "check": ["kafka", "mqtt"],
    "topic": ["imu.raw", "imu.clean", "gas.raw", "gas.clean"],
    "partition": ["0", "1"],
    "stream": ["imu", "gas"],
    "reason": ["malformed"],
    "qos": ["0", "1"],
    "why": ["qos0_full", "copy"],
    "outcome": ["kept", "changed", "rejected", "repeated", "sent", "quarantined", "withheld"],
    "rule": ["bytes", "refused"],
    "cause": ["age", "bytes"],
    "state": ["active", "revoked"],
    "status": ["200", "429"],
    "issuer": ["https://login.example.org"],
    "what": ["birth", "gap", "missing"],
}


def every(job: str) -> list[Counter | Gauge]:
    """Children of what a service of that job sets, one for each combination of labels."""
    labels = {**LABELS, "service": [job], "stage": [job]}
    out: list[Counter | Gauge] = []
    for metric in vars(metrics).values():
        if not isinstance(metric, Counter | Gauge):
            continue
        owner = next(
            (
                s
                for s in ("bridge", "ingest", "clean", "derive", "archive", "compact", "copy", "hub")
                if metric._name.startswith(f"headrace_{s}_")
            ),
            job,
        )
        if owner == job:
            out += [
                metric.labels(*values) if values else metric
                for values in itertools.product(*(labels[n] for n in metric._labelnames))
            ]
    return out


def main(job: str, port: int) -> None:
    """Serve, and move everything each second; gauges stand at 0 for ten seconds of twenty."""
    children, figures = [] if job == "broker-metrics" else every(job), Figures()
    REGISTRY.register(figures)
    start_http_server(port, "127.0.0.1")
    for second in itertools.count(1):
        for n, child in enumerate(children):
            child.inc(n % 3 + 1) if isinstance(child, Counter) else child.set(second % 20 // 10 * (second + n))
        if job == "broker-metrics":
            for topic in FIGURES:
                figures.take(PREFIX + topic, b"%d" % (10 * second))
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
