"""TLS in front of a server that has none: what a load balancer or an ingress does, with any certificate."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.secured.certs import Pair

HOST = "127.0.0.1"


class Front:
    """Listens on 127.0.0.1:`port` with TLS and passes on what comes to `upstream`, each connection on a thread."""

    def __init__(self, upstream: tuple[str, int], pair: Pair, client_ca: Path | None = None) -> None:
        self._upstream = upstream
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.cert, pair.key)
        if client_ca is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(client_ca)
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no further connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with contextlib.ExitStack() as stack, suppress(OSError):
            stack.callback(one.close)
            one.settimeout(20)
            client = stack.enter_context(self._context.wrap_socket(one, server_side=True))
            client.settimeout(None)
            server = stack.enter_context(socket.create_connection(self._upstream, timeout=20))
            server.settimeout(None)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def front(host: str, port: int, pair: Pair, client_ca: Path | None = None) -> Iterator[Front]:
    """TLS in front of `host`:`port` for as long as the block lasts; with `client_ca`, clients must show theirs."""
    it = Front((host, port), pair, client_ca)
    try:
        yield it
    finally:
        it.close()
