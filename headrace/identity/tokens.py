"""Tokens for SASL OAUTHBEARER: fetched as the configuration says, and kept while they are fresh."""

import http.client
import json
import logging
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headrace.config.connect import Kafka
from headrace.config.connect import Token as Settings
from headrace.errors import ConfigError, HeadraceError, TransientError
from headrace.identity import tls
from headrace.identity.renewal import Renewed

log = logging.getLogger(__name__)

_WHERE = "kafka.sasl.token"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523, section 2.2
_MAX_BYTES = 1024 * 1024
_SPARE_SECONDS = 20.0  # that an old token must be valid for, to be used while no new one comes
# 404 is a wrong path, or a proxy whose issuer is away: from here they look the same, so we wait.
_RETRIABLE = frozenset({404, 408, 425, 429})


class Token(NamedTuple):
    """A token, when it was fetched and when it expires, in seconds since 1970."""

    value: str
    fetched: float
    expires: float

    @property
    def fresh(self) -> bool:
        """Whether more than half of its life is left. librdkafka asks for a new one when a fifth is left."""
        return time.time() < (self.fetched + self.expires) / 2


_lock = threading.Lock()
_kept: list[tuple[Settings, str, Renewed[Token]]] = []  # every Kafka client asks, and each look at Kafka makes one


def current(cfg: Kafka) -> Token:
    """A token that is valid for some time yet, fetched when there is none: see Renewed.

    While an old one serves nothing is raised. Without one, TransientError: the issuer does not answer. ConfigError: it
    refuses us, or the settings are wrong.
    """
    settings = _settings(cfg)
    with _lock:
        found = next((i[2] for i in _kept if i[0] == settings and i[1] == cfg.bootstrap), None)
        if found is None:
            found = _renewed(settings, cfg)
            _kept.append((settings, cfg.bootstrap, found))
    return found.get()


def _settings(cfg: Kafka) -> Settings:
    settings = cfg.sasl.token if cfg.sasl is not None else None
    assert settings is not None, "only for OAUTHBEARER"
    return settings


def _renewed(settings: Settings, cfg: Kafka) -> Renewed[Token]:
    return Renewed(
        _WHERE,
        lambda: _FETCH[settings.kind](settings, cfg),
        lambda token: token.fresh,
        lambda token: token.expires - time.time() > _SPARE_SECONDS,
        settings.timeout_seconds,
    )


def callback(cfg: Kafka) -> Callable[[Any], tuple[str, float, str, dict[str, str]]]:
    """An oauth_cb of librdkafka: called on a thread of its own, again before the token expires, and after a failure."""
    extensions = _settings(cfg).extensions

    def refresh(_config: Any) -> tuple[str, float, str, dict[str, str]]:
        try:
            token = current(cfg)
        except HeadraceError as e:
            log.warning("no token for Kafka", extra={"error": str(e)})  # librdkafka does not pass the words on
            raise
        return token.value, token.expires, "", extensions

    return refresh


def _oidc(settings: Settings, _cfg: Kafka) -> Token:
    assert settings.url is not None  # the model sees to it
    return _ask(settings, settings.url, _form(settings, settings.client_id, settings.client_assertion_file))


