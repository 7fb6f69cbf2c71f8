"""Small requests to our own services on this machine, without any proxy."""

import base64
import http.client
import urllib.error
import urllib.request

from headrace.errors import TransientError

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def bearer(token: str) -> str:
    """An `authorization` with a token."""
    return f"Bearer {token}"


def basic(user: str, password: str) -> str:
    """An `authorization` with a password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def get(url: str, timeout: float = 2.0, authorization: str = "") -> bytes:
    """The body of an answer with status 200. TransientError for any other status, and when there is no answer."""
    status, body = status_of(url, timeout, authorization)
    if status != 200:
        raise TransientError(f"{url}: HTTP {status}")
    return body


def status_of(url: str, timeout: float = 2.0, authorization: str = "") -> tuple[int, bytes]:
    """(status, body), whatever the status; TransientError when there is no answer."""
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - by who calls
    try:
        with _OPENER.open(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()
    except (OSError, http.client.HTTPException) as e:
        raise TransientError(f"{url}: {getattr(e, 'reason', e)}") from None
