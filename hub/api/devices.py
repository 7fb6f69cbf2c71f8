"""/api/devices: the registry."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import ValidationError
from sqlalchemy import Connection

from headrace.identity import ca
from hub import behaviour, credentials, model, registry, search, tickets
from hub.access import Caller
from hub.changes import NOBODY, change, counter
from hub.context import Context, Operator, Shared, Viewer
from hub.credentials import CredentialKind
from hub.model import Changes, Fleet, NewCertificate, NewDevice, State
from hub.refusal import RefusedError
from hub.words import faults_of

router = APIRouter(prefix="/devices")
_FAULTS_MOST = 100
_GIVEN = ("password", "psk", "token")


@router.post("", status_code=201)
def add(wanted: NewDevice, caller: Operator, it: Shared) -> dict[str, Any]:
    """Add one; the answer has its password, key (psk) or token, which can't be shown again."""
    with change(it.database, caller.name) as c:
        made = registry.add(c, [wanted])
        c.record("add", wanted.id, {"kind": wanted.kind})
        version = counter(c.connection, "broker")
        row = registry.get(c.connection, wanted.id)
    it.bell.ring()
    given: dict[str, str] = {wanted.credential: made[wanted.id]} if made else {}
    return {"device": shown(row), **given, "broker_version": version}


@router.post("/import", status_code=201)
def import_(wanted: Fleet, caller: Operator, it: Shared) -> dict[str, Any]:
    """Add many, or none: with a fault in any of them nothing changes. Lines count from 1."""
    good, faults = _checked(wanted.devices)
    if not faults:
        with it.database.read() as connection:
            taken = set(registry.existing(connection, [d.id for d in good]))
        faults = [_fault(n, d.id, f"{d.id} is there already") for n, d in enumerate(good, 1) if d.id in taken]
    if faults:
        raise RefusedError(
            422, f"nothing was imported: {len(faults):,} of {len(wanted.devices):,} devices can't be added",
            {"faults": faults[:_FAULTS_MOST]},
        )  # fmt: skip
    with change(it.database, caller.name) as c:
        made = registry.add(c, good)
        c.record("import", NOBODY, {"devices": len(good), "first": good[0].id, "last": good[-1].id})
        version = counter(c.connection, "broker")
    it.bell.ring()
    by = {kind: {d.id: made[d.id] for d in good if d.credential == kind} for kind in _GIVEN}
    return {f"{kind}s": made for kind, made in by.items()} | {"broker_version": version}


@router.get("")
def find(
    _caller: Viewer, it: Shared, text: str = "", tag: str = "", group: str = "",
    kind: model.Kind | None = None, state: State | None = None, after: str = "",
    limit: Annotated[int, Query(ge=1, le=search.MOST)] = 100,
) -> dict[str, Any]:  # fmt: skip
    """A page of devices, by id; `next` is what to give as `after` for the next page, null on the last one."""
    query = search.Query(text[:200], tag[:64], group[:64], kind or "", state or "", after[:64], limit=limit)
    with it.database.read() as connection:
        found = search.page(connection, query)
        why = _reasons(connection, found.rows)
    page = [shown(row, why) for row in found.rows]
    return {"devices": page, "next": page[-1]["id"] if found.more else None, "count": found.total}


@router.get("/{device}")
def show(device: str, _caller: Viewer, it: Shared) -> dict[str, Any]:
    """All that is known of one."""
    with it.database.read() as connection:
        row = registry.get(connection, device)
        calibration = registry.calibration(connection, device)
        held = credentials.all_of(connection, device)
        why = _reasons(connection, [row])
        ticket = tickets.of(connection, device)
    told = [{**h, **{name: iso(h[name]) for name in ("made", "ends", "revoked")}} for h in held]
    return {**shown(row, why), "calibration": calibration, "credentials": told, "enrolment": _asked(ticket)}


@router.patch("/{device}")
def edit(device: str, wanted: Changes, caller: Operator, it: Shared) -> dict[str, Any]:
    """Change what is known of one."""
    with change(it.database, caller.name) as c:
        row = registry.edit(c, device, wanted)
        c.record("edit", device, wanted.model_dump(mode="json", exclude_unset=True))
    it.bell.ring()
    return shown(row)


@router.post("/{device}/rotate")
def rotate(device: str, caller: Operator, it: Shared) -> dict[str, Any]:
    """A new password. The broker knows one password a device, so the old one ends when the new one counts."""
    return _rotated(device, caller, it, CredentialKind.PASSWORD)


@router.post("/{device}/psk")
def psk(device: str, caller: Operator, it: Shared) -> dict[str, Any]:
    """A new key (PSK), as `rotate` makes a new password."""
    return _rotated(device, caller, it, CredentialKind.PSK)


