"""Connections of devices that stay, with a password or a certificate: who is shut out has to lose them."""

import ssl
import tempfile
import time
from typing import NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from headrace.identity.ca import Pair

_SECONDS = 5.0


class Doors(NamedTuple):
    """Where devices connect: with passwords, and with certificates."""

    host: str
    passwords: int
    certificates: int


def context(pair: Pair) -> ssl.SSLContext:
    """A client that shows this certificate. Whom it speaks with is not what is tried."""
    out = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out.check_hostname, out.verify_mode = False, ssl.CERT_NONE
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pair.cert + pair.key)
        file.flush()
        out.load_cert_chain(file.name)
    return out


class Seat:
    """A connection of the device `name`. `harm`: what was done to the device since. `close` it at the end."""

    def __init__(self, doors: Doors, name: str, credential: str | Pair) -> None:
        self.name, self.harm = name, set[str]()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        if isinstance(credential, Pair):
            self._client.tls_set_context(context(credential))
            self._port = doors.certificates
        else:
            self._client.username_pw_set(name, credential)
            self._port = doors.passwords
        self._host = doors.host

    def take(self) -> bool:
        """Connect. False when the broker does not let it in: it may not have heard of the credential yet."""
        try:
            self._client.connect(self._host, self._port, keepalive=10)
        except OSError:
            return False
        self._client.loop_start()
        end = time.monotonic() + _SECONDS
        while not self._client.is_connected() and time.monotonic() < end:
            time.sleep(0.02)
        if not self.taken:
            self.close()
        return self.taken

    @property
    def taken(self) -> bool:
        """Whether it is connected still."""
        return self._client.is_connected()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()
