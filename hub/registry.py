"""What can be done with devices. Each function is a part of one change: see hub/changes.py."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from headrace.identity.ca import Authority
from hub import credentials, model, search, tickets
from hub.changes import Change, counter
from hub.credentials import CredentialKind, Issued
from hub.model import Changes, NewDevice, NewEnrolment, State
from hub.refusal import RefusedError
from hub.tables import calibrations, devices, episodes

_AT_ONCE = 500  # ids in one statement
# What a person may set; revoking is an act of its own, and what is erased stays so.
_ALLOWED = {
    State.PENDING: {State.ACTIVE, State.QUARANTINED},
    State.ACTIVE: {State.QUARANTINED},
    State.QUARANTINED: {State.ACTIVE},
    State.REVOKED: {State.ACTIVE, State.PENDING},
    State.ERASED: set[State](),
}


def add(change: Change, wanted: Sequence[NewDevice]) -> dict[str, str]:
    """Add devices; returns the password, key or token of each that gets one. RefusedError (409) for ids in use."""
    ids = [d.id for d in wanted]
    if taken := existing(change.connection, ids):
        one = taken[0]
        more = f", and {len(taken) - 1:,} more" if len(taken) > 1 else ""
        raise RefusedError(
            409,
            f"{one} is there already{more}. Choose another id, or make a new password: `headrace devices rotate {one}`",
            {"ids": taken},
        )
    rows = [_row(d, change.now) for d in wanted]
    change.connection.execute(insert(devices), rows)
    search.remember(change.connection, rows, new=True)
    given = {d.id: CredentialKind(d.credential) for d in wanted if d.credential not in {"none", "token"}}
    made = credentials.give(change, given) | tickets.invite(
        change, {d.id: d.token_days for d in wanted if d.credential == "token"}
    )
    dated = [
        {"device": d.id, "since": since.isoformat(), "values": values}
        for d in wanted for since, values in d.calibration.items() if values is not None
    ]  # fmt: skip
    if dated:
        change.connection.execute(insert(calibrations), dated)
    change.broker()
    change.tell("added", rows)
    return made


def edit(change: Change, device: str, wanted: Changes) -> dict[str, Any]:
    """Change what is known of a device, and return it. RefusedError: 404, or 409 for a state that can't follow."""
    row = get(change.connection, device)
    new = {**row, **wanted.plain()}
    if wanted.attributes is not None:
        merged = {**row["attributes"], **wanted.attributes}
        new["attributes"] = {k: v for k, v in merged.items() if v is not None}
    before, after, event = State(row["state"]), wanted.state or State(row["state"]), "changed"
    if after != before:
        if after not in _ALLOWED[before]:
            raise RefusedError(409, _no_way(device, before, after))
        new["state"] = after.value
        credentials.state_changed(change, device)
        event = "approved" if before is State.PENDING and after is State.ACTIVE else after.value
        _calm(change, device)
    for since, values in (wanted.calibration or {}).items():
        key = (calibrations.c.device == device, calibrations.c.since == since.isoformat())
        change.connection.execute(delete(calibrations).where(*key))
        if values is not None:
            one = {"device": device, "since": since.isoformat(), "values": values}
            change.connection.execute(insert(calibrations).values(one))
    _store(change, new)
    change.tell(event, [new])
    return new


def approve(change: Change, device: str) -> None:
    """Let in a device that is pending. RefusedError: 404, 409."""
    _pending(change, device)
    edit(change, device, Changes(state=State.ACTIVE))


def reject(change: Change, device: str) -> None:
    """Shut out a device that is pending: its token, or what a claim has asked for it, ends. RefusedError: 404, 409."""
    _pending(change, device)
    revoke(change, device, "rejected")


def invite(change: Change, device: str, wanted: NewEnrolment) -> str:
    """A one-time token for a device that is there; one before it ends. RefusedError: 404, 409."""
    row = get(change.connection, device)
    if row["state"] in {State.REVOKED, State.ERASED}:
        raise RefusedError(409, f"{device} is {row['state']}: set its state to pending or active first")
    token = tickets.invite(change, {device: wanted.days})[device]
    if wanted.serial is not None:
        row["serial"] = wanted.serial
    _store(change, row)
    change.tell("invited", [row])
    return token


def touch(change: Change, device: str, event: str) -> None:
    """Note that something has happened to a device, and tell of it."""
    row = get(change.connection, device)
    _store(change, row)
    change.tell(event, [row])