@router.post("/{device}/certificate", status_code=201)
def certificate(device: str, wanted: NewCertificate, caller: Operator, it: Shared) -> dict[str, Any]:
    """A certificate. One that the device has stays good beside it; of two the older ends."""
    with change(it.database, caller.name) as c:
        made = registry.certify(c, it.authority, device, wanted.csr or wanted.public_key)
        c.record("certificate", device, {"serial": made.serial})
    it.bell.ring()
    return {**issued(it, device, made.certificate), "broker_version": made.version}


@router.post("/{device}/credentials/{number}/revoke")
def end(device: str, number: Annotated[int, Path(ge=1, lt=1 << 63)], caller: Operator, it: Shared) -> dict[str, Any]:
    """End one of a device's credentials: a certificate whose key has got out, say."""
    with change(it.database, caller.name) as c:
        version = registry.end(c, device, number)
        c.record("end credential", device, {"number": number})
    it.bell.ring()
    return {"id": device, "number": number, "broker_version": version}


@router.post("/{device}/revoke")
def revoke(device: str, caller: Operator, it: Shared) -> dict[str, Any]:
    """Shut one out: its credentials end, and its connection."""
    with change(it.database, caller.name) as c:
        version = registry.revoke(c, device)
        c.record("revoke", device)
    it.bell.ring()
    return {"id": device, "state": State.REVOKED, "broker_version": version}


def _rotated(device: str, caller: Caller, it: Context, kind: CredentialKind) -> dict[str, Any]:
    with change(it.database, caller.name) as c:
        made, version = registry.rotate(c, device, kind)
        c.record("rotate", device, {} if kind is CredentialKind.PASSWORD else {"kind": kind.value})
    it.bell.ring()
    ends = f"the old {kind.value} ends when the broker has version {version}, within seconds"
    return {"id": device, kind.value: made, "broker_version": version, f"old_{kind.value}": ends}


def issued(it: Context, device: str, certificate: str) -> dict[str, Any]:
    """A certificate as it is answered, with what the device needs beside it."""
    assert it.authority is not None  # else there is no certificate
    facts = ca.facts(certificate, device)
    with it.database.read() as connection:
        kind = registry.get(connection, device)["kind"]
    return {
        "id": device, "certificate": certificate, "authority": it.authority.pair.cert, "serial": f"{facts.serial:x}",
        "ends": facts.ends.isoformat(timespec="seconds"), "renew_from": facts.due_from.isoformat(timespec="seconds"),
        "broker": it.welcome.broker, "topics": it.welcome.topics_of(device, kind),
    }  # fmt: skip


def shown(row: dict[str, Any], why: dict[str, Any] | None = None) -> dict[str, Any]:
    """A device as it is answered: times in ISO 8601, null where there is none.

    `quarantine`: which rule has shut it out, and why; null for every other device. `why`: the reasons by device.
    """
    times = {name: iso(row[name]) for name in ("created", "changed", "last_seen")}
    return {**row, **times, "quarantine": (why or {}).get(row["id"])}


def _reasons(connection: Connection, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = behaviour.reasons(connection, [row["id"] for row in rows if row["state"] == State.QUARANTINED])
    return {device: {**one, "at": iso(one["at"])} for device, one in found.items()}


def iso(micros: int | None) -> str | None:
    """Microseconds since 1970 UTC as ISO 8601."""
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")


def _asked(ticket: dict[str, Any] | None) -> dict[str, Any] | None:
    """A device's token, or what was asked with a claim: `key` and `used` are null as long as nobody has used it."""
    if ticket is None:
        return None
    times = {name: iso(ticket[name]) for name in ("made", "ends", "used")}
    return {"by": "claim" if ticket["claim"] else "token", "claim": ticket["claim"], "key": ticket["key"], **times}


def _checked(found: list[dict[str, Any]]) -> tuple[list[NewDevice], list[dict[str, Any]]]:
    good, faults, seen = list[NewDevice](), list[dict[str, Any]](), set[str]()
    for n, raw in enumerate(found, 1):
        try:
            one = NewDevice.model_validate(raw)
        except ValidationError as e:
            faults.append(_fault(n, str(raw.get("id", ""))[:64], "; ".join(faults_of(e.errors()))))
            continue
        if one.id in seen:
            faults.append(_fault(n, one.id, f"{one.id} is given twice"))
        seen.add(one.id)
        good.append(one)
    return good, faults


def _fault(line: int, device: str, message: str) -> dict[str, Any]:
    return {"line": line, "id": device, "message": message}
