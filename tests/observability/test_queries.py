"""Every query of the dashboards and rules, put to a real Prometheus where every metric has happened: all have data."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import yaml

from headrace.stack import ports
from tests.observability.prometheus import Prometheus, scraping
from tests.observability.queries import FILES, queries
from tests.waiting import running, until

JOBS = ("bridge", "ingest", "clean", "derive", "archive", "compact", "hub", "broker-metrics")
RULES = (FILES / "alerts.yaml").read_text()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("every")
    taken: dict[str, list[int]] = {}
    with ExitStack() as stack:
        for job in JOBS:
            port = ports.free({p for found in taken.values() for p in found})
            taken[job] = [port]
            argv = [sys.executable, "-m", "tests.observability.every_metric", job, str(port)]
            stack.enter_context(running(argv, folder / f"{job}.log"))
        it = stack.enter_context(scraping(folder / "run", taken, RULES, "1s"))

        def said() -> str:
            return "all targets are scraped\n" + "\n".join(log.read_text() for log in folder.glob("*.log"))

        until(lambda: bool(it.query(f"sum(up) == {len(JOBS)}")), 60, said)
        time.sleep(20)
        yield it


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    pending = 'ALERTS{alertname=~"Headrace.*"}'
    empty = [q for q in queries() if not prometheus.series(q.expr, 15, 1) and q.expr != pending]
    assert empty == []


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    rules = [r for g in prometheus.get("rules")["groups"] for r in g["rules"]]
    assert len(rules) == sum(len(g["rules"]) for g in yaml.safe_load(RULES)["groups"])
    assert {r["name"]: r.get("lastError", "") for r in rules if r["health"] != "ok"} == {}
    assert [r["name"] for r in rules if r["type"] == "recording" and not prometheus.query(r["name"])] == []
    lags = prometheus.query("service_stream:headrace_lag:seconds")
    assert {s["metric"]["service"] for s in lags} == set(JOBS) - {"broker-metrics"}


def test_losses_are_told_of(prometheus: Prometheus) -> None:
    losses = {
        "HeadraceReadingsLost",
        "HeadraceBrokerDropsMessages",
        "HeadraceSessionLost",
        "HeadraceQos0MessagesDropped",
    }
    until(lambda: losses <= prometheus.firing().keys(), 60, f"firing: {losses}")
