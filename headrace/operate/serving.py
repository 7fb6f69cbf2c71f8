"""What a service for clients from outside listens on: HTTP and, where it has a certificate, HTTPS on another port.

The one file that imports uvicorn.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from headrace.config.model import ServeTls
from headrace.errors import ConfigError
from headrace.identity.tls import server_context
from headrace.runtime.health import Health
from headrace.runtime.sockets import listen

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0  # for the head of a request to come
BODY_SECONDS, BODY_BYTES = 20.0, 10_000  # in each such time of a body so much of it comes, or all that is left
_CONNECTIONS = 500
_LOOK_SECONDS = 30.0  # between two looks for a renewed certificate


class Settings(Protocol):
    """A section of the configuration that says where to listen."""

    @property
    def host(self) -> str:
        """An address, or a name."""

    @property
    def port(self) -> int:
        """0: any free one."""

    @property
    def tls(self) -> ServeTls:
        """The same for HTTPS, and the certificate."""


class Bell(Protocol):
    """What is told of the end, and may ask for it."""

    closed: bool

    def close(self) -> None:
        """It ends."""


class Listeners(NamedTuple):
    """Sockets that listen. `tls` and `encrypted` are None where there is no certificate."""

    plain: socket.socket
    encrypted: socket.socket | None
    tls: ssl.SSLContext | None


@contextlib.contextmanager
def listeners(settings: Settings, where: str) -> Iterator[Listeners]:
    """Listen, until the end of the block. `where`: the section's name.

    ConfigError for an address or a certificate that can't be used.
    """
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(listen(settings, where))
        tls = settings.tls
        if tls.cert_file is None or tls.key_file is None:
            yield Listeners(plain, None, None)
            return
        context = server_context(tls.cert_file, tls.key_file, f"{where}.tls")
        yield Listeners(plain, stack.enter_context(listen(tls, f"{where}.tls")), context)


async def serve(app: Any, tls: ServeTls, on: Listeners, bell: Bell, health: Health, end_seconds: int) -> None:
    """Answer requests until a signal, or until the bell is closed; then finish those under way, `end_seconds` at most.

    `app`: as ASGI has it. Renewed certificates of `tls` are taken.
    """
    main = uvicorn.Server(_config(app, end_seconds))
    servers, running = [main], [main.serve([on.plain])]
    tasks = []
    if on.encrypted is not None and on.tls is not None:
        config = _config(app, end_seconds)
        config.load()
        config.ssl = on.tls
        second = _Second(config)
        servers.append(second)
        running.append(second.serve([on.encrypted]))
        tasks.append(asyncio.create_task(_renewed(tls, on.tls)))
    for taken in (on.plain, on.encrypted):
        if taken is not None:
            host, port = taken.getsockname()[:2]
            log.info("serving", extra={"host": host, "port": port, "tls": taken is on.encrypted,
                                       "health_port": health.port})  # fmt: skip
    tasks.append(asyncio.create_task(_at_the_end(servers, bell, health)))
    try:
        await asyncio.gather(*running)
    finally:
        for task in tasks:
            task.cancel()


class _Second(uvicorn.Server):
    """A server beside another, which alone hears signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Impatient(H11Protocol):
    """Closes connections on which a request does not come, or only by drops: strangers could hold all of them."""

    _late: asyncio.TimerHandle | None = None
    _body = False  # whether that waits for a body
    _came = 0  # bytes of it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._hurry(HEAD_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        asked = self.cycle is not None and not self.cycle.response_complete
        coming = asked and self.cycle.more_body
        if asked and not coming:
            self._calm()
            self._body = False
        elif self._late is None or (coming and not self._body):
            self._hurry(*((BODY_SECONDS, self._drops) if coming else (HEAD_SECONDS, self.transport.close)))
            self._body, self._came = coming, 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def _drops(self) -> None:
        if self._came < BODY_BYTES or self.cycle.response_complete:
            self.transport.close()
        else:
            self._came = 0
            self._hurry(BODY_SECONDS, self._drops)

    def _hurry(self, seconds: float, then: Callable[[], None]) -> None:
        self._calm()
        self._late = self.loop.call_later(seconds, then)

    def _calm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _config(app: Any, end_seconds: int) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off",
        http=_Impatient, ws="none", limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=end_seconds,
    )  # fmt: skip


async def _at_the_end(servers: list[uvicorn.Server], bell: Bell, health: Health) -> None:
    """Say that the loop goes round; as soon as one is told to end, end all, and let those go who wait for a change."""
    while not bell.closed and not any(server.should_exit for server in servers):
        health.progress()
        await asyncio.sleep(0.1)
    for server in servers:
        server.should_exit = True
    bell.close()


async def _renewed(settings: ServeTls, context: ssl.SSLContext) -> None:
    """Have new connections see a renewed certificate. It never ends by itself."""
    assert settings.cert_file is not None
    assert settings.key_file is not None
    seen = _version(settings.cert_file)
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        now = _version(settings.cert_file)
        if now == seen:
            continue
        try:
            server_context(settings.cert_file, settings.key_file, "the renewed certificate")
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except (ConfigError, OSError) as e:  # the key may be replaced in a moment; then it is tried again
            log.warning("certificate not taken", extra={"error": str(e)})
        else:
            seen = now
            log.info("certificate renewed")


def _version(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_ino
