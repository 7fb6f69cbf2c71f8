"""/api/enroll and /api/reenroll, where devices ask for certificates; and what people do about it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from hub import enrolment, registry, tickets
from hub.api.devices import iso, issued
from hub.changes import NOBODY, change
from hub.context import Operator, Shared, Viewer, address_of
from hub.model import Enrol, NewClaim, NewEnrolment, Renew, State

router = APIRouter()
_WRONG = {401, 403, 409}  # who is refused so often has to wait


@router.post("/enroll", status_code=201)
def enroll(wanted: Enrol, request: Request, it: Shared) -> Response:
    """A device's first certificate; 202 as long as it waits for approval, with when to ask again."""
    with it.gate.limited(address_of(request), _WRONG):
        device, certificate = enrolment.enrol(it.database, it.authority, wanted)
    it.bell.ring()
    if certificate:
        return JSONResponse(issued(it, device, certificate), 201)
    again = {"again_in_seconds": enrolment.WAIT_SECONDS}
    return JSONResponse(
        {"id": device, "state": State.PENDING, **again}, 202, {"Retry-After": str(enrolment.WAIT_SECONDS)}
    )


@router.post("/reenroll", status_code=201)
def reenroll(wanted: Renew, request: Request, it: Shared) -> dict[str, Any]:
    """A device's next certificate, from two thirds of the life of the one that it has."""
    with it.gate.limited(address_of(request), {401}):
        certificate = enrolment.renew(it.database, it.authority, wanted)
    it.bell.ring()
    return issued(it, wanted.id, certificate)


@router.post("/devices/{device}/enrolment", status_code=201)
def invite(device: str, wanted: NewEnrolment, caller: Operator, it: Shared) -> dict[str, Any]:
    """A one-time token for one that is there; one before it ends."""
    with change(it.database, caller.name) as c:
        token = registry.invite(c, device, wanted)
        c.record("invite", device, {"days": wanted.days})
    return {"id": device, "token": token}


@router.post("/devices/{device}/approve")
def approve(device: str, caller: Operator, it: Shared) -> dict[str, Any]:
    """Let in one that is pending: it gets its certificate the next time that it asks."""
    with change(it.database, caller.name) as c:
        registry.approve(c, device)
        c.record("approve", device)
    it.bell.ring()
    return {"id": device, "state": State.ACTIVE}


@router.post("/devices/{device}/reject")
def reject(device: str, caller: Operator, it: Shared) -> dict[str, Any]:
    """Shut out one that is pending."""
    with change(it.database, caller.name) as c:
        registry.reject(c, device)
        c.record("reject", device)
    it.bell.ring()
    return {"id": device, "state": State.REVOKED}


@router.post("/claims", status_code=201)
def add_claim(wanted: NewClaim, caller: Operator, it: Shared) -> dict[str, Any]:
    """A certificate with which the devices of a group ask for their own."""
    with change(it.database, caller.name) as c:
        row = tickets.add_claim(c, wanted)
        c.record("make claim", wanted.name, {"at_once": wanted.at_once}, key=NOBODY)
    return _claim(row)


@router.get("/claims")
def claims(_caller: Viewer, it: Shared) -> dict[str, Any]:
    """All that were made."""
    with it.database.read() as connection:
        return {"claims": [_claim(row) for row in tickets.all_claims(connection)]}


@router.post("/claims/{name:path}/revoke")
def end_claim(name: str, caller: Operator, it: Shared) -> dict[str, str]:
    """End a claim, at once."""
    with change(it.database, caller.name) as c:
        tickets.end_claim(c, name)
        c.record("revoke claim", name, key=NOBODY)
    return {"name": name}


def _claim(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{name: iso(row[name]) for name in ("made", "ends", "revoked")}}
