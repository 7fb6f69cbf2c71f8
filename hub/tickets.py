"""What lets a device ask for a certificate: one-time tokens, and claims for all devices of a group.

Only the hash of a token is kept. The key that uses a token first, or a claim in a device's name, is noted: no other key
may, and the same one may again, since an answer can be lost.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from headrace.errors import ConfigError
from headrace.identity import ca
from hub.access import hashed
from hub.changes import Change
from hub.model import NewClaim
from hub.refusal import RefusedError
from hub.tables import claims, devices, enrolments, labels

_AT_ONCE = 500  # ids in one statement


def invite(change: Change, days: Mapping[str, float]) -> dict[str, str]:
    """A token for each of these devices, which may be used first within so many `days`. Those before end."""
    made = {device: "he_" + secrets.token_urlsafe(16) for device in days}
    forget(change, list(days))
    rows = [
        {"device": d, "hash": hashed(token), "made": change.now, "ends": change.now + int(days[d] * 86400e6)}
        for d, token in made.items()
    ]
    if rows:
        change.connection.execute(insert(enrolments), rows)
    return made


def forget(change: Change, ids: Sequence[str]) -> None:
    """End the tokens of these devices, and what claims have asked in their names."""
    for n in range(0, len(ids), _AT_ONCE):
        change.connection.execute(delete(enrolments).where(enrolments.c.device.in_(ids[n : n + _AT_ONCE])))


def by_token(connection: Connection, token: str) -> dict[str, Any] | None:
    """The row of a token."""
    row = connection.execute(select(enrolments).where(enrolments.c.hash == hashed(token))).mappings().first()
    return None if row is None else dict(row)


def of(connection: Connection, device: str) -> dict[str, Any] | None:
    """The row of a device."""
    row = connection.execute(select(enrolments).where(enrolments.c.device == device)).mappings().first()
    return None if row is None else dict(row)


def use(change: Change, ticket: dict[str, Any], key: str) -> None:
    """Note that this key has used it."""
    new = {**ticket, "key": key, "used": change.now}
    done = change.connection.execute(update(enrolments).where(enrolments.c.device == ticket["device"]).values(new))
    if done.rowcount == 0:
        change.connection.execute(insert(enrolments).values(new))


def claimed(connection: Connection, claim: str, serial: str) -> list[str]:
    """The ids of the devices with a serial number in the group of a claim."""
    found = (
        select(devices.c.id)
        .join(labels, labels.c.device == devices.c.id)
        .where(devices.c.serial == serial, labels.c.label == f"@{claim}")
    )
    return list(connection.execute(found).scalars())


def add_claim(change: Change, wanted: NewClaim) -> dict[str, Any]:
    """Take a claim's certificate. RefusedError: 409 for a name that was used, 422 for a certificate of no use."""
    if change.connection.execute(select(claims.c.name).where(claims.c.name == wanted.name)).first() is not None:
        raise RefusedError(409, f"there is, or was, a claim named {wanted.name}. Choose another name")
    try:
        facts = ca.facts(wanted.certificate, wanted.name)
        ca.key_of(wanted.certificate, wanted.name)
        wrong = ca.outside(facts)
    except ConfigError as e:
        raise RefusedError(422, str(e)) from None
    if wrong:
        raise RefusedError(422, f"{wanted.name}: {wrong}")
    row = {
        "name": wanted.name, "certificate": wanted.certificate, "at_once": wanted.at_once, "made": change.now,
        "ends": int(facts.ends.timestamp() * 1e6), "revoked": None,
    }  # fmt: skip
    change.connection.execute(insert(claims).values(row))
    return row


def claim(connection: Connection, name: str, now: int) -> dict[str, Any] | None:
    """A claim that counts now."""
    living = (claims.c.name == name, claims.c.revoked.is_(None), claims.c.ends > now)
    row = connection.execute(select(claims).where(*living)).mappings().first()
    return None if row is None else dict(row)


def all_claims(connection: Connection) -> list[dict[str, Any]]:
    """All that were made, by name."""
    return [dict(row) for row in connection.execute(select(claims).order_by(claims.c.name)).mappings()]


def end_claim(change: Change, name: str) -> None:
    """End a claim, at once: who has asked with it, and has no certificate yet, has to ask otherwise."""
    living = (claims.c.name == name, claims.c.revoked.is_(None))
    if change.connection.execute(update(claims).where(*living).values(revoked=change.now)).rowcount == 0:
        raise RefusedError(404, f"there is no valid claim named {name[:80]!r}")
