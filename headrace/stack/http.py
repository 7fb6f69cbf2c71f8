"""Small requests to our own services on loopback, past any proxy."""

import http.client
import urllib.error
import urllib.request

from headrace.errors import TransientError

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, timeout: float = 2.0) -> bytes:
    """The body of a 200; TransientError else."""
    status, body = status_of(url, timeout)
    if status != 200:
        raise TransientError(f"{url}: HTTP {status}")
    return body


def status_of(url: str, timeout: float = 2.0) -> tuple[int, bytes]:
    """(status, body), whatever the status; TransientError when there is no answer."""
    try:
        with _OPENER.open(url, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()
    except (OSError, http.client.HTTPException) as e:
        raise TransientError(f"{url}: {getattr(e, 'reason', e)}") from None
