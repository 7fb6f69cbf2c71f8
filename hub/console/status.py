"""/status: how the services are, and how fast readings flow."""

import time
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request, Response

from hub.api import status as api
from hub.console.door import Viewer
from hub.console.render import page, part
from hub.context import Shared
from hub.watch import AWAY, READY

router = APIRouter()
# What each does, in the order in which a reading meets them.
ROLES = {
    "bridge": "MQTT to Kafka", "ingest": "HTTP to Kafka", "clean": "rules, repeats",
    "derive": "derived streams", "archive": "the lake", "compact": "larger files", "hub": "devices, this page",
    "agent": "beside the broker",
}  # fmt: skip
TREND = 120  # looks in a small chart: four minutes
_WIDE, _HIGH = 120, 26


@router.get("/status")
def show(request: Request, person: Viewer, it: Shared) -> Response:
    """Services, then streams. htmx fetches it again every two seconds."""
    told = api.snapshot(it)
    services = {n: told["services"][n] for n in sorted(told["services"], key=_place)}
    known: dict[str, dict[str, Any]] = {n: {} for n in (it.newest.streams if it.newest is not None else ())}
    streams = {**known, **told["streams"]}
    wrong: dict[str, list[str]] = {}
    for name, service in services.items():
        for why in dict.fromkeys(problem["why"] for problem in service["problems"]):
            wrong.setdefault(why, []).append(name)
    history = told["history"][-TREND:]
    trends = {n: trend([look["readings_per_second"].get(n, 0.0) for look in history]) for n in streams}
    return page(
        "status-now.html" if part(request) else "status.html", person=person, here="status", services=services,
        wrong=wrong, roles=ROLES, streams=streams, known=set(known), trends=trends, broker=told["broker"],
        good=all(s["state"] == READY for s in services.values()), away=AWAY, now=time.time_ns() // 1000,
    )  # fmt: skip


def _place(name: str) -> tuple[int, str]:
    return (list(ROLES).index(name) if name in ROLES else len(ROLES), name)


def trend(values: Iterable[float]) -> str:
    """The points of a line through the values, for a small picture; empty where there are fewer than two."""
    found: list[Any] = list(values)
    if len(found) < 2:
        return ""
    top, step = max(1.0, *found), _WIDE / (len(found) - 1)
    return " ".join(f"{n * step:.1f},{_HIGH - 2 - v / top * (_HIGH - 4):.1f}" for n, v in enumerate(found))