def _azure(settings: Settings, cfg: Kafka) -> Token:
    """Entra ID, as AKS Workload Identity injects its settings, or with a secret. Documented by Microsoft as

    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    """
    tenant = settings.tenant_id or _variable("AZURE_TENANT_ID", "tenant_id")
    client = settings.client_id or _variable("AZURE_CLIENT_ID", "client_id")
    authority = str(settings.authority or os.environ.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com")
    file = settings.client_assertion_file
    if file is None and settings.client_secret is None:
        file = Path(_variable("AZURE_FEDERATED_TOKEN_FILE", "client_secret_file"))
    host = tls.split(cfg.bootstrap.split(",")[0].strip())[0]
    form = _form(settings, client, file) | {"scope": settings.scope or f"https://{host}/.default"}
    return _ask(settings, f"{authority.rstrip('/')}/{tenant}/oauth2/v2.0/token", form)


def _aws(settings: Settings, _cfg: Kafka) -> Token:
    from headrace.identity import aws

    region = settings.region or _variable("AWS_REGION", "region")
    now = time.time()
    value, expires = aws.msk_token(region, aws.credentials(settings.timeout_seconds), now)
    return Token(value, now, expires)


_FETCH: Mapping[str, Callable[[Settings, Kafka], Token]] = {"oidc": _oidc, "azure": _azure, "aws-msk-iam": _aws}


def _variable(name: str, key: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise ConfigError(f"{_WHERE}.{key}: not given, and the environment has no {name}. Set one of them")
    return found


def _form(settings: Settings, client_id: str, assertion: Path | None) -> dict[str, str]:
    """A request for the client's own token (RFC 6749, section 4.4)."""
    form = {"grant_type": "client_credentials", "client_id": client_id}
    if settings.scope:
        form["scope"] = settings.scope
    if assertion is None:
        assert settings.client_secret is not None
        return form | {"client_secret": settings.client_secret.get_secret_value()}
    try:
        words = assertion.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as e:
        raise ConfigError(f"{_WHERE}.client_assertion_file: {assertion} can't be read: {e}") from None
    return form | {"client_assertion_type": _ASSERTION, "client_assertion": words}


def _ask(settings: Settings, url: str, form: Mapping[str, str]) -> Token:
    where = "token endpoint " + re.sub(r"(?<=//)[^/]*@|[?#].*", "", url)  # without what may be a secret
    secured = tls.context(settings.tls, f"{_WHERE}.tls") if url.startswith("https://") else None
    now = time.time()
    try:
        status, body = _answer(url, form, settings.timeout_seconds, secured)
    except (OSError, http.client.HTTPException, ValueError) as e:
        if why := tls.refusal(e, settings.tls, f"{_WHERE}.tls", f"{_WHERE}.url"):
            raise ConfigError(f"{where}: {why}") from None
        words = e.reason if isinstance(e, urllib.error.URLError) else e
        if not isinstance(e, OSError):
            words = f"not an HTTP answer ({type(e).__name__})"
        raise TransientError(f"{where}: {words}. Start it, or correct {_WHERE}") from None
    if not 200 <= status < 300:
        raise _refused(where, status, body)
    try:
        data = json.loads(body)
    except ValueError:
        raise TransientError(f"{where}: its answer is not JSON. Start it, or correct {_WHERE}") from None
    if not isinstance(data, dict) or not isinstance(data.get("access_token"), str):
        raise ConfigError(f"{where}: its answer holds no access_token. Correct {_WHERE}.url")
    try:
        life = float(data.get("expires_in") or 0)
    except (TypeError, ValueError):
        life = 0.0
    if life <= 0:
        raise ConfigError(f"{where}: it does not say how long its tokens hold (expires_in). Use one that does")
    return Token(data["access_token"], now, now + life)


def _answer(url: str, form: Mapping[str, str], seconds: float, secured: ssl.SSLContext | None) -> tuple[int, bytes]:
    """The status and the body of the answer to a POST. `seconds` for each address and each read."""
    words = urllib.parse.urlencode(form).encode()
    try:
        request = urllib.request.Request(url, words, {"Accept": "application/json"})  # noqa: S310 - http and https only
        with urllib.request.urlopen(request, timeout=seconds, context=secured) as answer:  # noqa: S310 - likewise
            return answer.status, answer.read(_MAX_BYTES)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read(_MAX_BYTES)


def _refused(where: str, status: int, body: bytes) -> ConfigError | TransientError:
    """The error in the answer (RFC 6749, section 5.2), or else what an HTTP server says."""
    try:
        data = json.loads(body)
        words = " ".join(str(data[k])[:300] for k in ("error", "error_description") if data.get(k))
    except (ValueError, AttributeError, TypeError):
        words = ""
    told = f"{where}: HTTP {status} {words}".rstrip()
    if status in _RETRIABLE or status >= 500:
        return TransientError(told)
    return ConfigError(f"{told}. Correct {_WHERE}: it names the client, its secret or file, and the scope")
