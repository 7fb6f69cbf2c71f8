"""A device's side of MQTT: publishes at QoS 1 with many messages in flight, on aiomqtt, as a real device might.

Each message is acknowledged by the broker, or sent again after a reconnection: at least once, in the order of sending.
A copy has the same topic and payload as the first, so it has the same event id and is stored once.

With receipts the bridge decides, not the broker: a message without a receipt is sent again, so it may come after later
messages.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

import aiomqtt

from headrace.config.connect import Mqtt
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.identity import tls
from headrace.simulation.client import Connection
from headrace.simulation.unreceipted import Unreceipted

_WINDOW = 4000
_WINDOW_BYTES = 16 * 1024 * 1024
_YIELD_EVERY = 64  # messages handed over before the event loop may read acknowledgements
_REFUSED = 0x80  # reason codes from here on are failures (MQTT 5, section 2.4)
_NO_SUBSCRIBER = 0x10
_NOT_ALLOWED = 0x87
_NEVER = {_NOT_ALLOWED, 0x90, 0x99}  # refused however often it is sent: not authorised, topic name, payload format
_LOOK_SECONDS = 0.5  # between two searches for messages to be sent again
_SAY_SECONDS = 30.0  # between two notifications about them
_NOT_ADMITTED = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C}  # version, client id, password, authorisation, ban, method


def complaints(unheard: int, refused: Mapping[int, int]) -> Iterator[str]:
    """What a person must know of acknowledged messages, in words: no subscriber got `unheard`; `refused` by code."""
    if unheard:
        yield f"the broker had no subscriber for {unheard:,} messages, so they are lost. Is the bridge running?"
    for code, n in refused.items():
        why = ": a device may publish on the topics of the routes that the broker knows" if code == _NOT_ALLOWED else ""
        yield f"the broker refused {n:,} messages (MQTT reason code 0x{code:02x}){why}"


class Publisher:
    """An open connection of one device, or of a recording of many devices. An async context manager.

    `client_id`: with receipts it is the device's own name, which the bridge finds in the topics.

    `window`: the most messages in flight; the broker's Receive Maximum and a total of 16 MiB limit them too. After a
    lost connection it tries for `patience` seconds, then raises TransientError. `notify` gets a line when it waits.
    `version`: MQTT's protocol level; 4 is MQTT 3.1.1, whose acknowledgements do not report refusals. `heard` gets topic
    and payload of each message that the broker has taken, in the order of the acknowledgements.

    With `receipts`, which need MQTT 5, a message is in flight until its receipt has come, and `heard` gets it then. A
    message that has no receipt after some seconds is sent again, until it has one. Receipts come to the topic of
    `prefix` and `client_id`.
    """

    def __init__(  # noqa: PLR0913 - each is a way to publish
        self,
        cfg: Mqtt,
        client_id: str,
        *,
        window: int = _WINDOW,
        patience: float = 60.0,
        notify: Callable[[str], None] = lambda _: None,
        version: Literal[4, 5] = 5,
        heard: Callable[[str, bytes], None] | None = None,
        receipts: bool = False,
        prefix: str = "receipts/",
    ) -> None:
        if receipts and (version != 5 or not prefix):
            raise ConfigError("receipts need MQTT 5, and a prefix in bridge.receipts")
        self.acknowledged = 0  # with receipts: messages whose receipt has come
        self.resent = 0
        self.dead_letters: dict[str, int] = {}  # by reason, as receipts say
        self.refused: dict[int, int] = {}  # by reason code
        self.unheard = 0  # acknowledged, but the broker had no subscriber for the topic
        self._cfg = cfg
        self._client_id = client_id
        self._wanted_window = window
        self._window = window
        self._patience = patience
        self._notify = notify
        self._version = version
        self._heard = heard
        self._receipts = f"{prefix}{client_id}" if receipts else ""
        self._unreceipted = Unreceipted()
        self._resending: asyncio.Task[None] | None = None
        self._pending: dict[int, tuple[str, bytes, int]] = {}  # by packet id; the number is 0 without receipts
        self._wake = asyncio.Event()
        self._low = 0
        self._bytes = 0  # of the payloads in _pending
        self._since_yield = 0
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        await self._connect()
        if self._receipts:
            self._resending = asyncio.create_task(self._resend())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.drain()
        finally:
            if self._resending is not None:
                self._resending.cancel()
                await asyncio.gather(self._resending, return_exceptions=True)
            await self._close()

    @property
    def in_flight(self) -> int:
        """Messages handed over and not yet acknowledged; with receipts, those without one."""
        return max(len(self._pending), len(self._unreceipted))

    @property
    def payload_maximum(self) -> int:
        """The largest payload that the broker takes, in bytes, less 1,024 for the topic and the header."""
        return self._connection.packet_maximum - 1024 if self._connection else 0

    async def send(self, topic: str, payload: bytes) -> None:
        """Hand a message over. Waits while the window is full. TransientError when the broker stays away."""
        connection = await self._ready(self._window - 1)
        self._hand_over(connection, topic, payload, self._unreceipted.add(topic, payload) if self._receipts else 0)
        self._since_yield += 1
        if self._since_yield >= _YIELD_EVERY:
            self._since_yield = 0
            await asyncio.sleep(0)

    async def drain(self) -> None:
        """Wait until every message handed over has been acknowledged; with receipts, until each has one."""
        await self._ready(0)

    def _hand_over(self, connection: Connection, topic: str, payload: bytes, number: int) -> None:
        packet_id = connection.hand_over(topic, payload, self._receipts, number)
        self._pending[packet_id] = (topic, payload, number)
        self._bytes += len(payload)

    async def _ready(self, most: int) -> Connection:
        """The open connection, once no more than `most` messages are in flight."""
        while True:
            connection = self._connection
            if connection is None or connection.is_lost():
                connection = await self._reconnect()
            if self.in_flight <= most and max(self._bytes, self._unreceipted.bytes) <= _WINDOW_BYTES:
                return connection
            # Not at every acknowledgement: waking for each would halve the rate.
            self._low = most // 2
            self._wake.clear()
            await self._wake.wait()

    def _on_acknowledged(self, packet_id: int, reason: int) -> None:
        message = self._pending.pop(packet_id, None)
        if message is None:
            return
        topic, payload, number = message
        self._bytes -= len(payload)
        if number:
            if reason in _NEVER and self._unreceipted.remove(number):
                self.refused[reason] = self.refused.get(reason, 0) + 1
        elif reason >= _REFUSED:
            self.acknowledged += 1
            self.refused[reason] = self.refused.get(reason, 0) + 1
        else:
            self.unheard += reason == _NO_SUBSCRIBER
            self._heard_of(topic, payload)
        self._wake_up()

    def _on_receipt(self, number: int, receipt: dict[str, Any]) -> None:
        message = self._unreceipted.remove(number)
        if message is None:
            return  # the receipt of a copy
        if receipt.get("status") == "dead-letter":
            reason = str(receipt.get("reason"))
            self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1
        self._heard_of(*message)
        self._wake_up()

    def _heard_of(self, topic: str, payload: bytes) -> None:
        self.acknowledged += 1
        if self._heard is not None:
            self._heard(topic, payload)

    def _wake_up(self) -> None:
        if self.in_flight <= self._low and max(self._bytes, self._unreceipted.bytes) <= _WINDOW_BYTES // 2:
            self._wake.set()

    async def _resend(self) -> None:
        """Send messages again whose receipt did not come in time, unless the broker has not acknowledged them yet."""
        said = 0.0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            under_way = {number for _, _, number in self._pending.values()}
            again = 0
            for number, topic, payload in self._unreceipted.due():
                connection = self._connection
                if number in under_way or connection is None or connection.is_lost():
                    continue
                if len(self._pending) >= self._window:
                    continue  # it will be due again
                self._hand_over(connection, topic, payload, number)
                again += 1
            self.resent += again
            if again and time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                self._notify(
                    f"{len(self._unreceipted)} messages have no receipt, {again} sent again. Is the bridge running?"
                )

    async def _reconnect(self) -> Connection:
        why = self._connection.why() if self._connection else "not connected"
        if "Packet too large" in why:
            raise FatalError(f"the broker refuses a message as too large and closed the connection: {why}")
        self._notify(f"lost the broker ({why}): connecting again, {len(self._pending)} messages to send again")
        await self._close()
        connection = await self._connect()
        again = list(self._pending.values())
        self._pending.clear()
        self._bytes = 0
        self.resent += len(again)
        for message in again:
            self._hand_over(connection, *message)
        return connection

    async def _connect(self) -> Connection:
        end = time.monotonic() + self._patience
        pause, said = 0.2, False
        while True:
            connection = Connection(
                self._cfg, self._client_id, self._version, self._on_acknowledged, self._on_receipt, self._wake
            )
            try:
                await connection.__aenter__()
                if self._receipts:
                    await self._listen(connection)
            except aiomqtt.MqttError as e:
                where = f"{self._cfg.host}:{self._cfg.port}"
                m, names = self._cfg, ("mqtt.tls", "mqtt.host")
                # aiomqtt says only that the connection is broken.
                if why := await asyncio.to_thread(tls.refused, e, m.host, m.port, m.tls, *names):
                    raise ConfigError(f"MQTT broker {where}: {why}") from None
                code = getattr(getattr(e, "rc", None), "value", None)
                if code in _NOT_ADMITTED:
                    raise ConfigError(
                        f"the MQTT broker at {where} refuses the connection: {e}. Check mqtt.username and mqtt.password"
                    ) from None
                if time.monotonic() + pause > end:
                    raise TransientError(f"no MQTT broker at {where}: {e}") from None
                if not said:
                    self._notify(f"no MQTT broker at {where} ({e}): trying for {self._patience:.0f} s")
                    said = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, 3.0)
            else:
                self._connection = connection
                self._window = max(1, min(self._wanted_window, connection.receive_maximum))
                return connection

    async def _listen(self, connection: Connection) -> None:
        try:
            granted: list[Any] = list(await connection.subscribe(self._receipts))
            if granted[0].value >= _REFUSED:
                raise ConfigError(f"the broker refuses the subscription to {self._receipts}: allow the user to read it")
        except BaseException:
            with suppress(aiomqtt.MqttError):
                await connection.__aexit__(None, None, None)
            raise

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(aiomqtt.MqttError):
                await connection.__aexit__(None, None, None)
