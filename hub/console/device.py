"""/devices/ID: one device, and what can be done with it."""

import time
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from hub import behaviour, credentials, registry, tables
from hub.access import Caller
from hub.api import devices as api
from hub.api import enrolment
from hub.changes import counter
from hub.console.door import Operated, Person, Viewer
from hub.console.render import link, page
from hub.context import Context, Shared
from hub.credentials import CredentialKind
from hub.model import Changes, NewEnrolment, State
from hub.refusal import RefusedError

router = APIRouter()
LATEST = 20  # of what was done with it
_STOP_POLLING = 286  # what htmx takes for it


class Act(NamedTuple):
    """Something that can be done with a device in one of the states `of`. `warning`: shown before it is done."""

    label: str
    of: frozenset[State]
    warning: str
    done: str
    plain: bool = False  # done at once: it takes nothing away


_IN = "It gets in at the broker from now on."
ACTS = {
    "approve": Act("Approve", frozenset({State.PENDING}), "", "Approved: it gets its certificate when it asks again.",
                   plain=True),
    "release": Act("Let in again", frozenset({State.QUARANTINED}), "", f"Released. {_IN}", plain=True),
    "restore": Act(
        "Let in again", frozenset({State.REVOKED}), "", "Active again. Its credentials have ended: give it new ones.",
        plain=True,
    ),
    "rotate": Act(
        "Change password", frozenset({State.ACTIVE}),
        "The old password ends within seconds, and the device's connection with it. The new one is shown once.", "",
    ),
    "psk": Act(
        "Change key (PSK)", frozenset({State.ACTIVE}),
        "The old key ends within seconds, and the device's connection with it. The new one is shown once.", "",
    ),
    "invite": Act(
        "Enrolment token", frozenset({State.PENDING, State.ACTIVE, State.QUARANTINED}),
        "With it the device asks for its certificate. It works once, within 30 days, and is shown once. One before it "
        "ends.", "",
    ),
    "reject": Act(
        "Reject", frozenset({State.PENDING}), "It is shut out, and what it asked for is refused.",
        "Rejected: it is shut out.",
    ),
    "quarantine": Act(
        "Quarantine", frozenset({State.ACTIVE}),
        "It is shut out until somebody lets it in again. It keeps its credentials.",
        "Quarantined: shut out until somebody lets it in again.",
    ),
    "revoke": Act(
        "Revoke", frozenset({State.ACTIVE, State.QUARANTINED}),
        "It is shut out, and its credentials end for good.", "Revoked: its credentials have ended.",
    ),
}  # fmt: skip
DANGERS = {"reject", "revoke"}
_STATES = {"release": State.ACTIVE, "restore": State.ACTIVE, "quarantine": State.QUARANTINED}
_DONE = {"approve": enrolment.approve, "reject": enrolment.reject, "revoke": api.revoke}


@router.get("/devices/{device}")
def show(device: str, person: Viewer, it: Shared, done: str = "") -> Response:
    """All that is known of one."""
    words = {**{name: act.done for name, act in ACTS.items()}, "end": "The credential has ended."}
    return _show(device, person, it, done=words.get(done, ""))


@router.post("/devices/{device}/{act}")
def do(device: str, act: str, by: Operated, it: Shared) -> Response:
    """Do it, as the API does, in the name of who is logged in."""
    caller = by.person.caller
    if made := _made(device, act, caller, it):
        return _show(device, by.person, it, made=made)
    if act in _STATES:
        api.edit(device, Changes(state=_STATES[act]), caller, it)
    elif act in _DONE:
        _DONE[act](device, caller, it)
    else:
        raise RefusedError(404, f"there is nothing called {act[:40]} that can be done with a device")
    back = "/pending" if by.fields.get("back") == "pending" else link(f"/devices/{device}", done=act)
    return RedirectResponse(back, 303)


@router.post("/devices/{device}/credentials/{number}/end")
def end(device: str, number: Annotated[int, Path(ge=1, lt=1 << 63)], by: Operated, it: Shared) -> Response:
    """End one of its credentials, as the API does."""
    api.end(device, number, by.person.caller, it)
    return RedirectResponse(link(f"/devices/{device}", done="end"), 303)


@router.get("/broker/{version}")
def in_force(version: int, _person: Viewer, it: Shared) -> Response:
    """Whether the broker has what hub had for it at this version: asked again until it has."""
    with it.database.read() as connection:
        there = counter(connection, "applied") >= version
    return page("broker.html", _STOP_POLLING if there else 200, there=there)


def _made(device: str, act: str, caller: Caller, it: Context) -> tuple[str, str] | None:
    """What a device gets that can't be shown again, and the secret; None for other acts."""
    match act:
        case "rotate":
            return "password", api.rotate(device, caller, it)[CredentialKind.PASSWORD.value]
        case "psk":
            return "key (PSK)", api.psk(device, caller, it)[CredentialKind.PSK.value]
        case "invite":
            return "enrolment token", enrolment.invite(device, NewEnrolment(), caller, it)["token"]
    return None


def _show(device: str, person: Person, it: Context, *, done: str = "", made: tuple[str, str] | None = None) -> Response:
    """`made`: what was made for it just now, as kind and secret; shown this once."""
    now = time.time_ns() // 1000
    with it.database.read() as connection:
        row = registry.get(connection, device)
        values: dict[str, Any] = {
            "calibration": registry.calibration(connection, device),
            "held": _held(credentials.all_of(connection, device), now),
            "version": str(counter(connection, "broker")),
            "why": behaviour.reasons(connection, [device]).get(device),
        }
        log = tables.audit.c
        told = select(log.time, log.actor, log.act).where(log.target == device).order_by(log.number.desc())
        values["history"] = [dict(r) for r in connection.execute(told.limit(LATEST)).mappings()]
    may = person.caller.may("operator")
    acts = {name: act for name, act in ACTS.items() if may and State(row["state"]) in act.of}
    if not any(h["kind"] == CredentialKind.PSK and h["good"] for h in values["held"]):
        acts.pop("psk", None)
    return page(
        "device.html", person=person, here="devices", row=row, may=may, acts=acts, dangers=DANGERS, done=done,
        made=made, now=now, **values,
    )  # fmt: skip


def _held(found: list[dict[str, Any]], now: int) -> list[dict[str, Any]]:
    """Credentials, the latest first, each with whether it is still `good`."""
    return [
        {**h, "good": h["revoked"] is None and (h["ends"] is None or h["ends"] > now), "serial": h.get("serial", "")}
        for h in reversed(found)
    ]
