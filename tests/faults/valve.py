"""A way to the S3 server that can be shut: what the archive is about to store stays on its way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.proxy import CutError, Manners, Proxy, proxy


class Valve:
    """Holds PUTs whose path has a word, unread by the server, until it is opened."""

    def __init__(self, way: Proxy) -> None:
        self._way = way
        self._open = threading.Event()
        self._dropped = False
        self.waiting = threading.Event()  # a request has met the shut valve

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._way.port}"

    def shut(self, word: str) -> None:
        """Hold PUTs whose path has this word."""
        self.waiting.clear()
        self._open.clear()
        self._dropped = False
        self._way.manners = Manners(("PUT",), seen=lambda path: self._hold() if word in path else None)

    def open(self) -> None:
        """Let all pass, those that wait first."""
        self._way.manners = Manners()
        self._open.set()

    def drop(self) -> None:
        """Let all pass from now on; those that wait never arrive."""
        self._dropped = True
        self.open()

    def _hold(self) -> None:
        self.waiting.set()
        self._open.wait()
        if self._dropped:
            raise CutError


@contextmanager
def valve(target: str) -> Iterator[Valve]:
    """A valve before the server at `target`, host:port."""
    host, port = target.rsplit(":", 1)
    with proxy(host, int(port)) as way:
        it = Valve(way)
        try:
            yield it
        finally:
            it.open()
