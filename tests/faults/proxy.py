"""An HTTP proxy that misbehaves on demand, in front of the S3 server or the registry."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "te", "upgrade", "content-length"}
ERROR = b"<?xml version='1.0'?><Error><Code>%b</Code><Message>injected</Message></Error>"


class CutError(ConnectionError):
    """Raised by `seen` or `done`: the connection ends here."""


@dataclass
class Manners:
    """How the proxy treats requests of the given methods from now on; by default it passes everything on."""

    methods: tuple[str, ...] = ("PUT", "GET", "HEAD", "POST", "DELETE")
    errors: float = 0.0  # fraction answered 500 or 503, without being passed on
    cut: float = 0.0  # fraction whose connection is cut in the middle of the body
    mute: float = 0.0  # fraction that is passed on, but whose answer never comes back
    delay: float = 0.0  # seconds before a request is passed on
    slowness: float = 0.0  # further seconds, as a multiple of what the server itself took
    hang: bool = False  # nothing is answered until this is false
    met: int = 0  # requests that got other than good service
    seen: Callable[[str], None] = field(default=lambda _path: None)  # before passing on; CutError: it is not passed on
    done: Callable[[str], None] = field(default=lambda _path: None)  # after that, before answering; CutError: no answer


class Proxy:
    """A running proxy on 127.0.0.1:`port`. `manners` may be replaced at any time."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.upstream = (host, port)
        self.manners = Manners()
        self.dice = random.Random(seed)
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @contextmanager
    def behaving(self, manners: Manners) -> Iterator[None]:
        """Such manners for as long as the block lasts; AssertionError when no request met them."""
        self.manners = manners
        try:
            yield
        finally:
            self.manners = Manners()
            manners.hang = False
        assert manners.met, f"no request of {', '.join(manners.methods)} came"

    def close(self) -> None:
        """Stop answering."""
        self.manners = Manners()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextmanager
def proxy(host: str, port: int, seed: int = 0) -> Iterator[Proxy]:
    """A proxy to `host`:`port` for as long as the block lasts."""
    it = Proxy(host, port, seed)
    try:
        yield it
    finally:
        it.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ClassVar[Proxy]

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle_one_request()

    def do_GET(self) -> None:
        manners, proxy = self.proxy.manners, self.proxy
        apply = self.command in manners.methods
        dice = proxy.dice.random() if apply else 1.0
        length = int(self.headers.get("Content-Length") or 0)
        if apply and dice < manners.cut and length:
            manners.met += 1
            self.rfile.read(length // 2)
            self._drop()
            return
        body = self.rfile.read(length) if length else b""
        if apply and manners.cut <= dice < manners.cut + manners.errors:
            manners.met += 1
            self._answer(*((500, b"InternalError") if proxy.dice.random() < 0.5 else (503, b"SlowDown")))
            return
        manners.met += apply and (manners.hang or manners.delay > 0)
        while apply and manners.hang:
            time.sleep(0.05)
        began = time.monotonic()
        try:
            if apply:
                manners.seen(self.path)
                time.sleep(manners.delay)
                began = time.monotonic()
            status, headers, answer = self._pass_on(body)
            if apply:
                manners.done(self.path)
        except (OSError, http.client.HTTPException):
            self._drop()
            return
        if apply:
            time.sleep((time.monotonic() - began) * manners.slowness)
        if apply and 1.0 - dice < manners.mute:
            manners.met += 1
            self._drop()
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length_told = {n.lower(): v for n, v in headers}.get("content-length")
        self.send_header("Content-Length", length_told if self.command == "HEAD" and length_told else str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names that http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Nothing: thousands of lines help nobody."""

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """As it came, the Host header too: S3 signatures cover it."""
        upstream = http.client.HTTPConnection(*self.proxy.upstream, timeout=120)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    upstream.putheader(name, value)
            if body or self.headers.get("Content-Length") is not None:
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, code: bytes) -> None:
        text = ERROR % code
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _drop(self) -> None:
        """End the connection without a word."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
