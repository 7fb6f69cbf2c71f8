"""MQTT 5 packets: how ours are written, and what the broker's answers mean. The only file that imports the codec.

The codec `mqtt5` does no input or output. MQTT 5: https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import mqtt5
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    DisconnectReasonCode,
    Packet,
    PingRespPacket,
    PublishPacket,
    SubAckPacket,
    SubAckReasonCode,
    UnsubAckPacket,
    UnsubAckReasonCode,
)

from headrace.errors import ConfigError, FatalError, HeadraceError, TransientError
from headrace.mqtt.frames import Frames

__all__ = [
    "ConnAckPacket",
    "DisconnectPacket",
    "Packet",
    "PingRespPacket",
    "PublishPacket",
    "SubAckPacket",
    "UnsubAckPacket",
]

MAX_TOPIC_AND_PROPERTIES = 128 * 1024  # bytes of a PUBLISH packet beside its payload
MAX_SUBSCRIPTION_ID = 268_435_455
_PUBACK = struct.Struct(">HH")
_PUBACK_TYPE = 0x4002  # PUBACK with two bytes to follow: reason code and properties left out mean success
AT_LEAST_ONCE = mqtt5.QoS.AT_LEAST_ONCE  # `packet.qos is` it: much faster than `int(packet.qos) == 1`
# The codec's codes look like an IntEnum to a type checker, but cannot be hashed or ordered: they are compared as ints.
_REMEDIES = {
    int(ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD): "set mqtt.username and mqtt.password",
    int(ConnAckReasonCode.NOT_AUTHORIZED): "set mqtt.username and mqtt.password, or let the user in at the broker",
    int(ConnAckReasonCode.CLIENT_ID_NOT_VALID): "choose another client id",
    int(ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION): "the broker must speak MQTT 5",
    int(ConnAckReasonCode.BAD_AUTHENTICATION_METHOD): "the broker must take a username and password, or nothing",
    int(ConnAckReasonCode.BANNED): "the broker has banned this client",
    int(ConnAckReasonCode.PACKET_TOO_LARGE): "the broker does not take so large a packet",
}
_TRY_AGAIN = (SubAckReasonCode.PACKET_ID_IN_USE, SubAckReasonCode.QUOTA_EXCEEDED)


@dataclass(frozen=True, slots=True)
class Session:
    """What the client asks of the broker for the session. Sizes in bytes, times in seconds."""

    client_id: str
    expiry: int
    keepalive: int
    receive_maximum: int  # messages of QoS 1 in flight: the broker sends no more until some are acknowledged
    max_payload: int

    @property
    def max_packet(self) -> int:
        """Bytes of the largest packet that the broker may send."""
        return self.max_payload + MAX_TOPIC_AND_PROPERTIES


@dataclass(frozen=True, slots=True)
class Subscription:
    """A filter and the identifier that its messages will carry, 1 to MAX_SUBSCRIPTION_ID.

    A message with the retain flag is a copy that the broker had kept. It comes once, when the subscription is new.

    `live`: for a reader that may miss messages: QoS 0. The flag is as it was published, and what the broker has kept
    comes each time.
    """

    filter: str
    identifier: int
    live: bool = False


class Terms(NamedTuple):
    """What the broker has granted in its CONNACK. Times in seconds."""

    session_present: bool
    session_expiry: int
    keepalive: int
    identifiers: bool  # whether it takes subscription identifiers
    sharing: bool  # whether it takes shared subscriptions


def frames(session: Session) -> Frames[Packet]:
    """Cuts the broker's bytes into packets."""
    return Frames(mqtt5.read, session.max_packet)


def connect(session: Session, username: str | None, password: bytes | None) -> bytes:
    """CONNECT: the session is taken up where it was left."""
    return mqtt5.ConnectPacket(
        session.client_id,
        username=username,
        password=password,
        clean_start=False,
        keep_alive=session.keepalive,
        session_expiry_interval=session.expiry,
        receive_max=session.receive_maximum,
        max_packet_size=session.max_packet,
    ).write()


def subscribe(packet_id: int, subscription: Subscription, *, identifiers: bool) -> bytes:
    """SUBSCRIBE at QoS 1, or 0. The subscription's identifier goes along where the broker takes `identifiers`."""
    live, handling = subscription.live, mqtt5.RetainHandling
    one = mqtt5.TopicFilter(
        subscription.filter,
        max_qos=mqtt5.QoS.AT_MOST_ONCE if live else mqtt5.QoS.AT_LEAST_ONCE,
        retain_as_published=live,
        retain_handling=handling.SEND_ALWAYS if live else handling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
    )
    return mqtt5.SubscribePacket(
        packet_id, [one], subscription_id=subscription.identifier if identifiers else None
    ).write()


