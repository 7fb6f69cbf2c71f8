"""aiomqtt's client, for a publisher with many messages in flight."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import aiomqtt
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headrace.config.connect import Mqtt
from headrace.identity.tls import client_context

_KEEPALIVE_SECONDS = 15
_CORRELATION_BYTES = 8


class Connection(aiomqtt.Client):
    """aiomqtt's client, with two things that it hides: the broker's limits, and the reason in each acknowledgement.

    aiomqtt's own `publish` searches all pending calls for each message. Here the caller keeps the window.
    `acknowledged` gets packet id and reason code, `received` the number and the content of a receipt. `lost` is set
    when the connection ends.
    """

    def __init__(
        self,
        cfg: Mqtt,
        client_id: str,
        version: Literal[4, 5],
        acknowledged: Callable[[int, int], None],
        received: Callable[[int, dict[str, Any]], None],
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
            max_inflight_messages=0,  # the caller keeps the window
            tls_context=client_context(cfg.tls, "mqtt.tls"),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # else small windows wait 40 ms for Nagle
        )
        self.receive_maximum = 65_535
        self.packet_maximum = 268_435_455
        self._acknowledged = acknowledged
        self._received = received
        self._lost = lost
        self._asking = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]

    def hand_over(self, topic: str, payload: bytes, receipts: str = "", number: int = 0) -> int:
        """Give a message to the socket. Returns its packet id: `acknowledged(id, reason)` follows.

        With a `number`, which needs MQTT 5, the message asks for a receipt on the topic `receipts`.
        """
        properties = None
        if number:
            properties = self._asking  # made once: making it costs more than the rest of a publish
            properties.ResponseTopic = receipts
            properties.CorrelationData = number.to_bytes(_CORRELATION_BYTES, "big")
        return self._client.publish(topic, payload, qos=1, properties=properties).mid

    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._disconnected.done()

    def why(self) -> str:
        """Why the connection ended, for people."""
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

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        correlation = getattr(message.properties, "CorrelationData", b"")
        with suppress(ValueError):  # anyone may have published it
            receipt = orjson.loads(message.payload)
            if isinstance(receipt, dict):
                self._received(int.from_bytes(correlation, "big"), receipt)

    def _ended(self, future: "asyncio.Future[None]") -> None:
        if not future.cancelled():
            future.exception()  # read, so that asyncio does not report it as never retrieved
        self._lost.set()
