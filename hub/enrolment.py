"""How a device gets its first certificate, and each one after it.

Both are asked for without a login: what counts is a token, or a signature. So nothing is written before these are
known to be right. The certificate of a device that waits for approval is made after it: the broker lets in whoever has
a certificate that is not in the list of those on hold, and hears of a new one only afterwards.
"""

import time
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection

from headrace.errors import ConfigError
from headrace.identity import ca, proofs
from headrace.identity.ca import Authority
from hub import credentials, registry, tickets
from hub.changes import Change, change
from hub.database import Database
from hub.model import Enrol, Renew, State
from hub.refusal import RefusedError

WAIT_SECONDS = 30  # until a device that waits for approval asks again
_PAUSE_SECONDS = 600  # between two renewals with different keys: each has the broker read its list anew


class Step(StrEnum):
    """What a request comes to."""

    WAIT = "wait"  # for approval
    ISSUE = "issue"
    DONE = "done"  # the answer that was given before is given again


class Asked(NamedTuple):
    """A request that is right. `fresh`: this key asks for the first time."""

    step: Step
    ticket: dict[str, Any]
    key: str
    fresh: bool
    at_once: bool = False  # the device is active as soon as it has asked
    certificate: str = ""


class Proven(NamedTuple):
    """A renewal that is right. `number`: of the certificate whose key signed it; `certificate`: it was made before."""

    number: int
    key: str
    certificate: str


