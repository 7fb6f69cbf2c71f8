"""Dashboards, alerts and runbooks against the metrics that exist, and against each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from headrace.operate.brokermetrics import FIGURES
from headrace.runtime import metrics
from tests.observability import every_metric

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "helm" / "headrace" / "files"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES = [r for g in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for r in g["rules"]]
ALERTS = [r for r in RULES if "alert" in r]
BOARDS = {p.stem: json.loads(p.read_text()) for p in sorted((FILES / "dashboards").glob("*.json"))}
PANELS = [(stem, p) for stem, board in BOARDS.items() for p in board["panels"] if p["type"] != "row"]

# Of others: Prometheus itself, its Python client on Linux, the kubelet, cert-manager. By metric, the labels used.
FOREIGN = {
    "up": set(),
    "ALERTS": {"alertname"},
    "process_start_time_seconds": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
    "kubelet_volume_stats_available_bytes": {"persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"persistentvolumeclaim"},
    "certmanager_certificate_expiration_timestamp_seconds": {"name"},
}
UNITS = {"short", "s", "bytes", "Bps", "cps", "reqps", "percentunit"}
QUESTIONS = [
    "Is anything being lost or refused?",
    "How far behind is each stage?",
    "How much comes from where?",
    "What does it cost?",
]
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")
_WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool"}
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")


def own() -> dict[str, set[str]]:
    """What the services and the broker's exporter export, and the rules record: by metric, its labels."""
    out: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            out[family.name + ("_total" if family.type == "counter" else "")] = set(metric._labelnames)
    out.update({f.name + ("_total" if f.counter else ""): set() for f in FIGURES.values()})
    out.update({r["record"]: {"service", "stream", "stage", "reason", "topic"} for r in RULES if "record" in r})
    return out


KNOWN = {**own(), **FOREIGN}


def plain(expr: str) -> str:
    """The expression without strings, label lists and durations."""
    text = _STRING.sub('""', expr)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    return re.sub(r"offset\s+[\w$]+|\[[^\]]*\]", " ", re.sub(r"\{[^}]*\}", " ", text))


def names(expr: str) -> set[str]:
    """The metrics that an expression queries."""
    return set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])", plain(expr))) - _WORDS


def problems(expr: str) -> list[str]:
    """What is wrong with an expression: metrics and labels that do not exist, rates of what is no counter."""
    out = [f"no such metric: {n}" for n in names(expr) if n not in KNOWN]
    text = _STRING.sub('""', expr)
    for name, inside in _SELECTOR.findall(text):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside))
        strange = labels - KNOWN.get(name, set()) - {"job", "instance"}
        out += [f"{name} has no label {label}" for label in strange]
    rated = re.findall(r"\b(?:rate|increase)\(\s*([\w:]+)", text)
    return out + [f"{name} is no counter" for name in rated if not name.endswith("_total")]


def test_the_parser_finds_what_is_wrong() -> None:
    assert names('sum by (a, b) (rate(x_total{l="m"}[5m])) / on (c) group_left (d) (y offset 1h > 0) or vector(0)') == {
        "x_total",
        "y",
    }
    assert names("a:b:c - max(time() - d) unless last_over_time(e[6h] offset $__range)") == {"a:b:c", "d", "e"}
    assert problems("rate(headrace_lag_records[5m])") == ["headrace_lag_records is no counter"]
    assert problems('headrace_ready{chek="mqtt"}') == ["headrace_ready has no label chek"]
    assert problems("sum(headrace_bridge_messages)") == ["no such metric: headrace_bridge_messages"]
    assert problems('sum(headrace_bridge_messages_total{stream="x", job=~"b|c"})') == []


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.get("alert") or r["record"])
def test_rules_query_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert names(rule["expr"])
    assert problems(rule["expr"]) == []


