"""/devices and /pending: the fleet, and what waits for approval."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from hub import search, tables
from hub.console.door import Viewer
from hub.console.render import link, page, part
from hub.context import Shared
from hub.model import Kind, State

router = APIRouter()
PAGE = 50
Words = Annotated[str, Field(max_length=200)]


class Look(BaseModel):
    """What is looked for, and from which device on or before which one. What no device can be is as good as nothing."""

    text: Words = ""
    tag: Words = ""
    group: Words = ""
    kind: Words = ""
    state: Words = ""
    after: Words = ""
    before: Words = ""

    def wanted(self) -> dict[str, str]:
        """What is looked for."""
        kind, state = (self.kind if self.kind in set(Kind) else ""), (self.state if self.state in set(State) else "")
        words = {name: getattr(self, name).strip() for name in ("text", "tag", "group")}
        return {**words, "kind": kind, "state": state}


@router.get("/devices")
def find(request: Request, person: Viewer, it: Shared, look: Annotated[Look, Query()]) -> Response:
    """A page of the devices that are looked for; the list alone for htmx, which puts it into the page that is open."""
    wanted = look.wanted()
    query = search.Query(**wanted, after=look.after, before=look.before, limit=PAGE)
    with it.database.read() as connection:
        found = search.page(connection, query)
        total = found.total
        if total is None:
            total = search.page(connection, search.Query(**wanted, limit=1)).total
        states = _states(connection)
    earlier, later = _ways(found, query, wanted)
    return page(
        "devices-found.html" if part(request) else "devices.html",
        person=person, here="devices", wanted=wanted, rows=found.rows, total=total, states=states,
        earlier=earlier, later=later, now=time.time_ns() // 1000,
    )  # fmt: skip


@router.get("/pending")
def pending(person: Viewer, it: Shared, after: Annotated[str, Query(max_length=200)] = "") -> Response:
    """What waits for approval."""
    with it.database.read() as connection:
        found = search.page(connection, search.Query(state=State.PENDING.value, after=after, limit=PAGE))
    following = link("/pending", after=found.rows[-1]["id"]) if found.more else ""
    return page(
        "pending.html", person=person, here="pending", rows=found.rows, following=following,
        now=time.time_ns() // 1000,
    )  # fmt: skip


def _ways(found: search.Page, query: search.Query, wanted: dict[str, str]) -> tuple[str, str]:
    """Where the pages before and after this one are; empty where there are none."""
    if not found.rows:
        return "", ""
    first, last = found.rows[0]["id"], found.rows[-1]["id"]
    earlier = found.more if query.before else bool(query.after)
    later = bool(query.before) or found.more
    return (
        link("/devices", **wanted, before=first) if earlier else "",
        link("/devices", **wanted, after=last) if later else "",
    )


def _states(connection: Connection) -> dict[str, Any]:
    """How many devices are in which state, in the order of a device's life."""
    state = tables.devices.c.state
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(select(state, func.count()).group_by(state))}
    return {s.value: found[s.value] for s in State if s.value in found}
