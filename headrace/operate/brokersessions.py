"""Ending the connections of devices whose certificate or key has ended: Mosquitto keeps them when it reads its files.

Whoever connects with the client id of a session takes its place, and the client id of a device is its name: its
listeners force that. So the agent connects, on the services' listener, with that id, and leaves. The device can't come
back: its certificate is refused by then.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from headrace.config.connect import Mqtt
from headrace.errors import TransientError
from headrace.identity.tls import client_context
from headrace.operate import mqttprobe
from headrace.operate.brokerfiles import replace, text_of
from headrace.protocol.names import is_identity

ENDING = "devices.ending"  # in the folder that the agent keeps
_SECONDS = 5.0


class Ending:
    """Whose connections are still to be ended: kept in a file, since the agent may die before it has done so."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / ENDING

    def names(self) -> set[str]:
        """All of them."""
        try:
            found = json.loads(text_of(self._file) or "[]")
            return {name for name in found if isinstance(name, str) and is_identity(name)}
        except (ValueError, TypeError):
            return set()

    def add(self, names: Iterable[str]) -> None:
        """Before the files change."""
        if more := self.names() | set(names):
            replace(self._file, json.dumps(sorted(more)))

    def done(self) -> None:
        """All of them are ended."""
        self._file.unlink(missing_ok=True)


def end(mqtt: Mqtt, names: Iterable[str]) -> None:
    """End the connection of each. TransientError when the broker does not let us: some may have been ended."""
    password = mqtt.password.get_secret_value() if mqtt.password is not None else None
    tls = client_context(mqtt.tls, "mqtt.tls")
    for name in sorted(names):
        code = mqttprobe.handshake(mqtt.host, mqtt.port, mqtt.username, password, _SECONDS, client_id=name, tls=tls)
        if code != 0:
            raise TransientError(
                f"the connection of {name} can't be ended: MQTT {mqtt.host}:{mqtt.port} refuses with {code:#04x}. Give "
                "the agent the login of the services in mqtt.username and mqtt.password"
            )
