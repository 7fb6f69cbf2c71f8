"""A way to the S3 server that can be shut: what the archive is about to store stays on its way."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Valve:
    """A TCP relay. Requests that match `shut` wait, unread by the server, until it is opened."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = host, int(port)
        self._shut: tuple[bytes, ...] = ()
        self._open = threading.Event()
        self._open.set()
        self.waiting = threading.Event()  # a request has met the shut valve
        self._sockets: list[socket.socket] = []
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def shut(self, *words: str) -> None:
        """Hold requests whose first line or headers have all of these words."""
        self.waiting.clear()
        self._open.clear()
        self._shut = tuple(w.encode() for w in words)

    def open(self) -> None:
        """Let all pass, those that wait first."""
        self._shut = ()
        self._open.set()

    def drop(self) -> None:
        """Let all pass from now on; those that wait never arrive."""
        for it in self._held:
            it.close()
        self.open()

    def close(self) -> None:
        self.open()
        for it in (self._listener, *self._sockets):
            it.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, requests: bool) -> None:
        try:
            while data := source.recv(65536):
                if requests and self._shut and all(w in data for w in self._shut):
                    self._held.append(sink)
                    self.waiting.set()
                    self._open.wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for it in (source, sink):
                it.close()


@contextmanager
def valve(target: str) -> Iterator[Valve]:
    """A valve before the server at `target`, host:port."""
    it = Valve(target)
    try:
        yield it
    finally:
        it.close()
