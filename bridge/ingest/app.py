"""The HTTP side: who calls, how much, and in which words it is answered. An application as ASGI has it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import orjson

from bridge.ingest import messages
from bridge.ingest.floods import Floods
from bridge.ingest.logins import Logins
from bridge.ingest.posts import Posts
from bridge.ingest.refusal import RefusedError
from headrace.config.model import Ingest
from headrace.runtime.metrics import INGEST_REQUESTS

log = logging.getLogger(__name__)

PATH = "/readings"
_BODY_SECONDS = 30.0  # for a body to come
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Answer(NamedTuple):
    """An HTTP status, what the body says, and further headers."""

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...] = ()


class App:
    """Takes `POST /readings` and `POST /readings/TOPIC`."""

    def __init__(self, settings: Ingest, logins: Logins, posts: Posts) -> None:
        self._most = settings.max_body_bytes
        self._logins, self._posts = logins, posts
        self._floods = Floods(settings.requests_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return
        body = _Body(receive, self._most)
        try:
            answer = await self._answer(scope, body)
        except RefusedError as e:
            answer = _refusal(e)
            await body.drain()
        except _GoneError:
            return
        except Exception:
            log.exception("a request failed")
            answer = Answer(500, {"error": "ingest has failed here; its log says how"})
        INGEST_REQUESTS.labels(str(answer.status)).inc()
        data = orjson.dumps(answer.body) + b"\n"
        headers = [*_HEADERS, (b"content-length", b"%d" % len(data)), *answer.headers]
        if not body.whole:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def _answer(self, scope: Scope, body: "_Body") -> Answer:
        path: str = scope["path"]
        if path != PATH and not path.startswith(f"{PATH}/"):
            raise RefusedError(404, f"{path[:200]}: there is only POST {PATH} and POST {PATH}/TOPIC")
        if scope["method"] != "POST":
            raise RefusedError(405, f"{scope['method']}: POST what is to be stored")
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        address = (scope.get("client") or ("",))[0]
        login = self._logins.check(address, headers.get(b"authorization", ""))
        with self._floods.request(login.name):
            if headers.get(b"content-encoding", "identity").lower() != "identity":
                raise RefusedError(415, "a Content-Encoding is not taken. Send the body as it is")
            data = await body.read(headers.get(b"content-length", ""))
            asked = messages.read(path.removeprefix(PATH).removeprefix("/"), headers.get(b"content-type", ""), data)
            answers = await self._posts.take(login, asked.messages)
        refused = all(a["status"] == "refused" for a in answers)
        if refused:
            return Answer(403, {"error": answers[0]["detail"], **({"results": answers} if asked.several else {})})
        return Answer(200, {"results": answers} if asked.several else answers[0])


class _GoneError(Exception):
    """The client has left."""


class _Body:
    """The body of a request. `whole`: all of it was read."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._read = 0
        self.whole = False

    async def read(self, announced: str) -> bytes:
        """All of it. RefusedError: 413 when it is larger than allowed, 408 when it does not come."""
        if announced.isdigit() and int(announced) > self._most:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while not self.whole:
                    parts.append(await self._part())
                    if self._read > self._most:
                        raise self._too_large()
        except TimeoutError:
            raise RefusedError(408, f"the body has not come in {_BODY_SECONDS:.0f} s. Send it again", 1.0) from None
        return b"".join(parts)

    async def drain(self) -> None:
        """Drop what is left, as far as it is not huge: who still sends does not read an answer."""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while not self.whole and self._read <= 2 * self._most:
                    await self._part()
        except (TimeoutError, _GoneError):
            return

    async def _part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        part: bytes = message.get("body", b"")
        self._read += len(part)
        self.whole = not message.get("more_body", False)
        return part

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"the body has more than {self._most:,} bytes. Send it in parts")


def _refusal(error: RefusedError) -> Answer:
    more = []
    if error.again:
        more.append((b"retry-after", b"%d" % max(1, round(error.again))))
    if error.status == 401:
        more.append((b"www-authenticate", b'Basic realm="headrace"'))
    if error.status == 405:
        more.append((b"allow", b"POST"))
    return Answer(error.status, {"error": str(error)}, tuple(more))