def unsubscribe(packet_id: int, filters: list[str]) -> bytes:
    """UNSUBSCRIBE from some filters."""
    return mqtt5.UnsubscribePacket(packet_id, filters).write()


def publish(topic: str, payload: bytes, correlation: bytes | None) -> bytes:
    """PUBLISH at QoS 0, for `Connection.send`. The topic must be one that may be published to."""
    return mqtt5.PublishPacket(topic, payload, correlation_data=correlation).write()


def forget(topic: str) -> bytes:
    """PUBLISH that has the broker forget the retained message of a topic."""
    return mqtt5.PublishPacket(topic, b"", retain=True).write()


def pubacks(packet_ids: Iterable[int]) -> bytes:
    """A PUBACK for each packet id, all of them success."""
    return b"".join([_PUBACK.pack(_PUBACK_TYPE, i) for i in packet_ids])


def ping() -> bytes:
    """PINGREQ."""
    return mqtt5.PingReqPacket().write()


def disconnect(session_expiry: int) -> bytes:
    """DISCONNECT; the broker then keeps the session for as many seconds, 0: not at all."""
    return mqtt5.DisconnectPacket(session_expiry_interval=session_expiry).write()


def terms(answer: ConnAckPacket, session: Session, where: str) -> Terms:
    """What the broker grants. `where` begins each error: "MQTT broker HOST:PORT".

    ConfigError: it refuses the client for good, or lacks what a lossless reader needs. TransientError: it is busy.
    """
    if answer.reason_code != ConnAckReasonCode.SUCCESS:
        why = f"{where} refuses the client: {_words(answer)}"
        remedy = _REMEDIES.get(int(answer.reason_code))
        raise TransientError(why) if remedy is None else ConfigError(f"{why}; {remedy}")
    if answer.max_qos == mqtt5.QoS.AT_MOST_ONCE:
        raise ConfigError(f"{where} has QoS 0 only: a reading could be lost. Allow QoS 1 at the broker")
    if not answer.wildcard_subscription_available:
        raise ConfigError(f"{where} takes no filters with wildcards. Allow them at the broker")
    expiry, keepalive = answer.session_expiry_interval, answer.server_keep_alive
    return Terms(
        session_present=answer.session_present,
        session_expiry=session.expiry if expiry is None else expiry,
        keepalive=session.keepalive if keepalive is None else keepalive,
        identifiers=answer.subscription_id_available,
        sharing=answer.shared_subscription_available,
    )


def check_granted(answer: SubAckPacket, subscription: Subscription | None) -> None:
    """Return where the broker grants the subscription that `answer` is for. None: none was asked for.

    ConfigError: it refuses, or grants QoS 0 only. TransientError: it may grant the same later.
    """
    if subscription is None or not answer.reason_codes:
        raise TransientError(
            f"the MQTT broker sent a SUBACK for packet {answer.packet_id}, which is not a subscription"
        )
    code = answer.reason_codes[0]
    if code == SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE and not subscription.live:
        raise ConfigError(f"the MQTT broker grants QoS 0 only for {subscription.filter!r}: a reading could be lost")
    if int(code) >= int(SubAckReasonCode.UNSPECIFIED_ERROR):
        why = f"the MQTT broker refuses the subscription {subscription.filter!r}: {_code(code)}"
        if code in _TRY_AGAIN:
            raise TransientError(why)
        raise ConfigError(f"{why}. Let this user read it at the broker, or change the route")


def check_dropped(answer: UnsubAckPacket) -> None:
    """Return where the broker has dropped the subscriptions; FatalError where it refuses."""
    for code in answer.reason_codes:
        if int(code) >= int(UnsubAckReasonCode.UNSPECIFIED_ERROR):
            raise FatalError(f"the MQTT broker refuses to unsubscribe: {_code(code)}. Let this user do it there")


def ended(packet: DisconnectPacket, session: Session) -> HeadraceError:
    """The error for a connection that the broker ends: FatalError where another client took the session."""
    if packet.reason_code == DisconnectReasonCode.SESSION_TAKEN_OVER:
        return FatalError(
            f"another client took over the MQTT session {session.client_id!r}. Give each bridge a client id of its own"
        )
    return TransientError(f"the MQTT broker ended the connection: {_words(packet)}")


def _words(packet: ConnAckPacket | DisconnectPacket) -> str:
    return _code(packet.reason_code) + (f" ({packet.reason_str})" if packet.reason_str else "")


def _code(code: ConnAckReasonCode | DisconnectReasonCode | SubAckReasonCode | UnsubAckReasonCode) -> str:
    return f"{code.name.lower().replace('_', ' ')} (0x{int(code):02x})"
