"""Records to Kafka, and the broker's acknowledgements only when all that a message became is there.

Each MQTT connection has its own ack window (`Link`). A delivery report finishes a part of a message in the window that
the message came by; when that connection is gone, nothing is acknowledged, and the broker sends the message again.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from prometheus_client import Counter

from headrace import kafka
from headrace.ackwindow import AckWindow
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.metrics import BRIDGE_IN_FLIGHT, BRIDGE_RECEIPTS, BRIDGE_UNACKNOWLEDGED
from headrace.mqtt import Connection

QUEUE_RECORDS = 200_000  # in the Kafka client: beyond it the bridge stops reading
QUEUE_KIB = 128 * 1024  # likewise
_BATCH_BYTES = 1_000_000
_BATCH_MARGIN = 8 * 1024  # a batch over its topic's limit is refused whole
_POLL_SECONDS = 0.003  # between two polls while something is under way
_IDLE_SECONDS = 0.5
_ASK_SECONDS = 4.0

Done = tuple["Link | None", int, Counter, kafka.KafkaError | None]


class Promise(NamedTuple):
    """A receipt that leaves once its message's ticket is taken."""

    ticket: int
    packet: bytes  # empty: the device asked, and gets none
    qos0_records: int


class Link:
    """A connection, and its messages that are under way."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.window: AckWindow[int] = AckWindow()  # packet ids; 0 for a message of QoS 0 that asked for a receipt
        self.qos0_in_flight = 0  # records of those
        self._promises: deque[Promise] = deque()  # in the order of their tickets

    def promise(self, ticket: int, packet: bytes, qos0_records: int = 0) -> None:
        """Send a receipt, the bytes `packet`, when all parts of the ticket are finished, and of those before it.

        Promise in the order of the tickets, and before the window can be told that they are finished.
        """
        self.qos0_in_flight += qos0_records
        self._promises.append(Promise(ticket, packet, qos0_records))

    def acknowledge(self) -> None:
        """Send the PUBACKs of the messages that are finished, in the order in which they came, and their receipts."""
        packet_ids = self.window.take()
        if self._promises:
            packet_ids = [i for i in packet_ids if i]
        if packet_ids:
            self.connection.acknowledge(packet_ids)
        if self._promises:
            self._keep_promises()

    def _keep_promises(self) -> None:
        packets = []
        while self._promises and self._promises[0].ticket < self.window.first:
            promise = self._promises.popleft()
            self.qos0_in_flight -= promise.qos0_records
            if promise.packet:
                packets.append(promise.packet)
        if packets:
            outcome = "sent" if self.connection.send(packets) else "dropped"
            BRIDGE_RECEIPTS.labels(outcome).inc(len(packets))


class Delivery:
    """The Kafka producer. Run `run` beside whatever produces; it raises FatalError when Kafka refuses a record."""

    def __init__(self, config: Config, raw_limit: int, letter_limit: int, on_error: Callable[[str], None]) -> None:
        self.producer = kafka.producer(
            config.kafka,
            batch_size=min(_BATCH_BYTES, raw_limit - _BATCH_MARGIN),
            message_max_bytes=letter_limit,
            queue_buffering_max_messages=QUEUE_RECORDS,
            queue_buffering_max_kbytes=QUEUE_KIB,
            error_cb=lambda e: on_error(f"{e.str()} ({e.name()})"),
        )
        self.link: Link | None = None  # of the present connection, once there is one
        self.in_flight = 0
        self.qos0_in_flight = 0
        self._done: list[Done] = []
        self._begun = asyncio.Event()
        self._room = asyncio.Event()
        self._failure: Exception | None = None

    def produce(
        self, link: "Link | None", ticket: int, topic: str, key: bytes, value: bytes, headers: Any, count: Counter
    ) -> None:
        """Give a record to Kafka; when it is there, count it and finish a part of the ticket. Link None: QoS 0.

        BufferError: no room; wait with `room` and try again. FatalError: the client refuses it, or all records.
        """
        append = self._done.append
        try:
            self.producer.produce(
                topic, value, key, on_delivery=lambda error, _: append((link, ticket, count, error)), headers=headers
            )
        except kafka.KafkaException as e:
            raise FatalError(str(kafka.translate(e, f"producing to {topic}"))) from None
        self.in_flight += 1
        if link is None:
            self.qos0_in_flight += 1

    async def produce_waiting(self, *args: Any) -> None:
        """`produce`, waiting for room."""
        while True:
            try:
                return self.produce(*args)
            except BufferError:
                await self.room()

    async def room(self) -> None:
        """Wait until Kafka has taken something."""
        self._room.clear()
        self._begun.set()
        await self._room.wait()

    def wake(self) -> None:
        """Something was produced: begin to poll."""
        if not self._begun.is_set():
            self._begun.set()

    def fail(self, error: Exception) -> None:
        """Make `run` raise `error`."""
        self._failure = self._failure or error
        self._begun.set()

    async def run(self, progress: Callable[[], None]) -> None:
        """Take delivery reports and acknowledge, for ever. `progress` is called each time round."""
        while True:
            progress()
            self.poll()
            BRIDGE_IN_FLIGHT.set(self.in_flight)
            BRIDGE_UNACKNOWLEDGED.set(len(self.link.window) if self.link else 0)
            if self.in_flight:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            self._begun.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), _IDLE_SECONDS)

    def poll(self) -> None:
        """Deal with the delivery reports that have come. Raises what ended the delivery."""
        self.producer.poll(0)
        done = self._done
        if done:
            self._settle(done)
            done.clear()
            self._room.set()
        if self._failure is not None:
            raise self._failure

    def _settle(self, done: list[Done]) -> None:
        counts: dict[Counter, int] = {}
        links: dict[Link, None] = {}
        self.in_flight -= len(done)
        for link, ticket, count, error in done:
            if error is not None:
                self.fail(FatalError(str(kafka.translate(error, "delivering a record"))))
                continue  # its message is never acknowledged
            counts[count] = counts.get(count, 0) + 1
            if link is None:
                self.qos0_in_flight -= 1
            else:
                link.window.finish(ticket)
                links[link] = None
        for count, n in counts.items():
            count.inc(n)
        for link in links:
            link.acknowledge()

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """The partition counts of those topics that Kafka tells of; for any thread. TransientError: it is away."""
        try:
            found = self.producer.list_topics(timeout=_ASK_SECONDS).topics
        except kafka.KafkaException as e:
            raise TransientError(str(kafka.translate(e, "asking for its topics"))) from None
        return {t: len(found[t].partitions) for t in topics if t in found and found[t].error is None}

    async def drain(self) -> None:
        """Wait until all that was produced is delivered and acknowledged."""
        while self.in_flight:
            await self.room()
