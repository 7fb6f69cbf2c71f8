"""A proxy in front of Kafka that makes of it a broker that does not keep the metadata of offsets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from processors.group.commits import PROBE

_TEXT = PROBE.encode() + b"\0"  # confluent-kafka sends the zero at the end of a C string too
_COMPACT = b"\x81\x04" + _TEXT  # 513 as a varint: the length and one, as flexible versions of the protocol have it
_PLAIN = len(_TEXT).to_bytes(2, "big") + _TEXT


def strip(frame: bytes) -> bytes:
    """A Kafka answer (without its length) as it would be had the metadata been dropped."""
    return frame.replace(_COMPACT, b"\x01").replace(_PLAIN, b"\0\0")


def _requests(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _end(source, target)


def _answers(source: socket.socket, target: socket.socket) -> None:
    waiting = b""
    with suppress(OSError):
        while data := source.recv(65_536):
            waiting += data
            while len(waiting) >= 4 and len(waiting) >= 4 + (size := int.from_bytes(waiting[:4], "big")):
                frame, waiting = strip(waiting[4 : 4 + size]), waiting[4 + size :]
                target.sendall(len(frame).to_bytes(4, "big") + frame)
    _end(source, target)


def _end(*both: socket.socket) -> None:
    for one in both:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def stripping(listener: socket.socket, upstream: tuple[str, int]) -> Iterator[None]:
    """Pass on what comes to `listener`, a listening socket, for as long as the block lasts."""
    open_: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(upstream)
            open_.extend((client, server))
            threading.Thread(target=_requests, args=(client, server), daemon=True).start()
            threading.Thread(target=_answers, args=(server, client), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        _end(listener)
        listener.close()
        thread.join(5)
        for one in open_:
            one.close()
