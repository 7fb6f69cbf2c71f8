"""A broker of a few lines on the mqtt5 codec, which can refuse, hold back, hang up, and play the bridge's receipts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import mqtt5

from headrace.config.connect import Mqtt


@dataclass
class Broker:
    hang_up_after: list[int] = field(default_factory=list)  # publishes, for each connection in turn; none: never
    unacknowledged: int = 0  # of a connection's last publishes before it hangs up
    receive_maximum: int = 65_535
    packet_maximum: int | None = None
    answer: mqtt5.ConnAckReasonCode = field(default_factory=lambda: mqtt5.ConnAckReasonCode.SUCCESS)
    reason: mqtt5.PubAckReasonCode = field(default_factory=lambda: mqtt5.PubAckReasonCode.SUCCESS)
    hold: int = 1  # acknowledge in batches of so many
    tell: Callable[[int], bytes | None] = lambda _: b'{"status":"stored"}'  # the receipt of the n-th publish
    grant: mqtt5.SubAckReasonCode = field(default_factory=lambda: mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE)
    subscribed: list[str] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    most_in_flight: int = 0
    got: list[tuple[str, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self.hang_up_after.pop(0) if self.hang_up_after else None
        data, waiting, count = bytearray(), list[int](), 0
        while chunk := await reader.read(65_536):
            data += chunk
            while True:
                try:
                    packet, size = mqtt5.read(memoryview(bytes(data)))
                except IndexError:
                    break
                del data[:size]
                if isinstance(packet, mqtt5.ConnectPacket):
                    writer.write(self._greeting())
                elif isinstance(packet, mqtt5.SubscribePacket):
                    self.subscribed.append(packet.topic_filters[0].pattern)
                    writer.write(mqtt5.SubAckPacket(packet.packet_id, [self.grant]).write())
                elif isinstance(packet, mqtt5.PublishPacket):
                    count += 1
                    assert packet.packet_id is not None
                    self.got.append((packet.topic, bytes(packet.payload or b"")))
                    if packet.response_topic and (told := self.tell(len(self.got))):
                        assert packet.response_topic == self.subscribed[-1]
                        receipt = mqtt5.PublishPacket(
                            packet.response_topic, told, correlation_data=packet.correlation_data
                        )
                        writer.write(receipt.write())
                    waiting.append(packet.packet_id)
                    self.most_in_flight = max(self.most_in_flight, len(waiting))
                    if limit is None or count <= limit - self.unacknowledged:
                        self._acknowledge(writer, waiting)
                    if count == limit:
                        writer.close()
                        return
            if not data:
                self._acknowledge(writer, waiting, all_=limit is None)
        writer.close()

    def _greeting(self) -> bytes:
        return mqtt5.ConnAckPacket(
            reason_code=self.answer, receive_max=self.receive_maximum, max_packet_size=self.packet_maximum
        ).write()

    def _acknowledge(self, writer: asyncio.StreamWriter, waiting: list[int], *, all_: bool = False) -> None:
        if all_ or len(waiting) >= self.hold:
            for packet_id in waiting:
                writer.write(mqtt5.PubAckPacket(packet_id, reason_code=self.reason).write())
            waiting.clear()


@asynccontextmanager
async def listening(broker: Broker) -> AsyncIterator[Mqtt]:
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield Mqtt(port=broker.port)
    finally:
        server.close()


def against(broker: Broker, act: Callable[[Mqtt], Awaitable[None]]) -> None:
    async def main() -> None:
        async with listening(broker) as mqtt:
            await act(mqtt)

    asyncio.run(main())
