"""Tokens of an identity provider (OpenID Connect): is it one of ours, whose is it, and what may they do.

Nothing in a token says by which algorithm or with which key it is checked, beyond naming one of the issuer's keys: the
configuration has the algorithms, and the issuer's own page the keys (RFC 8725, sections 3.1 to 3.10).
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from headrace.config.oidc import Oidc as Settings
from headrace.errors import TransientError
from hub.provider import Provider
from hub.refusal import RefusedError

log = logging.getLogger(__name__)

FRESH_SECONDS = 300.0  # then the keys are fetched again
_KEPT_SECONDS = 24 * 3600.0  # for which they serve while the issuer is away
AGAIN_SECONDS = 5.0  # between two attempts
_LOST_SECONDS = 60.0  # then a fetch counts as lost
_WAIT_SECONDS = 2.0  # for a fetch that is under way
_WAITING = 4  # requests that may wait for keys at once: strangers must not fill all places
_MAX_KEYS = 100
_MAX_SUBJECT = 150  # characters: the audit log keeps who did what
_RSA_BITS = 2048
_TYPES = {"", "JWT", "AT+JWT"}  # RFC 9068, section 2.1; others are for other ends, such as logging out
_LEVELS = ("admin", "operator", "viewer")


class Person(NamedTuple):
    """Who a token is for: the issuer's name for them, the highest role that it gives, and until when it does.

    `ends` is in seconds since 1970 UTC.
    """

    subject: str
    role: str
    ends: float


class _Keys(NamedTuple):
    by_id: dict[str, jwt.PyJWK]
    fetched: float  # by the monotonic clock


class Oidc:
    """The tokens of one issuer. ConfigError for TLS files that can't be read.

    Its keys are fetched on a thread of their own, when they are needed or due, and kept. Who needs a key that is not
    there waits for that thread, a few at a time and not for long.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.provider = Provider(settings)
        self._lock = threading.Lock()
        self._known: _Keys | None = None
        self._coming: threading.Event | None = None  # set when the fetch that is under way has ended
        self._tried = -_LOST_SECONDS
        self._problem = "its keys were not fetched yet"
        self._places = threading.Semaphore(_WAITING)

    @property
    def issuer(self) -> str:
        """As the configuration names it."""
        return self._settings.issuer

    @staticmethod
    def is_token(text: str) -> bool:
        """Whether this looks like a signed token of an issuer, and not like one of hub's own."""
        return text.count(".") == 2

    def problem(self) -> str:
        """What is wrong with the issuer, in words; "" when its keys are known. Has them fetched when they are due."""
        self._fetched(wait=False)
        return self._problem

    def check(self, token: str) -> Person:
        """Whose token it is. RefusedError: 401 for one that is not valid, 403 without a role here, 503 without keys."""
        return self.person(self.claims(token, self._settings.audience))

    def claims(self, token: str, audience: str) -> dict[str, Any]:
        """What a token says that is for `audience`, once all but its roles was checked. RefusedError: 401, 503."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as e:
            raise _wrong(str(e)) from None
        if str(header.get("typ", "")).upper().removeprefix("APPLICATION/") not in _TYPES:
            raise _wrong("it is not for calling a service (typ)")
        if header.get("alg") not in self._settings.algorithms:
            raise _wrong(f"it is not signed by {' or '.join(self._settings.algorithms)}, as hub.serve.oidc asks for")
        key = self._key(header.get("kid"))
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=list(self._settings.algorithms), audience=audience,
                issuer=self._settings.issuer, leeway=self._settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, RecursionError) as e:
            raise _wrong(str(e)) from None
        subject = claims["sub"]
        if not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise _wrong(f"its subject is not 1 to {_MAX_SUBJECT} printable characters")
        return claims

    def person(self, claims: Mapping[str, Any]) -> Person:
        """Who that is. RefusedError (403) without a role here."""
        subject = claims["sub"]
        return Person(subject, self._role(subject, claims), float(claims["exp"]))

    def _role(self, subject: str, claims: Mapping[str, Any]) -> str:
        given = {
            self._settings.roles[n] for n in _names(claims, self._settings.roles_claim) if n in self._settings.roles
        }
        role = next((level for level in _LEVELS if level in given), None)
        if role is None:
            raise RefusedError(
                403, f"the token of {subject} gives no role here: its claim {self._settings.roles_claim!r} names none "
                "of hub.serve.oidc.roles. Ask an admin, or the identity provider's, for one"
            )  # fmt: skip
        return role

    def _key(self, wanted: str | None) -> jwt.PyJWK:
        """The issuer's key of this id; without an id, its only key. For an unknown id the keys are fetched again."""
        keys = self._fetched()
        found = _pick(keys, wanted)
        if found is None:
            keys = self._fetched(beyond=keys)
            found = _pick(keys, wanted)
        if found is not None:
            return found
        if keys is None or self._problem:
            raise RefusedError(
                503, f"tokens of the identity provider can't be checked now: {self._problem}. hub's own tokens work",
                {"again_in_seconds": 2},
            )  # fmt: skip
        raise _wrong("it is signed with a key that its issuer does not show")

    def _fetched(self, beyond: _Keys | None = None, *, wait: bool = True) -> _Keys | None:
        """The keys, newer than `beyond` if they can be had; None while there are none. Begins to fetch what is due."""
        now = time.monotonic()
        with self._lock:
            known = self._known
            if known is not None and now - known.fetched > _KEPT_SECONDS:
                known = self._known = None
            missing = known is beyond
            if missing or known is None or now - known.fetched > FRESH_SECONDS:
                self._begin(now)
            coming = self._coming
        if wait and missing and coming is not None and self._places.acquire(blocking=False):
            coming.wait(_WAIT_SECONDS)
            self._places.release()
        return self._known

    def _begin(self, now: float) -> None:
        """Begin to fetch, unless that is under way, or was tried a moment ago. With the lock."""
        pause = AGAIN_SECONDS if self._coming is None else _LOST_SECONDS
        if now - self._tried >= pause:
            self._tried, self._coming = now, threading.Event()
            threading.Thread(target=self._fetch, args=(self._coming,), name="oidc", daemon=True).start()

    def _fetch(self, coming: threading.Event) -> None:
        began = time.monotonic()
        try:
            found = _usable(self.provider.get(self._where()), self._settings.algorithms)
        except TransientError as e:
            if str(e) != self._problem:
                log.warning("no keys of the identity provider", extra={"error": str(e)})
            self._problem = str(e)
        else:
            if self._problem:
                log.info("the identity provider's keys are known", extra={"keys": len(found)})
            self._known, self._problem = _Keys(found, began), ""
        finally:
            with self._lock:
                if self._coming is coming:
                    self._coming = None
            coming.set()

    def _where(self) -> str:
        return self._settings.keys_url or self.provider.address(self.provider.page(), "jwks_uri")