def enrol(database: Database, authority: Authority | None, wanted: Enrol) -> tuple[str, str]:
    """The device's id and its certificate, empty as long as it waits for approval.

    RefusedError: 401 for a wrong token or signature, 403 for who may not, 409 for another key, 422 for the request.
    """
    _require(authority)
    with database.read() as connection:
        found = look(connection, wanted, time.time_ns() // 1000)
    if found.step is not Step.DONE and (found.fresh or found.step is Step.ISSUE):
        with change(database, f"device:{found.ticket['device']}") as c:
            found = take(c, authority, wanted)
    return found.ticket["device"], found.certificate


def look(connection: Connection, wanted: Enrol, now: int) -> Asked:
    """What a request comes to, without doing it. RefusedError as `enrol`."""
    ticket, at_once = _by_claim(connection, wanted, now) if wanted.claim else _by_token(connection, wanted)
    device = ticket["device"]
    row = registry.get(connection, device)
    if row["serial"] and wanted.serial != row["serial"]:
        raise RefusedError(403, f"{device} has another serial number in the registry. Send its own as `serial`")
    if row["state"] not in {State.PENDING, State.ACTIVE}:
        raise RefusedError(403, f"{device} is {row['state']}, and gets no certificate")
    key = _fingerprint(wanted.csr, device)
    fresh = ticket["key"] is None
    if fresh and ticket["ends"] <= now:
        raise RefusedError(403, "this token has ended unused. Ask for another: headrace devices enrol-token")
    if not fresh and ticket["key"] != key:
        what = "this token was used" if ticket["hash"] else f"{device} has asked"
        raise RefusedError(409, f"{what} with another key already. If that was not this device, revoke {device}")
    held = credentials.by_key(connection, key, now)
    if held is not None:
        _check_key(held, device)
    if row["state"] == State.PENDING and not at_once:
        return Asked(Step.WAIT, ticket, key, fresh)
    if held is not None:
        return Asked(Step.DONE, ticket, key, fresh, certificate=held["certificate"])
    return Asked(Step.ISSUE, ticket, key, fresh, at_once and row["state"] == State.PENDING)


def take(c: Change, authority: Authority | None, wanted: Enrol) -> Asked:
    """Do what a request comes to, as a part of a change. RefusedError as `enrol`."""
    found = look(c.connection, wanted, c.now)
    device = found.ticket["device"]
    how = {"claim": found.ticket["claim"]} if found.ticket["claim"] else {}
    if found.fresh:
        tickets.use(c, found.ticket, found.key)
        c.record("ask for a certificate", device, {"key": found.key, **how})
    if found.step is Step.WAIT and found.fresh:
        registry.touch(c, device, "asked")
    if found.step is not Step.ISSUE:
        return found
    if found.at_once:
        registry.approve(c, device)
        c.record("approve", device, how)
    issued = credentials.issue(c, authority, device, wanted.csr)
    registry.touch(c, device, "enrolled")
    c.record("enrol", device, {"serial": issued.serial, "key": found.key})
    return found._replace(certificate=issued.certificate)


def renew(database: Database, authority: Authority | None, wanted: Renew) -> str:
    """The next certificate of a device. Its present one stays good until its end.

    RefusedError: 401 for a wrong signature, 403 for who may not, 409 for a key that was used or when it is too early
    (then `renew_from` says when it is not), 429 too soon after another, 422.
    """
    _require(authority)
    with database.read() as connection:
        found = look_renewal(connection, wanted, time.time_ns() // 1000)
    if found.certificate:
        return found.certificate
    with change(database, f"device:{wanted.id}") as c:
        return take_renewal(c, authority, wanted)


def look_renewal(connection: Connection, wanted: Renew, now: int) -> Proven:
    """What a renewal comes to, without doing it. RefusedError as `renew`."""
    text = proofs.renewal(wanted.id, wanted.csr)
    living = credentials.certificates(connection, wanted.id, now)
    by = next((it for it in living if proofs.signed(it["certificate"], text, wanted.signature)), None)
    if by is None:
        raise RefusedError(
            401,
            "no certificate of this device that is still good has signed this. It can begin anew with a token",
        )
    row = registry.get(connection, wanted.id)
    if row["state"] != State.ACTIVE:
        raise RefusedError(403, f"{wanted.id} is {row['state']}, and gets no certificate")
    key = _fingerprint(wanted.csr, wanted.id)
    held = credentials.by_key(connection, key, now)
    if held is not None:
        _check_key(held, wanted.id)
        if held["number"] == by["number"]:
            raise RefusedError(409, f"{wanted.id}: this is the key of its present certificate. Make a new one")
        return Proven(by["number"], key, held["certificate"])
    facts = ca.facts(by["certificate"], wanted.id)
    if not facts.due():
        when = facts.due_from.isoformat(timespec="seconds")
        raise RefusedError(409, f"{wanted.id}: its certificate is to be renewed from {when}", {"renew_from": when})
    _check_pause([it for it in living if it["number"] > by["number"]], now)
    return Proven(by["number"], key, "")


def take_renewal(c: Change, authority: Authority | None, wanted: Renew) -> str:
    """Do what a renewal comes to, as a part of a change. RefusedError as `renew`."""
    found = look_renewal(c.connection, wanted, c.now)
    if found.certificate:
        return found.certificate
    issued = credentials.issue(c, authority, wanted.id, wanted.csr, keep=found.number)
    registry.touch(c, wanted.id, "renewed")
    c.record("renew", wanted.id, {"serial": issued.serial, "key": found.key})
    return issued.certificate


def _by_token(connection: Connection, wanted: Enrol) -> tuple[dict[str, Any], bool]:
    ticket = tickets.by_token(connection, wanted.token)
    if ticket is None or (wanted.id and wanted.id != ticket["device"]):
        raise RefusedError(401, "this token is not known, or not for this device. A later one ends those before it")
    return ticket, False


def _by_claim(connection: Connection, wanted: Enrol, now: int) -> tuple[dict[str, Any], bool]:
    claim = tickets.claim(connection, wanted.claim, now)
    text = proofs.enrolment(wanted.serial, wanted.csr)
    if claim is None or not proofs.signed(claim["certificate"], text, wanted.signature):
        raise RefusedError(401, "this claim is not known, has ended, or has not signed this")
    found = tickets.claimed(connection, wanted.claim, wanted.serial) if wanted.serial else []
    if len(found) != 1:
        why = "several devices" if found else "no device"
        raise RefusedError(403, f"the group {wanted.claim} has {why} with this serial number")
    device = found[0]
    ticket = tickets.of(connection, device)
    if ticket is None and not credentials.all_of(connection, device):
        return _new_ticket(device, wanted.claim, now), claim["at_once"]
    if ticket is None or ticket["claim"] != wanted.claim:
        raise RefusedError(403, f"{device} has a token, or another credential, so a claim is not enough")
    return ticket, claim["at_once"]


def _new_ticket(device: str, claim: str, now: int) -> dict[str, Any]:
    return {"device": device, "hash": None, "claim": claim, "made": now, "ends": now + 1, "key": None, "used": None}


def _check_key(held: dict[str, Any], device: str) -> None:
    if held["device"] != device:
        raise RefusedError(409, f"{device}: another device has this key. Each needs one of its own")
    if not held["good"]:
        raise RefusedError(409, f"{device}: the certificate of this key has ended. Make a new key")


def _check_pause(newer: list[dict[str, Any]], now: int) -> None:
    if newer and (left := _PAUSE_SECONDS - (now - newer[-1]["made"]) / 1e6) > 0:
        wait = min(left, _PAUSE_SECONDS)  # the clock may have been set back
        raise RefusedError(
            429, f"this device was given a certificate a moment ago. Try again in {wait:.0f} s",
            {"again_in_seconds": round(wait) + 1},
        )  # fmt: skip


def _fingerprint(csr: str, device: str) -> str:
    try:
        return proofs.fingerprint(csr, device)
    except ConfigError as e:
        raise RefusedError(422, str(e)) from None


def _require(authority: Authority | None) -> None:
    if authority is None:
        raise RefusedError(409, credentials.NO_AUTHORITY)