def rotate(change: Change, device: str, kind: CredentialKind = CredentialKind.PASSWORD) -> tuple[str, int]:
    """A new password or key, and the broker's version with which it counts and the old one ends.

    RefusedError: 404, 409.
    """
    row = _active(change, device)
    credentials.end(change, device, kind)
    made = credentials.give(change, {device: kind})[device]
    version = change.broker()
    _store(change, row)
    change.tell("rotated", [row])
    return made, version


def certify(change: Change, authority: Authority | None, device: str, asked: str) -> Issued:
    """A certificate for a device that is active. RefusedError: 404, 409, and as `credentials.issue` raises it."""
    row = _active(change, device)
    issued = credentials.issue(change, authority, device, asked)
    _store(change, row)
    change.tell("rotated", [row])
    return issued


def end(change: Change, device: str, number: int) -> int:
    """End one credential; returns the broker's version from which on it does not count. RefusedError: 404."""
    row = get(change.connection, device)
    if not credentials.end(change, device, number=number):
        raise RefusedError(404, f"{device} has no credential with the number {number} that is still good")
    _store(change, row)
    change.tell("ended", [row])
    return counter(change.connection, "broker")


def revoke(change: Change, device: str, event: str = "revoked") -> int:
    """End a device's credentials and its token; returns the broker's version from which on it is shut out.

    RefusedError: 404, 409.
    """
    row = get(change.connection, device)
    if row["state"] in {State.REVOKED, State.ERASED}:
        raise RefusedError(409, f"{device} is {row['state']} already")
    credentials.end(change, device)
    tickets.forget(change, [device])
    row["state"] = State.REVOKED.value
    _calm(change, device)
    version = change.broker()
    _store(change, row)
    change.tell(event, [row])
    return version


def get(connection: Connection, device: str) -> dict[str, Any]:
    """A device's row. RefusedError (404) when there is none."""
    row = connection.execute(select(devices).where(devices.c.id == device)).mappings().first()
    if row is None:
        raise RefusedError(404, f"there is no device {device[:80]!r}. `headrace devices list` shows those that are")
    return dict(row)


def calibration(connection: Connection, device: str) -> dict[str, Any]:
    """A device's calibrations: values by the date from which they count, oldest first."""
    found = select(calibrations.c.since, calibrations.c["values"]).where(calibrations.c.device == device)
    return {row[0]: row[1] for row in connection.execute(found.order_by(calibrations.c.since))}


def gateways(connection: Connection) -> list[str]:
    """The ids of the gateways that are active."""
    active = (devices.c.kind == model.Kind.GATEWAY.value, devices.c.state == State.ACTIVE.value)
    return list(connection.execute(select(devices.c.id).where(*active).order_by(devices.c.id)).scalars())


def existing(connection: Connection, ids: Iterable[str]) -> list[str]:
    """Those of `ids` that are in use, in their order."""
    wanted = list(ids)
    there: set[str] = set()
    for n in range(0, len(wanted), _AT_ONCE):
        part = wanted[n : n + _AT_ONCE]
        there.update(connection.execute(select(devices.c.id).where(devices.c.id.in_(part))).scalars())
    return [i for i in wanted if i in there]


def _active(change: Change, device: str) -> dict[str, Any]:
    row = get(change.connection, device)
    if row["state"] != State.ACTIVE:
        raise RefusedError(
            409, f"{device} is {row['state']}: no credential would let it in. Set its state to active first"
        )
    return row


def _pending(change: Change, device: str) -> None:
    state = get(change.connection, device)["state"]
    if state != State.PENDING:
        raise RefusedError(409, f"{device} is {state}, and does not wait for approval")


def _row(device: NewDevice, now: int) -> dict[str, Any]:
    return {
        **device.model_dump(mode="json", exclude={"calibration", "credential", "token_days"}),
        "created": now, "changed": now, "last_seen": None,
    }  # fmt: skip


def _store(change: Change, row: dict[str, Any]) -> None:
    row["changed"] = change.now
    change.connection.execute(update(devices).where(devices.c.id == row["id"]).values(row))
    search.remember(change.connection, [row], new=False)


def _calm(change: Change, device: str) -> None:
    """End its episodes (hub/behaviour.py): what it does from now on counts anew."""
    open_ = (episodes.c.who == device, episodes.c.ended.is_(None))
    change.connection.execute(update(episodes).where(*open_).values(ended=change.now))


def _no_way(device: str, before: State, after: State) -> str:
    if after is State.REVOKED:
        return f"{device}: to shut it out for good, revoke it"
    allowed = " or ".join(sorted(s.value for s in _ALLOWED[before]))
    return f"{device} is {before.value}, and can't become {after.value}" + (f", only {allowed}" if allowed else "")
