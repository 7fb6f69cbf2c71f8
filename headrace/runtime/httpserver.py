"""A small HTTP server on a thread of its own, for health checks and metrics."""

import contextlib
import hmac
import ipaddress
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from headrace.errors import ConfigError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_LOOK_SECONDS = 0.5  # between two looks whether the thread should end, where nothing wakes it
_CLUSTER = (".svc", ".svc.cluster.local")


class Request(NamedTuple):
    """A request: the path with its query, the host without a port in small letters, and all headers."""

    target: str
    host: str
    headers: Message

    def bears(self, token: str) -> bool:
        """Whether `Authorization: Bearer` comes with this token."""
        return same(self.headers.get("Authorization", ""), f"Bearer {token}")


class Answer(NamedTuple):
    """The answer to a request: the status, the media type, the body, and further headers."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = _NO_HEADERS


Find = Callable[[Request], Answer]


class HttpServer:
    """Answers GET and HEAD with what `find` returns and with `headers`. `find` is called on several threads.

    The port is taken at once; requests are served between `with` and its end, and are not logged. Requests for a host
    that is not `known` are refused with status 421. ConfigError, ending with `remedy`, when the port can't be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        find: Find,
        remedy: str,
        headers: Mapping[str, str] = _NO_HEADERS,
        names: Collection[str] = (),
    ) -> None:
        own = frozenset(name.lower() for name in (host, *names))
        bound = {"find": staticmethod(find), "more_headers": headers, "names": own}
        try:
            self._server = ThreadingHTTPServer((host, port), type("Bound", (_Handler,), bound))
        except OSError as e:
            raise ConfigError(f"can't listen on {host}:{port}: {e.strerror}. {remedy}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="http", daemon=True
        )

    @property
    def port(self) -> int:
        """The port listened on, also where 0 was asked for."""
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, on Linux
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def same(given: str, wanted: str) -> bool:
    """Whether two secrets are the same. The time that it takes tells nothing of them."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def hostname(header: str) -> str:
    """The host of a Host header, in small letters and without its port: `[::1]` keeps its brackets."""
    host, bracket, _ = header.partition("]")
    return (host + bracket if bracket else host.partition(":")[0]).lower()


def known(host: str, names: Collection[str] = ()) -> bool:
    """Whether a request for `host`, as `hostname` gives it, may be meant for a server of ours.

    That is an IP address, a name without a dot (localhost, or a container's), a Service of a cluster, or one of
    `names`. Any other may belong to a site that had it resolved to this address, so that its page in somebody's browser
    reads what is served here (DNS rebinding).
    """
    if host in names or (host and "." not in host and ":" not in host) or host.endswith(_CLUSTER):
        return True
    return is_address(host)


def is_address(host: str) -> bool:
    """Whether the host of a URL is an IP address, with brackets or without."""
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    find: Find
    more_headers: Mapping[str, str]
    names: Collection[str]
    server: ThreadingHTTPServer
    protocol_version = "HTTP/1.1"
    server_version = "headrace"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def _answer(self, *, send_body: bool) -> None:
        host = hostname(self.headers.get("Host", ""))
        if known(host, self.names):
            answer = self.find(Request(self.path, host, self.headers))
        else:
            answer = Answer(421, "text/plain", b"This server does not answer to that name.\n")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in {**self.more_headers, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        """Probes, and an open page, ask every second or two: not logged."""
