"""/api/audit: who did what."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select

from hub.changes import counter
from hub.context import Admin, Shared
from hub.tables import audit

router = APIRouter(prefix="/audit")
MOST = 5000


@router.get("")
def find(
    _caller: Admin,
    it: Shared,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 1000,
) -> dict[str, Any]:
    """Rows of the audit log after number `after`, as they stand, and the number that was given last."""
    found = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
    with it.database.read() as connection:
        last = counter(connection, "audit")
        return {"rows": [dict(r) for r in connection.execute(found).mappings()], "last": last}