@pytest.mark.parametrize(("stem", "panel"), PANELS, ids=lambda v: v if isinstance(v, str) else v["title"])
def test_panels_query_metrics_that_exist_and_say_what_they_show(stem: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith((".", "?"))
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for target in panel["targets"]:
        assert problems(target["expr"]) == []
        assert target["datasource"] == panel["datasource"]
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    steps = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert steps[0] is None  # Grafana's base step
    assert steps[1:] == sorted(set(steps[1:]))
    if defaults["unit"] == "percentunit":
        assert all(0 < value <= 1 for value in steps[1:])


@pytest.mark.parametrize("stem", BOARDS)
def test_dashboards_are_as_provisioning_wants_them(stem: str) -> None:
    board = BOARDS[stem]
    assert board["uid"] == stem  # links go by it
    assert "id" not in board  # each Grafana gives its own
    assert board["title"]
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert names(variables["stream"]["definition"].removeprefix("label_values(").partition(",")[0]) <= KNOWN.keys()
    assert all(problems(a["expr"]) == [] for a in board["annotations"]["list"])
    assert {link["url"].removeprefix("/d/") for link in board["links"]} <= BOARDS.keys()
    ids = [p["id"] for p in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_overview_answers_in_order() -> None:
    rows = [p for p in BOARDS["headrace-overview"]["panels"] if p["type"] == "row"]
    assert [p["title"] for p in rows] == QUESTIONS
    assert [p["gridPos"]["y"] for p in rows] == sorted(p["gridPos"]["y"] for p in rows)


def runbook(alert: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower() + ".md"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda r: r["alert"])
def test_an_alert_says_what_to_do_first(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Headrace")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    told = rule["annotations"]
    assert set(told) == {"summary", "description", "runbook_url"}
    assert "First" in told["description"] or "first" in told["description"]
    assert told["runbook_url"] == f"docs/runbooks/{runbook(rule['alert'])}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda r: r["alert"])
def test_an_alert_is_tested_firing_and_quiet(rule: dict[str, Any]) -> None:
    fires, quiet = False, False
    for path in (ROOT / "tests" / "observability").glob("*_test.yaml"):
        for one in (e for t in yaml.safe_load(path.read_text())["tests"] for e in t.get("promql_expr_test", [])):
            found = re.search(r'alertname=~?"([^"]*)"', one["expr"])
            if found and re.fullmatch(found[1], rule["alert"]):
                fires = fires or any(f'alertname="{rule["alert"]}"' in s["labels"] for s in one["exp_samples"])
                quiet = quiet or not one["exp_samples"]
    assert (fires, quiet) == (True, True)


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert {p.name for p in RUNBOOKS.glob("*.md")} == {runbook(r["alert"]) for r in ALERTS}


def test_the_guide_lists_every_alert() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    assert set(re.findall(r"\]\(runbooks/([\w-]+\.md)\)", text)) == {runbook(r["alert"]) for r in ALERTS}
    for rule in ALERTS:
        assert re.search(
            rf"\[{rule['alert']}\]\(runbooks/{runbook(rule['alert'])}\) \| {rule['labels']['severity']}", text
        )


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda p: p.stem)
def test_a_runbook_answers_its_four_questions(path: Path) -> None:
    text = path.read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["What it means", "What to look at", "What to do", "When it can wait"]
    assert runbook(re.match(r"# (\w+)\n", text)[1]) == path.name  # type: ignore[index]
    commands = set(
        re.findall(r"^## `headrace (\S+)`|^### `headrace (\S+ \S+)`", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    )
    known = {a or b for a, b in commands}
    for line in re.findall(r"^    (headrace .+)$", text, re.MULTILINE):
        words = line.split()
        assert words[1] in known, line
    for block in re.findall(r"^    promql: (.+)$", text, re.MULTILINE):
        assert problems(block) == [], block


@pytest.mark.parametrize("job", ["bridge", "ingest", "clean", "derive", "archive", "compact", "hub"])
def test_the_process_that_moves_every_metric_knows_their_labels(job: str) -> None:
    """A label that it does not know ends it, and `make observability-test` waits for it in vain."""
    assert every_metric.every(job)
