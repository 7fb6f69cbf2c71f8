"""A real stack, scraped by a real Prometheus: every query is answered, and what goes wrong raises its alert.

Time is shortened for the alerts only: where they wait for a minute they wait for 5 seconds, and the three that look
back over 10 or 20 minutes look back over 40 seconds.
"""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import yaml

from headrace.stack import mosquitto, ports
from headrace.stack.state import State
from tests.observability.prometheus import Prometheus, scraping
from tests.observability.queries import FILES, queries
from tests.stack import Stack
from tests.waiting import running, until

RULES = (FILES / "alerts.yaml").read_text()
STALLED = {"HeadraceBridgeStalled", "HeadraceCleanStalled", "HeadraceArchiveStalled"}
# Without data in a run in which all is well, and why that is right.
QUIET = {
    "headrace_broker_messages_dropped_total": "Mosquitto tells of drops from the first one",
    "headrace_bridge_skipped_total": "nothing was left out",
    "headrace_bridge_ignored_fields_total": "the simulator sends no unknown fields",
    "headrace_bridge_receipts_total": "nobody asks for receipts",
    "headrace_archive_lost_records_total": "nothing was lost",
    "headrace_hub_outbox_waiting_rows": "nothing waits",
    "headrace_hub_broker_applied_version": "the agent has the newest version",
    "headrace_hub_broker_unproven": "the broker goes by the list of revoked certificates",
    "headrace_hub_oidc_ready": "there is no identity provider",
    "headrace_ingest_requests_total": "nobody posts",
    "headrace_derive_readings_total": "no stream is made of another",
    "headrace_derive_rows_total": "no stream is made of another",
    'service="derive"': "no stream is made of another",
    "headrace_compact_": "no round has come yet",
    "kubelet_volume_stats_available_bytes": "no kubelet here",
    "certmanager_certificate_expiration_timestamp_seconds": "no cert-manager here",
    "ALERTS": "no alert is pending",
    "headrace_broker_clients_away": "no client is away, and Mosquitto 2.0 tells only of changes",
}


@dataclass(frozen=True)
class Run:
    stack: Stack
    prometheus: Prometheus


def hurried(text: str) -> str:
    """The rules with their waits shortened."""
    data = yaml.safe_load(text)
    for rule in (r for group in data["groups"] for r in group["rules"]):
        if "for" in rule:
            rule["for"] = re.sub(r"^(\d+)m$", lambda found: f"{5 * int(found[1])}s", rule["for"])
        if rule.get("alert") in STALLED:
            rule["expr"] = re.sub(r"\b(?:10m|20m)\b", "40s", rule["expr"])
    return yaml.safe_dump(data, sort_keys=False)


@pytest.fixture(scope="module")
def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("prometheus")
    cfg = stack.config()
    exporter = ports.free(set())
    jobs = {s: [getattr(cfg, s).http.port] for s in ("bridge", "ingest", "clean", "derive", "archive", "compact")}
    jobs["hub"] = [cfg.hub.serve.http.port]
    config, token = str(stack.state / "headrace.yaml"), State(stack.state).secret("metrics")
    (folder / "token").write_text(token)
    listen = [sys.executable, "-m", "headrace.operate.brokermetrics", "--config", config]
    listen += ["--token-file", str(folder / "token"), "--port"]
    simulate = [sys.executable, "-m", "headrace", "--state", str(stack.state), "simulate"]
    simulate += ["--devices", "2", "--rate", "20", "--duration", "900", "--seed", "7", "--defects"]
    with (
        running([*listen, str(exporter)], folder / "exporter.log"),
        running(simulate, folder / "simulate.log"),
        scraping(folder / "run", {**jobs, "broker-metrics": [exporter]}, hurried(RULES), "5s", token) as prometheus,
    ):
        ready = "sum(headrace_archive_rows_total) > 100 and sum(up) == 7"
        until(lambda: bool(prometheus.query(ready)), 240, "readings are stored, and all targets are scraped")
        time.sleep(45)  # for rates, and the $SYS figures
        yield Run(stack, prometheus)


def test_every_query_of_the_dashboards_is_answered(run: Run) -> None:
    empty = []
    for where, expr in queries():
        found = run.prometheus.series(expr, 60, 5)
        if not found and not any(name in expr for name in QUIET):
            empty.append(f"{where}: {expr}")
        assert all(float(v) == float(v) or "/" in expr for s in found for _, v in s["values"]), where
    assert empty == []


