"""Who is logged in at the console: a row a browser, which has a random secret in a cookie; and codes that log in once.

The rows are in the database, so that every hub on it knows them. None holds a token: only the hash of the one with
which it began, so that the session ends when that token does. A token of an identity provider says when it ends.
"""

import secrets

from sqlalchemy import Connection, delete, insert, select

from hub.access import Caller, Gate, hashed
from hub.changes import NOBODY, Change
from hub.refusal import RefusedError
from hub.tables import sessions

SESSION, CODE = "session", "code"
CODE_SECONDS = 10 * 60
HOURS = 12  # for which a login counts at most


def begin(change: Change, caller: Caller, kind: str = SESSION) -> str:
    """Log the caller in, or make a code that does it once; returns the secret. RefusedError (403) for the agent."""
    if not caller.may("viewer"):
        raise RefusedError(403, f"{caller.name} is {caller.role}: only viewer, operator and admin may use the console")
    secret = secrets.token_urlsafe(32)
    ends = change.now + (HOURS * 3600 if kind == SESSION else CODE_SECONDS) * 1_000_000
    if caller.ends:
        ends = min(ends, int(caller.ends * 1e6))
    change.connection.execute(delete(sessions).where(sessions.c.ends < change.now))
    row = {"hash": hashed(secret), "kind": kind, "token": caller.key, "name": caller.name, "role": caller.role}
    change.connection.execute(insert(sessions).values({**row, "ends": ends}))
    return secret


def record(change: Change, caller: Caller, address: str) -> None:
    """Write into the audit log that the caller logged in."""
    change.record("log in", caller.name, {"role": caller.role, "from": address}, key=NOBODY)


def find(connection: Connection, gate: Gate, secret: str, now: int, kind: str = SESSION) -> Caller | None:
    """Who has this secret; None when nobody has, any more."""
    mine = (sessions.c.hash == hashed(secret), sessions.c.kind == kind, sessions.c.ends > now)
    row = connection.execute(select(sessions).where(*mine)).first()
    if row is None:
        return None
    return gate.known(connection, row.token) if row.token else Caller(row.name, row.role, ends=row.ends / 1e6)


def end(connection: Connection, secret: str) -> bool:
    """End what began with this secret. False when it had ended."""
    return connection.execute(delete(sessions).where(sessions.c.hash == hashed(secret))).rowcount > 0
