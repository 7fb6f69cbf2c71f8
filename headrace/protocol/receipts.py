"""Delivery receipts: the topics that they may be published to.

The device names the topic, so it is checked: it must lie under the configured prefix and the device's own identity,
and have a form that no broker answers by ending the connection. The bridge itself must not read it: `bridge.receipts`
checks that.
"""

import re
from collections.abc import Mapping

from headrace.protocol.filters import CAPTURE

MAX_TOPIC = 200  # bytes
MAX_CORRELATION = 256  # bytes of MQTT 5 correlation data
# Up to eight levels: AWS IoT Core ends the connection of a client that publishes to more.
_TOPIC = re.compile(r"[A-Za-z0-9_.:@~-]+(/[A-Za-z0-9_.:@~-]+){0,7}\Z")


def allowed(topic: str, prefix: str, identity: str) -> bool:
    """Whether a receipt for what `identity` published may go to `topic`, if the bridge does not read it.

    An empty prefix, and an empty identity, allow none.
    """
    own = f"{prefix}{identity}"
    if not prefix or not identity or not (topic == own or topic.startswith(f"{own}/")):
        return False
    return len(topic) <= MAX_TOPIC and _TOPIC.match(topic) is not None


def fill(template: str, captures: Mapping[str, str]) -> str:
    """A route's receipt topic, `receipts/{device_id}`, for a message whose topic had these captures (checked ones)."""
    return CAPTURE.sub(lambda found: captures[found[1]], template)
