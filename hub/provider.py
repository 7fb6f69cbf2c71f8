"""The identity provider over HTTP: its page, its keys, its tokens."""

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from headrace.config.oidc import Oidc as Settings
from headrace.errors import TransientError
from headrace.identity import tls
from hub.refusal import RefusedError

_MAX_BYTES = 1024 * 1024
_WORDS = 300  # characters of what it says


class Provider:
    """The provider that the settings name. Each call is one request. ConfigError for TLS files that can't be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if settings.issuer.startswith("https://"):
            secured = tls.context(settings.tls, "hub.serve.oidc.tls")
            handlers.append(urllib.request.HTTPSHandler(context=secured))
        self._opener = urllib.request.build_opener(*handlers)

    def page(self) -> dict[str, Any]:
        """What it says of itself (OpenID Connect Discovery 1.0, section 4). TransientError: it is away, or another."""
        issuer = self._settings.issuer
        page = self.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if page.get("issuer") != issuer:
            raise TransientError(
                f"identity provider {issuer}: it calls itself {str(page.get('issuer'))[:200]!r}. Correct "
                "hub.serve.oidc.issuer, to the letter"
            )
        return page

    def address(self, page: Mapping[str, Any], name: str) -> str:
        """One of the URLs in its page. TransientError when it is not as safe as the provider's own."""
        issuer, url = self._settings.issuer, str(page.get(name, ""))
        if urlsplit(url).scheme not in {"https", urlsplit(issuer).scheme}:
            raise TransientError(f"identity provider {issuer}: its {name} is {url[:200]!r}, which is not https")
        return url

    def get(self, url: str) -> dict[str, Any]:
        """A JSON object. TransientError when there is none."""
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked
        status, page = self._ask(url, request)
        if status != 200:
            raise TransientError(f"identity provider {url}: HTTP {status}")
        return page

    def token(self, form: Mapping[str, str], secret: str) -> dict[str, Any]:
        """What it gives for a code (RFC 6749, section 4.1.3). RefusedError (401) with its words when it refuses.

        `secret`: of the client, by HTTP basic where the provider takes that; empty: the client has none.
        """
        page = self.page()
        url = self.address(page, "token_endpoint")
        client, headers = form["client_id"], {"Accept": "application/json"}
        if secret and "client_secret_basic" in page.get(
            "token_endpoint_auth_methods_supported", ["client_secret_basic"]
        ):
            both = f"{quote(client, safe='')}:{quote(secret, safe='')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(both).decode()}"
        elif secret:
            form = {**form, "client_secret": secret}
        request = urllib.request.Request(url, urlencode(form).encode(), headers)  # noqa: S310 - checked
        status, found = self._ask(url, request)
        if status == 200:
            return found
        words = " ".join(str(found[k]) for k in ("error", "error_description") if found.get(k))[:_WORDS]
        if status in {400, 401, 403}:
            raise RefusedError(401, f"the identity provider refuses the login: {words or f'HTTP {status}'}")
        raise TransientError(f"identity provider {url}: HTTP {status} {words}".rstrip())

    def _ask(self, url: str, request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
        where = f"identity provider {url}"
        try:
            with self._opener.open(request, timeout=self._settings.timeout_seconds) as answer:
                status, body = answer.status, answer.read(_MAX_BYTES)
        except urllib.error.HTTPError as e:
            with e:
                status, body = e.code, e.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as e:
            words = tls.refusal(e, self._settings.tls, "hub.serve.oidc.tls", "hub.serve.oidc.issuer")
            raise TransientError(f"{where}: {words or getattr(e, 'reason', e)}") from None
        try:
            page = orjson.loads(body)
        except ValueError:
            page = None
        if not isinstance(page, dict):
            if status == 200:
                raise TransientError(f"{where}: its answer is not a JSON object")
            page = {}
        return status, page


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys and tokens come from the server that is named, and not from where that may send us."""

    def redirect_request(self, *_: object) -> None:
        return
