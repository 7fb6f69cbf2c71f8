"""MQTT 5 for a reader that acknowledges by itself: the `mqtt5` codec, imported here only, on an asyncio stream.

A `Connection` is one TCP or TLS connection. The session outlives it: the client id is fixed, clean start is off, and
the broker keeps what was not acknowledged. Packet ids mean something on their own connection only, so a connection
that is gone acknowledges nothing. MQTT 5: https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html
"""

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

import mqtt5
from mqtt5 import ConnAckReasonCode, DisconnectReasonCode, PublishPacket, SubAckReasonCode, UnsubAckReasonCode

from headrace import tls
from headrace.config.connect import Mqtt
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.frames import Frames
from headrace.sharing import SHARE

__all__ = ["Connection", "PublishPacket", "Session", "Subscription", "connect", "publish"]

CONNECT_SECONDS = 10.0
SUBSCRIBE_SECONDS = 30.0
CLOSE_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_PING_SECONDS = 3.0  # at most: a broker that has stopped answering is noticed long before the keepalive
CHUNK = 256 * 1024  # bytes read at once: what is handled before the event loop gets its turn
MAX_TOPIC_AND_PROPERTIES = 128 * 1024  # of a PUBLISH packet, beside its payload
MAX_SUBSCRIPTION_ID = 268_435_455
MAX_UNSENT = 4 * 1024 * 1024  # bytes that wait for a broker that does not read; `send` drops what comes on top
_TIDY_ID, _UNSUBSCRIBE_ID = 65_535, 65_534  # packet ids; SUBSCRIBEs count from 1
_PUBACK = struct.Struct(">HH")
_PUBACK_TYPE = 0x4002  # PUBACK with two bytes to follow: reason code and properties left out mean success
# The codec's codes look like an IntEnum to a type checker, and are neither hashable nor ordered: compared as ints here.
_REFUSED = {
    int(ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD): "set mqtt.username and mqtt.password",
    int(ConnAckReasonCode.NOT_AUTHORIZED): "set mqtt.username and mqtt.password, or let this user in at the broker",
    int(ConnAckReasonCode.CLIENT_ID_NOT_VALID): "choose another client id",
    int(ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION): "the broker must speak MQTT 5",
    int(ConnAckReasonCode.BAD_AUTHENTICATION_METHOD): "the broker must take a username and password, or nothing",
    int(ConnAckReasonCode.BANNED): "the broker has banned this client",
    int(ConnAckReasonCode.PACKET_TOO_LARGE): "the broker does not take so large a packet",
}


