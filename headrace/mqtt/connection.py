"""One connection of an MQTT session whose reader acknowledges by itself: on an asyncio stream.

The session outlives the connection: the client id is fixed, clean start is off, and the broker keeps what was not
acknowledged. Packet ids mean something on their own connection only, so a connection that is gone acknowledges nothing.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn

from headrace.errors import ConfigError, TransientError
from headrace.mqtt import packets
from headrace.mqtt.frames import Frames
from headrace.mqtt.packets import (
    DisconnectPacket,
    Packet,
    PingRespPacket,
    PublishPacket,
    Session,
    SubAckPacket,
    Subscription,
    Terms,
    UnsubAckPacket,
)
from headrace.protocol.sharing import SHARE

ANSWER_SECONDS = 30.0  # for SUBACK, UNSUBACK and PINGRESP
CLOSE_SECONDS = 2.0
CHUNK = 256 * 1024  # bytes read at once: what is handled before the event loop gets its turn
MAX_UNSENT = 4 * 1024 * 1024  # bytes that wait for a broker that does not read; `send` drops what comes on top
_LOOK_SECONDS = 1.0
_PING_SECONDS = 3.0  # at most: a broker that has stopped answering is noticed long before the keepalive
_TIDY_ID, _UNSUBSCRIBE_ID = 65_535, 65_534  # packet ids; SUBSCRIBEs count from 1


class Connection:
    """One connection. `receive` in a loop and run `keep_alive` beside it; both raise what ends it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        session: Session,
        terms: Terms,
        frames: Frames[Packet],
        early: list[Packet],  # that came with the CONNACK
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session
        self._frames = frames
        self._early = early
        self._asked: dict[int, Subscription] = {}  # packet id: SUBSCRIBE without its SUBACK
        self._asked_at = 0.0
        self._waiting_since: float | None = None  # for bytes of the broker; None while nobody reads
        self._unsubscribed = asyncio.Event()  # set by the answer to `unsubscribe`
        self._pings = self._pongs = 0  # sent, and answered
        self._pong = asyncio.Event()
        self.terms = terms
        self.keepalive: float = terms.keepalive
        self.hung_up = False  # whether the broker ended the connection without a word

    @property
    def subscribed(self) -> bool:
        """Whether the broker has granted every subscription asked for."""
        return not self._asked

    def subscribe(self, wanted: Iterable[Subscription], unwanted: Iterable[str] = ()) -> None:
        """Ask for subscriptions, then drop the filters `unwanted`. `receive` raises where one is refused.

        In this order a message that comes between the two may be sent twice; in the other it would be sent to nobody.
        ConfigError: the broker has no shared subscriptions.
        """
        out = []
        for packet_id, subscription in enumerate(wanted, 1):
            if subscription.filter.startswith(f"{SHARE}/") and not self.terms.sharing:
                raise ConfigError(
                    "the MQTT broker has no shared subscriptions. Allow them there, or leave bridge.shared_group empty"
                )
            self._asked[packet_id] = subscription
            out.append(packets.subscribe(packet_id, subscription, identifiers=self.terms.identifiers))
        dropped = list(unwanted)
        if dropped:
            out.append(packets.unsubscribe(_TIDY_ID, dropped))
        self._asked_at = _now()
        self._writer.write(b"".join(out))

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        """Drop subscriptions; returns when the broker has. What it queued before still comes: `receive` beside it.

        TransientError: no answer in time.
        """
        self._writer.write(packets.unsubscribe(_UNSUBSCRIBE_ID, list(filters)))
        await self._answered(self._unsubscribed, "the request to unsubscribe")

    async def ping(self, seconds: float = ANSWER_SECONDS) -> None:
        """Ask the broker whether it is there; `receive` beside it. Its answer says that it has read all sent before.

        TransientError: no answer in time. `seconds`: for all that the broker sends before it.
        """
        self._send_ping()
        mine = self._pings
        while self._pongs < mine:
            self._pong.clear()
            await self._answered(self._pong, "a ping", seconds)

    def _send_ping(self) -> None:
        self._pings += 1
        self._writer.write(packets.ping())

    async def _answered(self, answer: asyncio.Event, what: str, seconds: float = ANSWER_SECONDS) -> None:
        try:
            async with asyncio.timeout(seconds):
                await answer.wait()
        except TimeoutError:
            raise TransientError(f"the MQTT broker did not answer {what} within {seconds:.0f} s") from None

    async def receive(self) -> list[PublishPacket]:
        """The next messages, as many as have come; perhaps none.

        Not calling it is back-pressure: the broker's bytes wait in the socket. TransientError: the connection is over.
        FatalError: another client took the session. ConfigError: the broker refuses a subscription.
        """
        found, self._early = self._early, []
        if not found:
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
            found = self._frames.feed(data)
        return [p for p in found if isinstance(p, PublishPacket) or self._take(p)]

    def _take(self, packet: Packet) -> Literal[False]:
        """Deal with a packet that is not a message."""
        if isinstance(packet, SubAckPacket):
            packets.check_granted(packet, self._asked.pop(packet.packet_id, None))
        elif isinstance(packet, DisconnectPacket):
            raise packets.ended(packet, self._session)
        elif isinstance(packet, PingRespPacket):
            self._pongs += 1
            self._pong.set()
        elif isinstance(packet, UnsubAckPacket):
            if packet.packet_id == _UNSUBSCRIBE_ID:
                packets.check_dropped(packet)
                self._unsubscribed.set()
        else:
            raise TransientError(f"the MQTT broker sent an unexpected {type(packet).__name__}")
        return False

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Send the PUBACKs in one write. Nothing is sent once the connection is closed."""
        if not self._writer.is_closing():
            self._writer.write(packets.pubacks(packet_ids))

    def send(self, out: Sequence[bytes]) -> bool:
        """Send what `publish` made, in one write; False when it is dropped: the connection is closed, or clogged."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            return False
        self._writer.write(b"".join(out))
        return True

    @property
    def silent_seconds(self) -> float:
        """For how long `receive` has waited for any bytes of the broker, which answers pings at once."""
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
            if self._asked and self._waiting_since is not None and _now() - self._asked_at > ANSWER_SECONDS:
                filters = ", ".join(s.filter for s in self._asked.values())
                raise TransientError(f"the MQTT broker did not answer the subscription to {filters}")
            if _now() - pinged >= min(silence / 4.5, _PING_SECONDS):
                pinged = _now()
                self._send_ping()
        # The task that receives may be waiting for Kafka, and would not notice.
        raise TransientError("the connection to the MQTT broker broke")

    async def disconnect(self, *, forget: bool = False) -> None:
        """Say goodbye and close; the session stays in place for its full expiry. Messages still coming are dropped.

        With `forget` the session ends too, and with it everything that was not acknowledged.
        """
        if not self._writer.is_closing():
            self._writer.write(packets.disconnect(0 if forget else self._session.expiry))
            # To close with bytes unread would reset the connection, and the last PUBACKs could be lost on their way.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    while await self._reader.read(CHUNK):
                        pass
        self.abort()

    def abort(self) -> None:
        """Close at once, saying nothing. What was not acknowledged comes again on the next connection."""
        self._writer.transport.abort()


def _now() -> float:
    return asyncio.get_running_loop().time()
