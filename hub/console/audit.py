"""/audit: who did what, and whether the log still stands as it was written."""

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import func, select

from headrace.protocol.auditlog import Entry, faults
from hub.changes import NOBODY, counter
from hub.console.door import Admin
from hub.console.render import link, page
from hub.context import Context, Shared
from hub.refusal import RefusedError
from hub.tables import audit

router = APIRouter()
PAGE = 50
_FAULTS_MOST = 20
_one = threading.Lock()  # the whole log is read: one at a time


@router.get("/audit")
def show(person: Admin, it: Shared, before: Annotated[int, Query(ge=0, lt=1 << 62)] = 0) -> Response:
    """A page of the log, the latest first."""
    found = select(audit).order_by(audit.c.number.desc()).limit(PAGE + 1)
    if before:
        found = found.where(audit.c.number < before)
    with it.database.read() as connection:
        rows = [dict(r) for r in connection.execute(found).mappings()]
    older = link("/audit", before=str(rows[PAGE - 1]["number"])) if len(rows) > PAGE else ""
    return page(
        "audit.html", person=person, here="audit", rows=rows[:PAGE], older=older, first=not before, nobody=NOBODY,
        now=time.time_ns() // 1000,
    )  # fmt: skip


@router.get("/audit/chain")
def chain(_person: Admin, it: Shared) -> Response:
    """Whether each row follows from the one before: all rows are read."""
    if not _one.acquire(blocking=False):
        raise RefusedError(409, "the log is being checked for somebody else: load the page again in a few seconds")
    try:
        began = time.monotonic()
        count, wrong = _verify(it)
        seconds = time.monotonic() - began
    finally:
        _one.release()
    return page("chain.html", count=count, wrong=wrong[:_FAULTS_MOST], more=len(wrong) - _FAULTS_MOST, seconds=seconds)


def _verify(it: Context) -> tuple[int, list[str]]:
    number = audit.c.number
    with it.database.read() as connection:
        last = counter(connection, "audit")
        rows = select(audit).where(number <= last).order_by(number)
        streamed = connection.execution_options(yield_per=1000).execute(rows).mappings()
        wrong = list(faults((Entry(**r) for r in streamed), last, last))
        most = connection.execute(select(func.max(number))).scalar() or 0
        if most > (now := counter(connection, "audit")):  # asked in this order: hub may write meanwhile
            wrong.append(f"row {most} was inserted: hub has written rows up to {now}")
    return last, wrong
