"""The registry of devices, asked over HTTP as commands and agents do."""

import contextlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from headrace.config.model import Hub as Settings
from headrace.errors import ConfigError, HeadraceError, TransientError
from headrace.identity.tls import context, refusal

_PAUSE_SECONDS = 0.2


class RefusedError(HeadraceError):
    """Hub does not do what it was asked: `status` is that of HTTP, `answer` its whole answer."""

    def __init__(self, status: int, message: str, answer: dict[str, Any]) -> None:
        super().__init__(message)
        self.status, self.answer = status, answer


class Hub:
    """Hub, as the section `hub` of the configuration names it. Holds no connection. ConfigError without a token."""

    def __init__(self, settings: Settings) -> None:
        if settings.token is None:
            raise ConfigError("hub.token: none is given. Give an API token of hub, or its file in hub.token_file")
        self._settings = settings
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
        if settings.url.startswith("https://"):
            handlers.append(urllib.request.HTTPSHandler(context=context(settings.tls, "hub.tls")))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, query: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """What hub answers; None where it says that nothing has changed (304). `query`: empty values are left out.

        TransientError while hub is away or overloaded; ConfigError when it refuses the token; RefusedError for all else
        that it refuses.
        """
        given = {k: v for k, v in (query or {}).items() if v not in {"", None}}
        return self._call("GET", path + (f"?{urlencode(given)}" if given else ""), None, timeout)

    def post(self, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """The same for a change. After a TransientError the change may have been made."""
        return self._call("POST", path, body, timeout)

    def patch(self, path: str, body: Any) -> Any:
        """The same."""
        return self._call("PATCH", path, body, None)

    def in_force(self, version: int, seconds: float) -> bool:
        """Wait up to `seconds` until the MQTT broker has this version of the passwords, or a newer one."""
        end = time.monotonic() + seconds
        while True:
            if self.get("/api/broker/version")["applied"] >= version:
                return True
            if time.monotonic() > end:
                return False
            time.sleep(_PAUSE_SECONDS)

    def _call(self, method: str, path: str, body: Any, timeout: float | None) -> Any:
        url = self._settings.url.rstrip("/") + path
        data = None if body is None else orjson.dumps(body)
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - http or https: checked
        try:
            with self._opener.open(request, timeout=timeout or self._settings.timeout_seconds) as response:
                return orjson.loads(response.read())
        except urllib.error.HTTPError as e:
            with e:
                return self._refused(e.code, e.read())
        except (OSError, http.client.HTTPException, ssl.SSLError) as e:
            if words := refusal(e, self._settings.tls, "hub.tls", "hub.url"):
                raise ConfigError(f"hub {self._settings.url}: {words}") from None
            raise TransientError(
                f"hub {self._settings.url}: {getattr(e, 'reason', e)}. Start it, or correct hub.url"
            ) from None
        except ValueError:
            raise ConfigError(f"{url}: the answer is not hub's. Correct hub.url") from None

    def _token(self) -> str:
        """The token as its file has it now: one of an identity provider is replaced before it expires."""
        assert self._settings.token is not None  # see __init__
        text = ""
        if self._settings.token_file is not None:
            with contextlib.suppress(OSError, ValueError):
                text = self._settings.token_file.read_text(encoding="utf-8").strip()
        return text or self._settings.token.get_secret_value()

    def _refused(self, status: int, body: bytes) -> None:
        if status == 304:
            return
        try:
            answer = orjson.loads(body)
            message = str(answer["error"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"hub {self._settings.url}: HTTP {status}, not hub's answer. Correct hub.url") from None
        if status in {401, 403}:
            raise ConfigError(f"hub {self._settings.url}: {message}. The token is that of hub.token")
        if status == 429 or status >= 500:
            raise TransientError(f"hub {self._settings.url}: {message}")
        raise RefusedError(status, message, answer)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to the server that it is for, and not where that may send us."""

    def redirect_request(self, *_: object) -> None:
        return


def device_path(device: str, *more: str) -> str:
    """The path of a device, or of what can be done with it."""
    return "/".join(["/api/devices", quote(device, safe=""), *more])
