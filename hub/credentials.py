"""What devices log in with: passwords, certificates, keys (PSK). Each function that changes one is a part of a change.

Living: not revoked, and not past its end. A device that is not active gets in with none of them.
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select, update

from headrace.errors import ConfigError
from headrace.identity import ca, proofs
from headrace.identity.ca import Authority, Revoked
from headrace.operate.mqttusers import password_hash
from hub.changes import Change, counter
from hub.model import State
from hub.refusal import RefusedError
from hub.tables import credentials, devices

MOST_CERTIFICATES = 2  # that live at the same time, so that a device can change from one to the next
CANARY = "headrace-canary"  # no device can have this name
NO_AUTHORITY = "this hub makes no certificates: hub.serve.devices_ca is not set"
_DAY = timedelta(days=1)


class CredentialKind(StrEnum):
    """What a credential is, and what is kept of it."""

    PASSWORD = "password"  # noqa: S105 - Mosquitto's hash
    CERTIFICATE = "certificate"  # its serial number, in hexadecimal digits
    PSK = "psk"  # the key itself, in hexadecimal digits: Mosquitto takes no hash


# Of randomness. A person may have to type a password: its digits never begin with a hyphen.
_BYTES = {CredentialKind.PASSWORD: 12, CredentialKind.PSK: 32}


class Issued(NamedTuple):
    """A certificate in PEM. `version`: of the broker, from which on what it replaces has ended."""

    certificate: str
    serial: str
    ends: datetime
    version: int


class Ended(NamedTuple):
    """What the broker gets about certificates: a list (CRL) in PEM, its number, and whose those in it are.

    `canary`: a new certificate, in this list and in none before it; `witness`: one that is in none.
    """

    crl: str
    number: int
    owners: dict[str, str]
    canary: ca.Pair
    witness: ca.Pair


def give(change: Change, kinds: Mapping[str, CredentialKind]) -> dict[str, str]:
    """Give devices, by id, a password or a key (PSK), and return these. Those before stay: see `end`."""
    made = {d: secrets.token_hex(_BYTES[kind]) for d, kind in kinds.items()}
    rows = [
        _row(change, d, kinds[d], password_hash(text) if kinds[d] is CredentialKind.PASSWORD else text)
        for d, text in made.items()
    ]  # fmt: skip
    if rows:
        change.connection.execute(insert(credentials), rows)
    return made


def issue(change: Change, authority: Authority | None, device: str, asked: str, keep: int | None = None) -> Issued:
    """A certificate for a device. `asked`: a request or a public key in PEM. RefusedError (409, 422): none is made.

    The oldest ends where a device would have more than `MOST_CERTIFICATES`, or the next one if that is number `keep`.
    """
    if authority is None:
        raise RefusedError(409, NO_AUTHORITY)
    try:
        key = proofs.fingerprint(asked, device)
        certificate = authority.device(device, asked)
    except ConfigError as e:
        raise RefusedError(422, str(e)) from None
    facts = ca.facts(certificate, device)
    living = list(change.connection.execute(_living(change.now, device, CredentialKind.CERTIFICATE)).scalars())
    living.sort(key=lambda number: bool(number == keep))
    for number in living[: len(living) + 1 - MOST_CERTIFICATES]:
        _end(change, [credentials.c.number == number])
    ends = int(facts.ends.timestamp() * 1e6)
    row = {
        **_row(change, device, CredentialKind.CERTIFICATE, f"{facts.serial:x}", ends),
        "key": key, "certificate": certificate,
    }  # fmt: skip
    change.connection.execute(insert(credentials).values(row))
    return Issued(certificate, f"{facts.serial:x}", facts.ends, counter(change.connection, "broker"))


def end(change: Change, device: str, kind: CredentialKind | None = None, number: int | None = None) -> int:
    """End a device's living credentials: all, those of a kind, or one. Returns how many there were."""
    which = [credentials.c.device == device]
    if kind is not None:
        which.append(credentials.c.kind == kind.value)
    if number is not None:
        which.append(credentials.c.number == number)
    return _end(change, which)


def state_changed(change: Change, device: str) -> None:
    """Take note that the state of a device has changed: its certificates are on hold from now on, or no longer."""
    if change.connection.execute(_living(change.now, device, CredentialKind.CERTIFICATE)).first() is not None:
        change.take("crl")
    change.broker()


def all_of(connection: Connection, device: str) -> list[dict[str, Any]]:
    """A device's credentials: of a certificate its serial number, of others nothing that would help to log in."""
    c = credentials.c
    found = select(c.number, c.kind, c.verifier, c.made, c.ends, c.revoked).where(c.device == device).order_by(c.number)
    rows = [dict(row) for row in connection.execute(found).mappings()]
    for row in rows:
        verifier = row.pop("verifier")
        if row["kind"] == CredentialKind.CERTIFICATE:
            row["serial"] = verifier
    return rows


