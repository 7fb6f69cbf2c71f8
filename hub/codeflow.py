"""Logging in at the console by way of an identity provider (OpenID Connect Core 1.0, section 3.1; PKCE, RFC 7636).

Hub keeps nothing while the person is away. The browser has a secret in a cookie for these minutes; state, nonce and the
verifier of PKCE are made of it, so an answer counts in that browser alone, and only once the provider agrees.
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from headrace.config.oidc import Oidc as Settings
from headrace.errors import ConfigError, TransientError
from headrace.runtime.httpserver import same
from hub.oidc import Oidc, Person
from hub.refusal import RefusedError

_AT_ONCE = 4  # that ask the provider: strangers must not fill all places while it is silent
SECONDS = 10 * 60  # for which the person may be away
CALLBACK = "/login/callback"


class CodeFlow:
    """The flow for one provider. `oidc` checks its tokens. ConfigError when the settings do not ask for it."""

    def __init__(self, settings: Settings, oidc: Oidc) -> None:
        if settings.console_url is None:
            raise ConfigError("hub.serve.oidc.console_url: none is given. Say where browsers reach hub")
        self._settings, self._oidc = settings, oidc
        self._client = settings.client_id or settings.audience
        self._back = settings.console_url.rstrip("/") + CALLBACK
        self._places = threading.Semaphore(_AT_ONCE)
        self.secure = settings.console_url.startswith("https://")

    @property
    def issuer(self) -> str:
        """As the configuration names it."""
        return self._settings.issuer

    def begin(self, then: str) -> tuple[str, str]:
        """A secret for the browser, and where to send it. `then`: the path to go to afterwards.

        TransientError while the provider is away.
        """
        secret = secrets.token_urlsafe(32)
        provider = self._oidc.provider
        with self._place():
            url = provider.address(provider.page(), "authorization_endpoint")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(_made("verifier", secret).encode()).digest())
        query = {
            "response_type": "code", "client_id": self._client, "redirect_uri": self._back,
            "scope": self._settings.scope, "state": _state(secret, then), "nonce": _made("nonce", secret),
            "code_challenge": challenge.decode().rstrip("="), "code_challenge_method": "S256",
        }  # fmt: skip
        return secret, f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"

    def finish(self, secret: str, state: str, code: str) -> tuple[Person, str]:
        """Who has logged in, and the path to go to. RefusedError: not in this browser, or not by the provider.

        TransientError while the provider is away: the person may try again.
        """
        _, _, then = state.partition(".")
        if not secret or not code or not same(state, _state(secret, then)):
            raise RefusedError(401, "this login was not begun in this browser, or more than ten minutes ago. Try again")
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._back, "client_id": self._client,
            "code_verifier": _made("verifier", secret),
        }  # fmt: skip
        kept = self._settings.client_secret
        with self._place():
            found = self._oidc.provider.token(form, "" if kept is None else kept.get_secret_value())
        given, access = str(found.get("id_token", "")), str(found.get("access_token", ""))
        claims = self._oidc.claims(given, self._client)
        if not same(str(claims.get("nonce", "")), _made("nonce", secret)):
            raise RefusedError(401, "the identity provider's token is of another login. Try again")
        if claims.get("azp", self._client) != self._client:
            raise RefusedError(401, "the identity provider's token is for another client. Try again")
        try:
            return self._oidc.person(claims), then
        except RefusedError as e:
            if e.status != 403 or not self._oidc.is_token(access):
                raise
        # Some providers name roles in the token for calling services alone.
        person = self._oidc.check(access)
        if person.subject != claims["sub"]:
            raise RefusedError(401, "the identity provider's tokens are of two people. Try again")
        return person, then

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise TransientError(f"identity provider {self.issuer}: others are logging in")
        try:
            yield
        finally:
            self._places.release()


def _made(what: str, secret: str) -> str:
    return hashlib.sha256(f"{what} {secret}".encode()).hexdigest()


def _state(secret: str, then: str) -> str:
    return f"{_made(f'state {then}', secret)}.{then}"
