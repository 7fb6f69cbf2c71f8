"""A small HTTP server on a thread of its own: what health checks and the status page are served with."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from headrace.errors import ConfigError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_LOOK_SECONDS = 0.1  # how often the thread looks whether it should end


class Answer(NamedTuple):
    """What a request gets: the status, the media type, the body."""

    status: int
    kind: str
    body: bytes


# From the path with its query, and the host that was asked for, without this server's port.
Find = Callable[[str, str], Answer]


class HttpServer:
    """Answers GET and HEAD with what `find` gives, called on threads, and `headers`; nothing else, and logs nothing.

    Bound from the start, serves while entered. ConfigError, ending with `remedy`, where the port can't be had.
    """

    def __init__(self, host: str, port: int, find: Find, remedy: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        handler = type("Bound", (_Handler,), {"find": staticmethod(find), "more_headers": headers})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
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
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    find: Find
    more_headers: Mapping[str, str]
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
        host = self.headers.get("Host", "").removesuffix(f":{self.server.server_port}")
        status, kind, body = self.find(self.path, host)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.more_headers.items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        """Probes, and an open page, ask every second or two: not logged."""