def certificates(connection: Connection, device: str, now: int) -> list[dict[str, Any]]:
    """A device's living certificates, the oldest first: number, certificate (PEM), and when each was made."""
    c = credentials.c
    found = select(c.number, c.certificate, c.made).where(
        c.number.in_(_living(now, device, CredentialKind.CERTIFICATE))
    )
    rows = connection.execute(found.where(c.certificate.is_not(None)).order_by(c.number)).mappings()
    return [dict(row) for row in rows]


def unrenewed(connection: Connection, now: int) -> int:
    """How many active devices have no certificate but such as are in the last sixth of their life, and not past it."""
    c = credentials.c
    living = (c.kind == CredentialKind.CERTIFICATE.value, c.revoked.is_(None), c.ends > now)
    newest = select(func.max(c.ends).label("ends"), func.max(c.made).label("made"), c.device.label("device"))
    found = newest.where(*living).group_by(c.device).subquery()
    late = (found.c.ends - now) * 6 < found.c.ends - found.c.made
    whose = select(func.count()).select_from(found.join(devices, devices.c.id == found.c.device))
    return int(connection.execute(whose.where(late, devices.c.state == State.ACTIVE.value)).scalar_one())


def by_key(connection: Connection, key: str, now: int) -> dict[str, Any] | None:
    """The latest certificate for a key, given as its SHA-256: number, device, certificate, and if it is `good`."""
    c = credentials.c
    found = select(c.number, c.device, c.certificate, c.revoked, c.ends).where(c.key == key)
    row = connection.execute(found.order_by(c.number.desc()).limit(1)).first()
    if row is None:
        return None
    good = row.revoked is None and row.ends > now
    return {"number": row.number, "device": row.device, "certificate": row.certificate, "good": good}


def secrets_of(connection: Connection, kind: CredentialKind) -> dict[str, str]:
    """For the broker: by device, the hash of the password, or the key, of every active one that has one."""
    found = (
        select(devices.c.id, credentials.c.verifier)
        .join(credentials, credentials.c.device == devices.c.id)
        .where(devices.c.state == State.ACTIVE.value, credentials.c.kind == kind.value, credentials.c.revoked.is_(None))
    )
    return {row[0]: row[1] for row in connection.execute(found)}


def ended(connection: Connection, authority: Authority) -> Ended:
    """The certificates that the broker is not to take, although they have not run out."""
    number = counter(connection, "crl")
    now = datetime.now(UTC)
    c = credentials.c
    found = (
        select(c.verifier, c.device, c.revoked, devices.c.changed)
        .join(devices, c.device == devices.c.id)
        .where(
            c.kind == CredentialKind.CERTIFICATE.value, c.ends > _micros(now - _DAY),  # clocks differ
            or_(c.revoked.is_not(None), devices.c.state != State.ACTIVE.value),
        )
    )  # fmt: skip
    rows = connection.execute(found).all()
    canary, witness = (authority.client(CANARY, days=1) for _ in range(2))
    out = [Revoked(int(r.verifier, 16), _time(r.revoked or r.changed), r.revoked is None) for r in rows]
    crl = authority.crl(number, [*out, Revoked(ca.facts(canary.cert, CANARY).serial, now)], now)
    return Ended(crl, number, {r.verifier: r.device for r in rows}, canary, witness)


def _end(change: Change, which: Iterable[ColumnElement[bool]]) -> int:
    living = [*which, credentials.c.revoked.is_(None)]
    statement = update(credentials).where(*living).values(revoked=change.now).returning(credentials.c.kind)
    kinds = list(change.connection.execute(statement).scalars())
    if CredentialKind.CERTIFICATE in kinds:
        change.take("crl")
    if kinds:
        change.broker()
    return len(kinds)


def _living(now: int, device: str, kind: CredentialKind) -> Select[int]:
    c = credentials.c
    lives = (c.device == device, c.kind == kind.value, c.revoked.is_(None), or_(c.ends.is_(None), c.ends > now))
    return select(c.number).where(*lives).order_by(c.number)


def _row(change: Change, device: str, kind: CredentialKind, verifier: str, ends: int | None = None) -> dict[str, Any]:
    return {"device": device, "kind": kind.value, "verifier": verifier, "made": change.now, "ends": ends}


def _micros(at: datetime) -> int:
    return int(at.timestamp() * 1e6)


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)
