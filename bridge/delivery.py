"""Records go to Kafka; a message is acknowledged to the MQTT broker when everything that it became is there.

Each MQTT connection has its own ack window (`Link`). A delivery report finishes a part of a message in the window of
the connection that brought the message. When that connection is gone, nothing is acknowledged, and the broker sends
the message again.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from prometheus_client import Counter

from bridge.ackwindow import AckWindow
from headrace import kafka
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.mqtt import Connection
from headrace.runtime.metrics import BRIDGE_RECEIPTS

QUEUE_RECORDS = 200_000  # in the Kafka client: beyond it the bridge stops reading
QUEUE_KIB = 128 * 1024  # likewise
_BATCH_BYTES = 1_000_000
_BATCH_MARGIN = 8 * 1024  # a batch over its topic's limit is refused whole
_POLL_SECONDS = 0.010  # between two polls while something is under way
_IDLE_SECONDS = 0.5
_ASK_SECONDS = 4.0

Done = tuple["Origin | None", int, Counter, kafka.KafkaError | None]


class Parts(Protocol):
    """What counts the parts of messages."""

    def finish(self, ticket: int) -> None:
        """One part of the ticket's message is in Kafka."""


class Origin(Protocol):
    """Where messages came from, which is told when they are in Kafka."""

    @property
    def window(self) -> Parts:
        """The parts that are under way."""

    def acknowledge(self) -> None:
        """Some parts have finished: answer those messages that are whole."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A Kafka record, and the metric that counts it once Kafka has it."""

    topic: str
    key: bytes
    value: bytes
    headers: Any
    counter: Counter


class Promise(NamedTuple):
    """A receipt that leaves when its message's ticket is taken."""

    ticket: int
    packet: bytes  # empty: no receipt is sent
    qos0_records: int


class Link:
    """A connection, and its messages that are under way."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.window: AckWindow[int] = AckWindow()  # packet ids; 0 for a message of QoS 0 that asked for a receipt
        self.qos0_in_flight = 0  # records of those
        self._promises: deque[Promise] = deque()  # in the order of their tickets

    def promise(self, ticket: int, packet: bytes, qos0_records: int = 0) -> None:
        """Send a receipt, the bytes `packet`, when all parts of this ticket and of those before it have finished.

        Call it in the order of the tickets, and before any part of the ticket can finish.
        """
        self.qos0_in_flight += qos0_records
        self._promises.append(Promise(ticket, packet, qos0_records))

    def acknowledge(self) -> None:
        """Send the PUBACKs and the receipts of the messages that have finished, in the order in which they came."""
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
    """The Kafka producer. `run` must run beside those who produce; it raises FatalError if Kafka refuses a record."""

    def __init__(self, config: Config, raw_limit: int, letter_limit: int, on_error: Callable[[str], None]) -> None:
        self.producer = kafka.producer(
            config.kafka,
            batch_size=min(_BATCH_BYTES, raw_limit - _BATCH_MARGIN),
            message_max_bytes=letter_limit,
            queue_buffering_max_messages=QUEUE_RECORDS,
            queue_buffering_max_kbytes=QUEUE_KIB,
            error_cb=lambda e: on_error(f"{e.str()} ({e.name()})"),
        )
        self.in_flight = 0
        self.qos0_in_flight = 0
        self.moved = time.monotonic()  # when Kafka last took something, or there was nothing to take
        self._done: list[Done] = []
        self._begun = asyncio.Event()
        self._room = asyncio.Event()
        self._failure: Exception | None = None

    def produce(self, link: Origin | None, ticket: int, records: Sequence[Record]) -> int:
        """Give a message's records to the Kafka client. When Kafka has one, count it and finish a part of the ticket.

        `link`: None for a message of QoS 0 without a receipt, which has no ticket. Returns how many it has taken: where
        these are fewer, it has no room for the next; wait with `room` and try again. FatalError: the client refuses a
        record, or all records.
        """
        produce = self.producer.produce
        counter = delivered = None
        taken = 0
        try:
            for it in records:
                if delivered is None or it.counter is not counter:
                    counter = it.counter
                    delivered = self._delivered(link, ticket, counter)
                # By position, all eight: by keyword it takes half a microsecond longer.
                produce(it.topic, it.value, it.key, -1, delivered, None, 0, it.headers)
                taken += 1
        except BufferError:
            pass
        except kafka.KafkaException as e:
            raise FatalError(str(kafka.translate(e, f"producing to {records[taken].topic}"))) from None
        finally:
            self.in_flight += taken
            if link is None:
                self.qos0_in_flight += taken
        return taken

    def _delivered(self, link: Origin | None, ticket: int, counter: Counter) -> Callable[[Any, Any], None]:
        append, done = self._done.append, (link, ticket, counter, None)
        return lambda error, _: append(done if error is None else (link, ticket, counter, error))

    async def produce_waiting(self, link: Origin | None, ticket: int, record: Record) -> None:
        """As `produce`, but waits for room."""
        while not self.produce(link, ticket, (record,)):
            await self.room()

    async def room(self) -> None:
        """Wait until Kafka has taken something."""
        self._room.clear()
        self._begun.set()
        await self._room.wait()

    def wake(self) -> None:
        """Begin to poll, since something was produced."""
        if not self._begun.is_set():
            self._begun.set()

    def fail(self, error: Exception) -> None:
        """Make `run` raise `error`; the first error counts."""
        self._failure = self._failure or error
        self._begun.set()

    async def run(self, progress: Callable[[], None]) -> None:
        """Take delivery reports and acknowledge, for ever. Calls `progress` each time round."""
        while True:
            self.poll()
            progress()
            if self.in_flight:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            self._begun.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), _IDLE_SECONDS)

    def poll(self) -> None:
        """Take the delivery reports that have come. Raises the error that ended the delivery."""
        self.producer.poll(0)
        done = self._done
        if done:
            self._finish(done)
            done.clear()
            self._room.set()
            self.moved = time.monotonic()
        elif not self.in_flight:
            self.moved = time.monotonic()
        if self._failure is not None:
            raise self._failure

    def _finish(self, done: list[Done]) -> None:
        counts: dict[Counter, int] = {}
        links: dict[Origin, None] = {}
        self.in_flight -= len(done)
        before: Origin | None = None
        for link, ticket, count, error in done:
            if error is not None:
                self.fail(FatalError(str(kafka.translate(error, "delivering a record"))))
                continue  # the message is never acknowledged
            counts[count] = counts.get(count, 0) + 1
            if link is None:
                self.qos0_in_flight -= 1
                continue
            if link is not before:
                before, finish = link, link.window.finish
                links[link] = None
            finish(ticket)
        for count, n in counts.items():
            count.inc(n)
        for link in links:
            link.acknowledge()

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """The partition counts of those topics that Kafka has; for any thread. TransientError: Kafka is away."""
        try:
            found = self.producer.list_topics(timeout=_ASK_SECONDS).topics
        except kafka.KafkaException as e:
            raise TransientError(str(kafka.translate(e, "asking for its topics"))) from None
        return {t: len(found[t].partitions) for t in topics if t in found and found[t].error is None}

    async def drain(self) -> None:
        """Wait until everything produced so far is in Kafka and acknowledged."""
        while self.in_flight:
            await self.room()
