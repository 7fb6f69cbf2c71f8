"""A device's side of MQTT: publishes at QoS 1 with many messages in flight, on aiomqtt, as a real device might.

Every message is either acknowledged by the broker or sent again after a reconnection: at least once, in the order
of sending. A copy has the same topic and payload as the first, so it has the same event id and is stored once.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

import aiomqtt

from headrace.config.connect import Mqtt
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.tls import client_context

_WINDOW = 4000
_WINDOW_BYTES = 16 * 1024 * 1024
_KEEPALIVE_SECONDS = 15
_BREATHE = 64  # messages handed over before the loop may read acknowledgements
_REFUSED = 0x80  # reason codes from here on are failures (MQTT 5, section 2.4)
_NO_SUBSCRIBER = 0x10
_NOT_LET_IN = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C}  # version, client id, password, authorisation, ban, method


class Connection(aiomqtt.Client):
    """aiomqtt's client, with what it leaves out: the broker's limits, and the reason inside each acknowledgement.

    Its own `publish` looks through all pending calls for each message; here the caller keeps the window.
    """

    def __init__(
        self,
        cfg: Mqtt,
        client_id: str,
        version: Literal[4, 5],
        acknowledged: Callable[[int, int], None],
        lost: asyncio.Event,
    ) -> None:
        super().__init__(
            cfg.host,
            cfg.port,
            username=cfg.username,
            password=cfg.password.get_secret_value() if cfg.password else None,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion(version),
            keepalive=_KEEPALIVE_SECONDS,
            max_inflight_messages=0,  # the window is ours
            tls_context=client_context(cfg.tls, "mqtt.tls"),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # else small windows wait 40 ms for Nagle
        )
        self.receive_maximum = 65_535
        self.packet_maximum = 268_435_455
        self._acknowledged = acknowledged
        self._lost = lost

    def hand_over(self, topic: str, payload: bytes) -> int:
        """Give a message to the socket and return its packet id; `acknowledged(id, reason)` follows."""
        info = self._client.publish(topic, payload, qos=1)
        return info.mid

    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._disconnected.done()

    def why(self) -> str:
        """In words, why it ended."""
        error = self._disconnected.exception() if self._disconnected.done() else None
        return str(error or "closed").strip()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        self.receive_maximum = getattr(properties, "ReceiveMaximum", self.receive_maximum)
        self.packet_maximum = getattr(properties, "MaximumPacketSize", self.packet_maximum)
        super()._on_connect(client, userdata, flags, reason_code, properties)
        self._disconnected.add_done_callback(self._ended)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        super()._on_publish(client, userdata, mid, reason_code, properties)
        self._acknowledged(mid, int(reason_code.value))

    def _ended(self, future: "asyncio.Future[None]") -> None:
        if not future.cancelled():
            future.exception()  # read, so that asyncio does not report it as forgotten
        self._lost.set()


class Publisher:
    """An open connection of one device, or of a recording of many. An async context manager.

    `window` bounds the messages in flight, and so do the broker's Receive Maximum and a total of 16 MiB. After a lost
    connection it tries for `patience` seconds, then raises TransientError. `notify` gets a line when it waits.
    `version` is MQTT's protocol level: 4 is 3.1.1, whose acknowledgements say nothing of a refusal. `heard` gets topic
    and payload of each message that the broker has acknowledged as taken, in the order of the acknowledgements.
    """

    def __init__(
        self,
        cfg: Mqtt,
        client_id: str,
        *,
        window: int = _WINDOW,
        patience: float = 60.0,
        notify: Callable[[str], None] = lambda _: None,
        version: Literal[4, 5] = 5,
        heard: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.acknowledged = 0
        self.resent = 0
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
        self._pending: dict[int, tuple[str, bytes]] = {}
        self._wake = asyncio.Event()
        self._low = 0
        self._bytes = 0  # of the payloads in _pending
        self._since_breath = 0
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.drain()
        finally:
            await self._close()

    @property
    def in_flight(self) -> int:
        """Messages handed over and not yet acknowledged."""
        return len(self._pending)

    @property
    def payload_maximum(self) -> int:
        """The largest payload in bytes that the broker takes, less a margin for the topic and the header."""
        return self._connection.packet_maximum - 1024 if self._connection else 0

    async def send(self, topic: str, payload: bytes) -> None:
        """Hand a message over, waiting while the window is full. Raises TransientError when the broker stays away."""
        connection = await self._ready(self._window - 1)
        self._pending[connection.hand_over(topic, payload)] = (topic, payload)
        self._bytes += len(payload)
        self._since_breath += 1
        if self._since_breath >= _BREATHE:
            self._since_breath = 0
            await asyncio.sleep(0)

    async def drain(self) -> None:
        """Wait until every message handed over has been acknowledged."""
        await self._ready(0)

    async def _ready(self, most: int) -> Connection:
        """The live connection, once no more than `most` messages are in flight."""
        while True:
            connection = self._connection
            if connection is None or connection.is_lost():
                connection = await self._reconnect()
            if len(self._pending) <= most and self._bytes <= _WINDOW_BYTES:
                return connection
            # Not at every acknowledgement: waking for each would halve the rate.
            self._low = most // 2
            self._wake.clear()
            await self._wake.wait()

    def _on_acknowledged(self, packet_id: int, reason: int) -> None:
        message = self._pending.pop(packet_id, None)
        if message is None:
            return
        self._bytes -= len(message[1])
        self.acknowledged += 1
        if reason >= _REFUSED:
            self.refused[reason] = self.refused.get(reason, 0) + 1
        else:
            self.unheard += reason == _NO_SUBSCRIBER
            if self._heard is not None:
                self._heard(*message)
        if len(self._pending) <= self._low and self._bytes <= _WINDOW_BYTES // 2:
            self._wake.set()

    async def _reconnect(self) -> Connection:
        why = self._connection.why() if self._connection else "not connected"
        if "Packet too large" in why:
            raise FatalError(f"the broker refuses a message as too large and closed the connection: {why}")
        self._notify(f"lost the broker ({why}): connecting again, {len(self._pending)} messages to repeat")
        await self._close()
        connection = await self._connect()
        again = list(self._pending.values())
        self._pending.clear()
        self.resent += len(again)
        for topic, payload in again:
            self._pending[connection.hand_over(topic, payload)] = (topic, payload)
        return connection

    async def _connect(self) -> Connection:
        end = time.monotonic() + self._patience
        pause, told = 0.2, False
        while True:
            connection = Connection(self._cfg, self._client_id, self._version, self._on_acknowledged, self._wake)
            try:
                await connection.__aenter__()
            except aiomqtt.MqttError as e:
                where = f"{self._cfg.host}:{self._cfg.port}"
                code = getattr(getattr(e, "rc", None), "value", None)
                if code in _NOT_LET_IN:
                    raise ConfigError(
                        f"the MQTT broker at {where} does not let us in: {e}. Check mqtt.username and mqtt.password"
                    ) from None
                if time.monotonic() + pause > end:
                    raise TransientError(f"no MQTT broker at {where}: {e}") from None
                if not told:
                    self._notify(f"no MQTT broker at {where} ({e}): trying for {self._patience:.0f} s")
                    told = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, 3.0)
            else:
                self._connection = connection
                self._window = max(1, min(self._wanted_window, connection.receive_maximum))
                return connection

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(aiomqtt.MqttError):
                await connection.__aexit__(None, None, None)
