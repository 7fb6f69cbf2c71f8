"""Whether a server listens on a port; listening oneself."""

import socket
from typing import Protocol

from headrace.errors import ConfigError


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a TCP connection to `port` of `host` is accepted within half a second."""
    try:
        with socket.create_connection((_reachable(host), port), timeout=0.5):
            return True
    except OSError:
        return False


class Place(Protocol):
    """A section of the configuration that says where to listen."""

    @property
    def host(self) -> str:
        """An address, or a name."""

    @property
    def port(self) -> int:
        """0: any free one."""


def listen(place: Place, where: str) -> socket.socket:
    """A socket that listens there. ConfigError, naming the section `where`, when it can't."""
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((place.host, place.port), family=family, backlog=512)
    except OSError as e:
        raise ConfigError(
            f"can't listen on {place.host}:{place.port}: {e.strerror}. Choose another {where}.host or {where}.port"
        ) from None


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound
