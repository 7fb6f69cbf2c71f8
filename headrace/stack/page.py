"""The status page and its data, read-only, on loopback: GET /api/status, and the files in page/."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from headrace.errors import ConfigError, HeadraceError

FOLDER = Path(__file__).with_name("page")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
# A page of another site must not read ours: no CORS header is ever sent, and a name that was pointed at 127.0.0.1
# (DNS rebinding) is told by its Host header.
NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A path, and what answers it with JSON, given the query's parameters.
Answers = Mapping[str, Callable[[dict[str, str]], Any]]


class Page:
    """Serves while entered. `answers` are called on the server's threads; their HeadraceErrors become 503s in words."""

    def __init__(self, port: int, answers: Answers, folder: Path = FOLDER) -> None:
        handler: type[_Handler] = type("Handler", (_Handler,), {"answers": dict(answers), "folder": folder, "port": 0})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
            handler.port = self.port
        except OSError as e:
            raise ConfigError(f"port {port} (page): {e.strerror}. Choose another with --port page=NUMBER") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.1), name="page", daemon=True)

    @property
    def port(self) -> int:
        """The port listened on, also where 0 was asked for."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    answers: Answers
    folder: Path
    port: int
    protocol_version = "HTTP/1.1"
    server_version = "headrace"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        status, kind, data = self._find()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _find(self) -> tuple[int, str, bytes]:
        host = self.headers.get("Host", "")
        if host.removesuffix(f":{self.port}") not in NAMES:
            return 421, "text/plain", b"This page answers to 127.0.0.1 and localhost only.\n"
        url = urlsplit(self.path)
        if url.path in self.answers:
            return self._json(self.answers[url.path], {k: v[-1] for k, v in parse_qs(url.query).items()})
        name = "index.html" if url.path == "/" else url.path.removeprefix("/")
        # One folder, no folders in it: a name, and nothing that leads elsewhere.
        path = self.folder / name
        if "/" in name or name.startswith(".") or path.suffix not in KINDS or not path.is_file():
            return 404, "text/plain", b"Not found.\n"
        return 200, KINDS[path.suffix], path.read_bytes()

    def _json(self, answer: Callable[[dict[str, str]], Any], query: dict[str, str]) -> tuple[int, str, bytes]:
        try:
            status, data = 200, answer(query)
        except HeadraceError as e:
            status, data = 503, {"error": str(e)}
        return status, "application/json", json.dumps(data).encode() + b"\n"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        """The page asks every second or two: not logged."""
