"""What every request passes first: the name that it calls hub by, and its size."""

import re
from collections.abc import Callable, Iterable

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import TransientError
from headrace.runtime.httpserver import is_address
from hub.refusal import RefusedError

SMALL, LARGE = 64 * 1024, 16 * 1024 * 1024  # bytes of a body
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_PORT = re.compile(r":\d{1,5}\Z")


class Guard:
    """Refuses a Host that is not ours (a page elsewhere whose name leads here: DNS rebinding) and bodies too large.

    `large`: the paths that take bodies of up to LARGE bytes, from those only whom `check`, given an address and an
    Authorization header, does not refuse: a body is read, and parsed, before anything else asks who calls.
    """

    def __init__(
        self, app: ASGIApp, names: Iterable[str], large: Iterable[str], check: Callable[[str, str], object]
    ) -> None:
        self._app, self._large, self._check = app, frozenset(large), check
        self._names = {"localhost", *(n.lower() for n in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        host = _PORT.sub("", headers.get(b"host", b"").decode("latin-1").lower())
        if host not in self._names and not is_address(host):
            what = (
                f"{host[:80]!r} is not this server's name. Call it by an IP address, or add the name to hub.serve.hosts"
            )
            await _refuse(send, 421, what)
            return
        most = SMALL
        if scope["path"] in self._large:
            most = LARGE
            who = (scope.get("client") or ("",))[0], headers.get(b"authorization", b"").decode("latin-1")
            try:
                await run_in_threadpool(self._check, *who)
            except (RefusedError, TransientError) as e:
                await _refuse(send, e.status if isinstance(e, RefusedError) else 503, str(e))
                return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            await _drain(receive)
            await _refuse(send, 413, f"the body has {length.decode('latin-1')} bytes; at most {most:,} are taken here")
            return

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in _HEADERS if h[0] not in given)]
            await send(message)

        await self._app(scope, _Counted(receive, most), closed)


class _Counted:
    """The body of a request, which ends as if the client had left when it becomes larger than announced or allowed."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else {"type": "http.disconnect"}


async def _drain(receive: Receive) -> None:
    """Take a body that is refused, as far as it is not huge: who still sends does not read an answer."""
    left = LARGE
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _refuse(send: Send, status: int, message: str) -> None:
    body = orjson.dumps({"error": message})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
               *_HEADERS, (b"connection", b"close")]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
