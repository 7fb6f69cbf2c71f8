"""Connect to an MQTT broker once, without a client library: does it answer, and does it accept a user?"""

import secrets
import socket
import ssl
from contextlib import ExitStack

from headrace.errors import TransientError


def connect(host: str, port: int, user: str | None, password: str | None, timeout: float = 2.0) -> None:
    """Connect with a clean session, and leave. TransientError, with the reason, when the broker refuses."""
    code = handshake(host, port, user, password, timeout)
    if code != 0:
        raise TransientError(f"MQTT {host}:{port} refuses the connection: reason code {code:#04x}")


def handshake(
    host: str,
    port: int,
    user: str | None,
    password: str | None,
    timeout: float = 2.0,
    *,
    client_id: str = "",
    tls: ssl.SSLContext | None = None,
) -> int:
    """The reason code of the broker's CONNACK (MQTT 5, section 3.2.2.2); 0 is success.

    `timeout` in seconds; `client_id`: random when empty. TransientError when no CONNACK comes.
    """

    def text(value: str) -> bytes:
        data = value.encode()
        return len(data).to_bytes(2, "big") + data

    flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = (
        text("MQTT")
        + bytes((5, flags))
        + (30).to_bytes(2, "big")
        + b"\0"
        + text(client_id or f"probe-{secrets.token_hex(6)}")
    )
    body += text(user) if user is not None else b""
    body += text(password) if password is not None else b""
    try:
        with ExitStack() as stack:
            s = stack.enter_context(socket.create_connection((host, port), timeout=timeout))
            if tls is not None:
                s = stack.enter_context(tls.wrap_socket(s, server_hostname=host))
            s.sendall(bytes((0x10, *_length(len(body)))) + body)
            answer = b""
            while len(answer) < 4 and (more := s.recv(256)):
                answer += more
            s.sendall(b"\xe0\x00")
    except OSError as e:
        raise TransientError(f"MQTT {host}:{port}: {e}") from None
    if len(answer) < 4 or answer[0] != 0x20:
        raise TransientError(f"MQTT {host}:{port}: no CONNACK: is something else listening there?")
    return answer[3]


def _length(count: int) -> bytes:
    """A length as MQTT writes it: seven bits a byte, the lowest first."""
    out = bytearray()
    while True:
        count, low = divmod(count, 128)
        out.append(low | (128 if count else 0))
        if not count:
            return bytes(out)