def test_every_rule_is_evaluated_without_error(run: Run) -> None:
    rules: list[dict[str, Any]] = [r for g in run.prometheus.get("rules")["groups"] for r in g["rules"]]
    assert len(rules) == sum(len(g["rules"]) for g in yaml.safe_load(RULES)["groups"])
    assert {r["name"]: r.get("lastError", "") for r in rules if r["health"] != "ok"} == {}
    recorded = {r["name"] for r in rules if r["type"] == "recording"}
    assert {name for name in recorded if not run.prometheus.query(name)} == set()


def test_a_healthy_run_raises_nothing(run: Run) -> None:
    assert run.prometheus.firing() == {}
    for sample in run.prometheus.query("service_stream:headrace_lag:seconds"):
        assert 0 <= float(sample["value"][1]) < 120, sample


def _raised(run: Run, seconds: float, *names: str, **labels: str) -> None:
    def all_there() -> bool:
        firing = run.prometheus.firing()
        return all(any(labels.items() <= one.items() for one in firing.get(n, [])) for n in names)

    until(all_there, seconds, f"firing {names} {labels}")


async def _publish(run: Run, topic: str, payloads: list[bytes]) -> None:
    cfg = run.stack.config().mqtt
    password = cfg.password.get_secret_value() if cfg.password else None
    async with aiomqtt.Client(cfg.host, cfg.port, username=cfg.username, password=password) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1)


def test_faulty_readings_raise_dead_letters(run: Run) -> None:
    asyncio.run(_publish(run, "sensors/board-01/environment", [b"no reading %d" % n for n in range(60)]))
    _raised(run, 60, "HeadraceDeadLettersRising", stream="environment")


def test_a_store_that_stands_still_stalls_the_archive(run: Run) -> None:
    with run.stack.frozen("store"):
        _raised(run, 180, "HeadraceArchiveStalled", stream="imu")
        _raised(run, 60, "HeadraceServiceNotReady", job="archive")
    until(lambda: "HeadraceArchiveStalled" not in run.prometheus.firing(), 180, "it is over")


def test_a_kafka_that_stands_still_stalls_the_bridge(run: Run) -> None:
    with run.stack.frozen("kafka"):
        _raised(run, 180, "HeadraceBridgeStalled", "HeadraceServiceNotReady", job="bridge")
        _raised(run, 60, "HeadraceServiceNotReady", job="clean")
    until(lambda: "HeadraceBridgeStalled" not in run.prometheus.firing(), 240, "it is over")


def test_a_service_that_is_killed_again_and_again_is_told_of(run: Run) -> None:
    for _ in range(3):
        run.stack.strike("archive", signal.SIGKILL, 300)
    _raised(run, 60, "HeadraceServiceRestarting", job="archive")


def test_a_service_that_does_not_answer_is_told_of(run: Run) -> None:
    with run.stack.frozen("archive"):
        _raised(run, 60, "HeadraceServiceDown", job="archive")


def test_mosquitto_counts_what_it_drops(tmp_path: Path) -> None:
    """A broker whose queues are short, with a client that is away: the exporter tells, and the alert fires."""
    binary = mosquitto.find()
    if binary is None:
        pytest.skip("needs mosquitto; `headrace up` installs it where it can")
    port = ports.free(set())
    exporter = ports.free({port})
    user = "user root\n" if os.geteuid() == 0 else ""
    (tmp_path / "mosquitto.conf").write_text(
        f"{user}listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 10\nsys_interval 1\n"
    )
    (tmp_path / "headrace.yaml").write_text(yaml.safe_dump({"mqtt": {"port": port}}))
    listen = [sys.executable, "-m", "headrace.operate.brokermetrics", "--config", str(tmp_path / "headrace.yaml")]
    with (
        running([str(binary), "-c", str(tmp_path / "mosquitto.conf")], tmp_path / "mosquitto.log"),
        running([*listen, "--port", str(exporter)], tmp_path / "exporter.log"),
        scraping(tmp_path / "run", {"broker-metrics": [exporter]}, hurried(RULES), "5s") as prometheus,
    ):
        until(
            lambda: bool(prometheus.query('up{job="broker-metrics"} == 1 and on () headrace_ready == 1')),
            60,
            "it listens",
        )
        asyncio.run(_overfill(port))
        until(lambda: bool(prometheus.query("headrace_broker_messages_dropped_total >= 90")), 60, "drops are told of")
        until(lambda: "HeadraceBrokerDropsMessages" in prometheus.firing(), 60, "the alert fires")


async def _overfill(port: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port, identifier="away", clean_session=False) as client:
        await client.subscribe("t", qos=1)
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for n in range(100):
            await client.publish("t", b"%d" % n, qos=1)
