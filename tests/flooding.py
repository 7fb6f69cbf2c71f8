"""A device that publishes as fast as the broker takes it, without waiting for any answer."""

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

import mqtt5

_CONNACK_BYTES = 4


@dataclass
class Flood:
    """What to send. `sent`: bytes so far; `began`: when it did."""

    name: str
    password: str | None
    topic: str
    payload: bytes = bytes(4 * 1024 * 1024)
    qos: int = 1
    tls: ssl.SSLContext | None = None
    sent: int = 0
    began: float = field(default_factory=time.monotonic)

    def run(self, host: str, port: int, seconds: float) -> float | None:
        """Flood until the broker ends the connection, and return after how many seconds; None when it did not."""
        user, word = (None, None) if self.password is None else (self.name, self.password.encode())
        hello = mqtt5.ConnectPacket(self.name, username=user, password=word, clean_start=True)
        message = mqtt5.PublishPacket(
            self.topic, self.payload, qos=mqtt5.QoS(self.qos), packet_id=1 if self.qos else None
        ).write()
        burst = message * max(1, 65_536 // len(message))
        with socket.create_connection((host, port), 60) as plain, self._over(plain, host) as it:
            it.sendall(hello.write())
            assert len(it.recv(_CONNACK_BYTES)) == _CONNACK_BYTES
            threading.Thread(target=_drain, args=(it,), daemon=True).start()
            self.began = time.monotonic()
            while time.monotonic() - self.began < seconds:
                try:
                    it.sendall(burst)
                except OSError:
                    return time.monotonic() - self.began
                self.sent += len(burst)
        return None

    def _over(self, plain: socket.socket, host: str) -> socket.socket:
        return plain if self.tls is None else self.tls.wrap_socket(plain, server_hostname=host)


def _drain(it: socket.socket) -> None:
    """Read the answers: else the broker would stop to read."""
    with contextlib.suppress(OSError):
        while it.recv(65_536):
            pass
