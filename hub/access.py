"""Who may call: bearer tokens and their roles, and a limit on wrong ones."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, select

from headrace.config.model import Serve
from headrace.runtime.attempts import Attempts, remember
from headrace.runtime.metrics import HUB_LOGINS_REFUSED
from hub.codeflow import CodeFlow
from hub.oidc import Oidc, Person
from hub.refusal import RefusedError
from hub.tables import tokens

LEVELS = {"viewer": 1, "operator": 2, "admin": 3}  # one may do what those below may; broker stands apart
_LONG = 32  # characters of a token that nobody guesses


class Caller(NamedTuple):
    """Who calls: `key` is the hash of hub's own token that says so; or an identity provider does, until `ends`.

    `ends` is in seconds since 1970 UTC.
    """

    name: str
    role: str
    key: str = ""
    ends: float = 0.0

    def may(self, role: str) -> bool:
        """Whether the caller has `role`, or one above it."""
        return self.role == role or LEVELS.get(self.role, 0) >= LEVELS.get(role, 9)


def hashed(token: str) -> str:
    """What is kept of a token. Tokens are random and long, so one round is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


class Gate:
    """Tells tokens apart. Who sends too many wrong ones from an address has to wait.

    Callers known there have not, nor who sends a right one that is too long to be guessed: else a stranger could lock
    out everybody who has the same address, such as all behind a proxy.
    """

    def __init__(self, serve: Serve) -> None:
        first = (("admin", serve.admin_token), ("broker", serve.broker_token))
        keys = ((role, hashed(t.get_secret_value())) for role, t in first if t is not None)
        self._first = {key: Caller(role, role, key) for role, key in keys}
        self.oidc = None if serve.oidc is None else Oidc(serve.oidc)
        self.code_flow: CodeFlow | None = None
        if serve.oidc is not None and self.oidc is not None and serve.oidc.console_url is not None:
            self.code_flow = CodeFlow(serve.oidc, self.oidc)
        self._lock = threading.Lock()
        self._attempts = Attempts()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()  # address, hash

    def caller(self, connection: Connection, address: str, header: str) -> Caller:
        """Who sends this Authorization header. RefusedError: 401 for no or a wrong token, 429 after too many.

        With a token of the identity provider also 403 and 503, as Oidc.check has it.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise RefusedError(401, "this needs a token. Send the header `Authorization: Bearer TOKEN`")
        token = token.strip()
        key = hashed(token)
        wait = self._wait(address, key)
        if wait and len(token) < _LONG:
            raise _too_many(address, wait)
        found = self.known(connection, key)
        why = "this token is not known, or was revoked. Ask an admin for another"
        if found is None and self.oidc is not None and self.oidc.is_token(token):
            try:
                found = known_there(self.oidc.check(token))
            except RefusedError as e:
                if e.status != 401:
                    raise
                why = str(e)
        if found is None and wait:
            raise _too_many(address, wait)
        if found is None:
            HUB_LOGINS_REFUSED.inc()
            self._attempts.count(address)
            raise RefusedError(401, why)
        with self._lock:
            remember(self._known, (address, key), None)
        return found

    def known(self, connection: Connection, key: str) -> Caller | None:
        """Whose token has this hash; None when it is nobody's, or was revoked."""
        return self._first.get(key) or _in_database(connection, key)

    @contextmanager
    def limited(self, address: str, wrong: Collection[int]) -> Iterator[None]:
        """Count refusals with these statuses as wrong tokens from the address; after too many they become 429.

        What is right is let through all the same: it can't be guessed either.
        """
        try:
            yield
        except RefusedError as e:
            if e.status not in wrong:
                raise
            if wait := self._attempts.wait(address):
                raise _too_many(address, wait) from None
            HUB_LOGINS_REFUSED.inc()
            self._attempts.count(address)
            raise

    def _wait(self, address: str, key: str) -> float:
        """For how many seconds whoever sends wrong tokens from the address has to wait; 0 for who is known there."""
        with self._lock:
            known = (address, key) in self._known
        return 0.0 if known else self._attempts.wait(address)


def _too_many(address: str, wait: float) -> RefusedError:
    HUB_LOGINS_REFUSED.inc()
    again = {"again_in_seconds": round(wait) + 1}
    return RefusedError(429, f"too many wrong tokens from {address}. Try again in {wait:.0f} s", again)


def known_there(person: Person) -> Caller:
    """Somebody whom the identity provider knows. Their name has a colon here, which that of no other token has."""
    return Caller(f"oidc:{person.subject}", person.role, ends=person.ends)


def _in_database(connection: Connection, key: str) -> Caller | None:
    found = select(tokens.c.name, tokens.c.role).where(tokens.c.hash == key, tokens.c.revoked.is_(None))
    row = connection.execute(found).first()
    return None if row is None else Caller(row.name, row.role, key)


def new_token() -> str:
    """A token for a person or a program."""
    return "hr_" + secrets.token_urlsafe(32)