@dataclass(frozen=True, slots=True)
class Session:
    """What the client asks of the broker for the session. Sizes in bytes, times in seconds."""

    client_id: str
    expiry: int
    keepalive: int
    receive_maximum: int  # messages of QoS 1 in flight: the broker sends no more until some are acknowledged
    max_payload: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A filter and the identifier that its messages will carry, 1 to MAX_SUBSCRIPTION_ID."""

    filter: str
    identifier: int


def publish(topic: str, payload: bytes, correlation: bytes | None) -> bytes:
    """A PUBLISH packet of QoS 0, for `Connection.send`. The topic must be one that may be published to."""
    return mqtt5.PublishPacket(topic, payload, correlation_data=correlation).write()


async def connect(mqtt: Mqtt, session: Session) -> "Connection":
    """A connection whose CONNACK has come.

    TransientError: the broker is away, busy, or does not answer. ConfigError: it refuses us, or TLS can't be set up.
    """
    context = tls.client_context(mqtt.tls, "mqtt.tls")
    where = f"MQTT broker {mqtt.host}:{mqtt.port}"
    writer = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(mqtt.host, mqtt.port, ssl=context, limit=CHUNK)
            connection = Connection(reader, writer, session)
            await connection.introduce(mqtt, where)
    except TimeoutError:
        error: Exception = TransientError(f"{where}: no answer within {CONNECT_SECONDS:.0f} s; {_expected(mqtt)}")
    except (ConfigError, TransientError) as e:
        error = e
    except (ConnectionResetError, ssl.SSLError) as e:
        refused = await asyncio.to_thread(_refused, e, mqtt)
        words = f"it broke off ({e.strerror or e}); {_expected(mqtt)}"
        error = ConfigError(f"{where}: {refused}") if refused else TransientError(f"{where}: {words}")
    except OSError as e:  # asyncio's own words for it repeat the address
        why = os.strerror(e.errno) if e.errno and e.errno > 0 else e.strerror or e
        error = TransientError(f"{where}: {why}. Start it, or correct mqtt.host and mqtt.port")
    except BaseException:
        if writer is not None:
            writer.transport.abort()
        raise
    else:
        return connection
    if writer is not None:
        writer.transport.abort()
    raise error from None


class Connection:
    """One connection of the session. `receive` in a loop and run `keep_alive` beside it; both raise what ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session
        self._frames = Frames(mqtt5.read, session.max_payload + MAX_TOPIC_AND_PROPERTIES)
        self._early: list[mqtt5.Packet] = []  # came in the same bytes as the CONNACK
        self._asked: dict[int, Subscription] = {}  # packet id: SUBSCRIBE without its SUBACK
        self._asked_at = 0.0
        self._waiting_since: float | None = None  # for bytes of the broker; None while nobody reads
        self.keepalive = session.keepalive
        self._unsubscribed = asyncio.Event()  # set by the answer to `unsubscribe`
        self._pings = self._pongs = 0  # sent, and answered
        self._pong = asyncio.Event()
        self.hung_up = False  # whether the broker ended the connection without a word
        self.session_present = False
        self.session_expiry = session.expiry
        self.identifiers = True  # whether the broker takes subscription identifiers
        self.sharing = True  # whether it takes shared subscriptions

    @property
    def subscribed(self) -> bool:
        """Whether the broker has granted every subscription asked for."""
        return not self._asked

    async def introduce(self, mqtt: Mqtt, where: str) -> None:
        """Send CONNECT and take the CONNACK. `connect` does it."""
        s = self._session
        packet = mqtt5.ConnectPacket(
            s.client_id,
            username=mqtt.username,
            password=mqtt.password.get_secret_value().encode() if mqtt.password else None,
            clean_start=False,
            keep_alive=s.keepalive,
            session_expiry_interval=s.expiry,
            receive_max=s.receive_maximum,
            max_packet_size=s.max_payload + MAX_TOPIC_AND_PROPERTIES,
        )
        self._writer.write(packet.write())
        while not self._early:
            data = await self._reader.read(CHUNK)
            if not data:
                raise TransientError(f"{where}: it closed the connection without an answer; {_expected(mqtt)}")
            self._early = self._frames.feed(data)
        answer = self._early.pop(0)
        if not isinstance(answer, mqtt5.ConnAckPacket):
            raise TransientError(f"{where}: it answered with {type(answer).__name__} and not with a CONNACK")
        self._accept(answer, where)

    def _accept(self, answer: mqtt5.ConnAckPacket, where: str) -> None:
        code = int(answer.reason_code)
        if code != ConnAckReasonCode.SUCCESS:
            why = f"{where} refuses the client: {_words(answer.reason_code)}" + (
                f" ({answer.reason_str})" if answer.reason_str else ""
            )
            if code in _REFUSED:
                raise ConfigError(f"{why}; {_REFUSED[code]}")
            raise TransientError(why)
        if answer.max_qos == mqtt5.QoS.AT_MOST_ONCE:
            raise ConfigError(f"{where} has QoS 0 only: a reading could be lost. Allow QoS 1 at the broker")
        if not answer.wildcard_subscription_available:
            raise ConfigError(f"{where} takes no filters with wildcards. Allow them at the broker")
        self.session_present = answer.session_present
        self.session_expiry = (
            self._session.expiry if answer.session_expiry_interval is None else answer.session_expiry_interval
        )
        self.keepalive = self._session.keepalive if answer.server_keep_alive is None else answer.server_keep_alive
        self.identifiers = answer.subscription_id_available
        self.sharing = answer.shared_subscription_available

    def subscribe(self, wanted: Iterable[Subscription], unwanted: Iterable[str] = ()) -> None:
        """Ask for subscriptions at QoS 1, then drop the filters `unwanted`. `receive` raises where one is refused.

        In this order: a message that comes between is perhaps sent twice, and would otherwise be sent to nobody.
        ConfigError: the broker has no shared subscriptions.
        """
        out = []
        for packet_id, subscription in enumerate(wanted, 1):
            if subscription.filter.startswith(f"{SHARE}/") and not self.sharing:
                raise ConfigError(
                    "the MQTT broker has no shared subscriptions. Allow them there, or empty bridge.shared_group"
                )
            self._asked[packet_id] = subscription
            one = mqtt5.TopicFilter(
                subscription.filter,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                retain_as_published=True,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            identifier = subscription.identifier if self.identifiers else None
            out.append(mqtt5.SubscribePacket(packet_id, [one], subscription_id=identifier).write())
        dropped = list(unwanted)
        if dropped:
            out.append(mqtt5.UnsubscribePacket(_TIDY_ID, dropped).write())
        self._asked_at = _now()
        self._writer.write(b"".join(out))

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        """Drop subscriptions; returns when the broker has. What it queued before still comes: `receive` beside it.

        TransientError: no answer in time.
        """
        self._writer.write(mqtt5.UnsubscribePacket(_UNSUBSCRIBE_ID, list(filters)).write())
        await self._answered(self._unsubscribed, "the wish to unsubscribe")

    async def ping(self) -> None:
        """Ask the broker whether it is there; `receive` beside it. It has then read all that was sent before.

        TransientError: no answer in time.
        """
        self._send_ping()
        mine = self._pings
        while self._pongs < mine:
            self._pong.clear()
            await self._answered(self._pong, "a ping")

    def _send_ping(self) -> None:
        self._pings += 1
        self._writer.write(mqtt5.PingReqPacket().write())

    async def _answered(self, answer: asyncio.Event, what: str) -> None:
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await answer.wait()
        except TimeoutError:
            raise TransientError(f"the MQTT broker did not answer {what} within {SUBSCRIBE_SECONDS:.0f} s") from None

    async def receive(self) -> list[PublishPacket]:
        """The next messages, as many as have come; perhaps none.

        Not calling it is back-pressure: the broker's bytes wait in the socket. TransientError: the connection is over.
        FatalError: another client took the session. ConfigError: the broker refuses a subscription.
        """
        packets, self._early = self._early, []
        if not packets:
            self._waiting_since = _now()
            try:
                data = await self._reader.read(CHUNK)
            except OSError as e:
                self.hung_up = True
                raise TransientError(f"the connection to the MQTT broker broke: {e.strerror or e}") from None
            finally:
                self._waiting_since = None
            if not data:
                self.hung_up = True
                raise TransientError("the MQTT broker closed the connection")
            packets = self._frames.feed(data)
        return [p for p in packets if isinstance(p, PublishPacket) or self._take(p)]

    def _take(self, packet: mqtt5.Packet) -> Literal[False]:
        """Deal with a packet that is no message."""
        if isinstance(packet, mqtt5.SubAckPacket):
            self._granted(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            why = f"{_words(packet.reason_code)}" + (f" ({packet.reason_str})" if packet.reason_str else "")
            if packet.reason_code == DisconnectReasonCode.SESSION_TAKEN_OVER:
                raise FatalError(
                    f"another client took over the MQTT session {self._session.client_id!r}. Run one bridge a client id"
                )
            raise TransientError(f"the MQTT broker ended the connection: {why}")
        elif isinstance(packet, mqtt5.PingRespPacket):
            self._pongs += 1
            self._pong.set()
        elif isinstance(packet, mqtt5.UnsubAckPacket):
            self._dropped(packet)
        else:
            raise TransientError(f"the MQTT broker sent an unexpected {type(packet).__name__}")
        return False

    def _granted(self, packet: mqtt5.SubAckPacket) -> None:
        subscription = self._asked.pop(packet.packet_id, None)
        if subscription is None or not packet.reason_codes:
            raise TransientError(
                f"the MQTT broker sent a SUBACK for packet {packet.packet_id}, which asked for nothing"
            )
        code = packet.reason_codes[0]
        if code == SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE:
            raise ConfigError(f"the MQTT broker grants QoS 0 only for {subscription.filter!r}: a reading could be lost")
        if int(code) >= int(SubAckReasonCode.UNSPECIFIED_ERROR):
            why = f"the MQTT broker refuses the subscription {subscription.filter!r}: {_words(code)}"
            if code in (SubAckReasonCode.PACKET_ID_IN_USE, SubAckReasonCode.QUOTA_EXCEEDED):
                raise TransientError(why)
            raise ConfigError(f"{why}. Let this user read it at the broker, or change the route")

    def _dropped(self, packet: mqtt5.UnsubAckPacket) -> None:
        if packet.packet_id != _UNSUBSCRIBE_ID:
            return
        for code in packet.reason_codes:
            if int(code) >= int(UnsubAckReasonCode.UNSPECIFIED_ERROR):
                raise FatalError(f"the MQTT broker refuses to unsubscribe: {_words(code)}. Let this user do it there")
        self._unsubscribed.set()

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Send the PUBACKs in one write. Nothing is sent once the connection is closed."""
        if not self._writer.is_closing():
            self._writer.write(b"".join([_PUBACK.pack(_PUBACK_TYPE, i) for i in packet_ids]))

    def send(self, packets: Sequence[bytes]) -> bool:
        """Send what `publish` made, in one write; False when it is dropped: the connection is closed, or clogged."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            return False
        self._writer.write(b"".join(packets))
        return True

    @property
    def silent_seconds(self) -> float:
        """For how long somebody has waited in vain for anything from the broker; pings are answered at once."""
        return 0.0 if self._waiting_since is None else _now() - self._waiting_since

    async def keep_alive(self) -> NoReturn:
        """Ping until the connection is over. TransientError then, or when the broker is silent for 1.5 keepalives.

        While nobody receives, silence means nothing: pings go on, and the broker's answers wait in the socket.
        """
        silence = 1.5 * (self.keepalive or 60)
        pinged = _now()
        while not self._writer.is_closing():
            await asyncio.sleep(min(silence / 3, _LOOK_SECONDS))
            if self.silent_seconds > silence:
                raise TransientError(f"the MQTT broker was silent for {self.silent_seconds:.0f} s")
            if self._asked and self._waiting_since is not None and _now() - self._asked_at > SUBSCRIBE_SECONDS:
                filters = ", ".join(s.filter for s in self._asked.values())
                raise TransientError(f"the MQTT broker did not answer the subscription to {filters}")
            if _now() - pinged >= min(silence / 4.5, _PING_SECONDS):
                pinged = _now()
                self._send_ping()
        # Whoever should receive may be waiting for Kafka, and would not notice.
        raise TransientError("the connection to the MQTT broker broke")

    async def disconnect(self, *, forget: bool = False) -> None:
        """Say goodbye and close; the session stays in place for its full expiry. Messages still coming are dropped.

        With `forget` the session ends too, and with it everything that was not acknowledged.
        """
        if not self._writer.is_closing():
            expiry = 0 if forget else self._session.expiry
            self._writer.write(mqtt5.DisconnectPacket(session_expiry_interval=expiry).write())
            # To close with bytes unread would reset the connection, and the last PUBACKs could be lost on their way.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    while await self._reader.read(CHUNK):
                        pass
        self.abort()

    def abort(self) -> None:
        """Close at once, saying nothing. What was not acknowledged comes again on the next connection."""
        self._writer.transport.abort()


def _refused(error: OSError, mqtt: Mqtt) -> str:
    """Whose certificate is refused, and the remedy. A reset may have come before the broker's words: so a second look.

    Takes seconds, the first time.
    """
    if not mqtt.tls.enabled:
        return ""
    names = "mqtt.tls", "mqtt.host"
    return tls.refusal(error, mqtt.tls, *names) or tls.look(mqtt.host, mqtt.port, mqtt.tls, *names).refused


def _expected(mqtt: Mqtt) -> str:
    """What to ask oneself about a server that does not talk as expected."""
    return f"is this an MQTT 5 listener {'with' if mqtt.tls.enabled else 'without'} TLS? See mqtt.port and mqtt.tls"


def _words(code: ConnAckReasonCode | DisconnectReasonCode | SubAckReasonCode | UnsubAckReasonCode) -> str:
    return f"{code.name.lower().replace('_', ' ')} (0x{int(code):02x})"


def _now() -> float:
    return asyncio.get_running_loop().time()
