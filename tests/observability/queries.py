"""What the dashboards ask, as Grafana would put it to Prometheus."""

import json
from pathlib import Path
from typing import NamedTuple

FILES = Path(__file__).resolve().parents[2] / "helm" / "headrace" / "files"


class Query(NamedTuple):
    """A panel's query, its variables filled in."""

    where: str
    expr: str


def queries() -> list[Query]:
    """Every query of every panel."""
    out = []
    for path in sorted((FILES / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            out += [Query(f"{path.stem}: {panel['title']}", _fill(t["expr"])) for t in panel.get("targets", [])]
    return out


def _fill(expr: str) -> str:
    expr = expr.replace("$__range", "10m").replace("$__rate_interval", "30s").replace("$stream", ".*")
    assert "$" not in expr
    return expr