def _usable(page: Mapping[str, Any], algorithms: tuple[str, ...]) -> dict[str, jwt.PyJWK]:
    """The keys for these algorithms, by their ids. TransientError when there is none."""
    listed = page.get("keys")
    try:
        found = jwt.PyJWKSet(listed[:_MAX_KEYS] if isinstance(listed, list) else []).keys
    except jwt.PyJWTError as e:
        raise TransientError(f"the identity provider shows no keys: {e}") from None
    good = {str(k.key_id or ""): k for k in found if k.public_key_use in {None, "sig"} and _fits(k, algorithms)}
    if not good:
        raise TransientError(
            f"the identity provider shows no key for {', '.join(algorithms)}: see hub.serve.oidc.algorithms"
        )
    return good


def _fits(key: jwt.PyJWK, algorithms: tuple[str, ...]) -> bool:
    strong = not isinstance(key.key, RSAPublicKey) or key.key.key_size >= _RSA_BITS
    return strong and key.algorithm_name in algorithms


def _pick(keys: _Keys | None, wanted: str | None) -> jwt.PyJWK | None:
    if keys is None:
        return None
    if wanted is None and len(keys.by_id) == 1:
        return next(iter(keys.by_id.values()))
    return keys.by_id.get(wanted) if wanted else None


def _names(claims: Mapping[str, Any], path: str) -> list[str]:
    """What a claim lists: an array of texts, or words in one text (as `scope` has them)."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, str):
        return found.split()
    return [n for n in found if isinstance(n, str)] if isinstance(found, list) else []


def _wrong(why: str) -> RefusedError:
    return RefusedError(401, f"the token is refused: {why}. Log in at the identity provider again")
