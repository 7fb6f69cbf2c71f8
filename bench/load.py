"""Puts readings before what is measured: over MQTT as fast as the broker takes them or at a rate, or into Kafka."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator

import mqtt5

from headrace import kafka
from headrace.config.connect import Kafka, Mqtt
from headrace.mqtt.frames import Frames
from headrace.protocol.wire import Headers

WINDOW = 1000  # PUBLISH packets in flight
TICK = 0.005  # seconds between two looks at what is due
Message = tuple[str, bytes]  # topic, payload
Record = tuple[bytes, bytes, Headers]  # key, value, headers


class Sender:
    """A connection that publishes at QoS 1: written on the codec, so that it is not what limits."""

    def __init__(self, mqtt: Mqtt, name: str = "") -> None:
        self._mqtt, self._name = mqtt, name or f"bench-{os.getpid()}-{time.monotonic_ns()}"
        self.sent, self.acknowledged = 0, -1  # the CONNACK counts as the first

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._mqtt.host, self._mqtt.port)
        password = self._mqtt.password.get_secret_value().encode() if self._mqtt.password else None
        hello = mqtt5.ConnectPacket(self._name, username=self._mqtt.username, password=password, clean_start=True)
        self._writer.write(hello.write())
        self._frames = Frames(mqtt5.read, 1 << 20)
        await self.heard()

    async def heard(self) -> None:
        """Wait for acknowledgements."""
        data = await self._reader.read(1 << 16)
        if not data:
            raise ConnectionError("the broker hung up")
        self.acknowledged += len(self._frames.feed(data))

    def send(self, messages: list[Message]) -> None:
        """Write these, without waiting."""
        out = []
        for topic, payload in messages:
            number = self.sent % 60_000 + 1
            it = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number)
            out.append(it.write())
            self.sent += 1
        self._writer.write(b"".join(out))

    async def close(self) -> None:
        """Wait until all is acknowledged, and disconnect."""
        while self.acknowledged < self.sent:
            await self.heard()
        self._writer.write(mqtt5.DisconnectPacket().write())
        self._writer.close()


async def flood(mqtt: Mqtt, message: Callable[[int], Message], count: int) -> None:
    """Send `count` messages as fast as the broker takes them; returns when it has acknowledged all."""
    it = Sender(mqtt)
    await it.open()
    while it.acknowledged < count:
        room = min(count, it.acknowledged + WINDOW)
        if room > it.sent:
            it.send([message(i) for i in range(it.sent, room)])
        await it.heard()
    await it.close()


async def steady(mqtt: Mqtt, message: Callable[[int], Message], rate: int, seconds: float) -> int:
    """Send `rate` messages a second for so long, evenly. Returns how many: fewer where it did not keep up."""
    it = Sender(mqtt)
    await it.open()
    begun = time.monotonic()
    hearing = asyncio.create_task(_hear(it))
    while (passed := time.monotonic() - begun) < seconds:
        due = min(int(passed * rate), int(seconds * rate))
        if due > it.sent:
            it.send([message(i) for i in range(it.sent, due)])
        await asyncio.sleep(TICK)
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await it.close()
    return it.sent


async def _hear(it: Sender) -> None:
    while True:
        await it.heard()


def forget(mqtt: Mqtt, client_id: str) -> None:
    """End a client's session at the broker, with all that waits in it: connect as that client, with a clean start."""

    async def main() -> None:
        it = Sender(mqtt, client_id)
        await it.open()
        await it.close()

    asyncio.run(main())


def fill(cfg: Kafka, topic: str, records: Iterator[Record]) -> None:
    """Write records into a topic; returns when Kafka has them."""
    producer = kafka.producer(cfg, linger_ms=50)
    for i, (key, value, headers) in enumerate(records):
        while True:
            try:
                producer.produce(topic, value, key=key, headers=headers)  # type: ignore[arg-type]  # a list is invariant
                break
            except BufferError:  # the client's queue is full
                producer.poll(0.1)
        if i % 1000 == 0:
            producer.poll(0)
    while producer.flush(1.0):
        pass
