"""MQTT 5 for a reader that acknowledges by itself. Import it as `from headrace import mqtt`."""

from headrace.mqtt.connection import Connection
from headrace.mqtt.handshake import connect
from headrace.mqtt.packets import (
    AT_LEAST_ONCE,
    MAX_SUBSCRIPTION_ID,
    MAX_TOPIC_AND_PROPERTIES,
    PublishPacket,
    Session,
    Subscription,
    forget,
    publish,
)

__all__ = [
    "AT_LEAST_ONCE",
    "MAX_SUBSCRIPTION_ID",
    "MAX_TOPIC_AND_PROPERTIES",
    "Connection",
    "PublishPacket",
    "Session",
    "Subscription",
    "connect",
    "forget",
    "publish",
]
