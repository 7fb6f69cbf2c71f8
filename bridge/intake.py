"""What becomes of an MQTT message: readings for `.raw` topics, dead letters, or nothing where that is right."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bridge.become import Became, Becoming, Large
from bridge.delivery import Link, Record
from bridge.edgenodes.memory import EdgeNodes
from bridge.lanes import Lanes, Topic
from bridge.receipts import Fate, ReceiptDesk
from headrace.config import Config
from headrace.deadletters import Letter
from headrace.errors import TransientError
from headrace.mqtt import AT_LEAST_ONCE, PublishPacket
from headrace.protocol import wire
from headrace.runtime.metrics import BRIDGE_RECEIVED, BRIDGE_SKIPPED

_DUP, _RETAIN = (0, wire.DUP), (0, wire.RETAIN)
# Of two copies the other one is answered. A device that still waits for the receipt of a message which the broker has
# kept sends it again, and then it is stored.
_UNANSWERED = frozenset({"copy", "retained"})


class Producer(Protocol):
    """What the intake needs of `Delivery`, which says more."""

    qos0_in_flight: int

    def produce(self, link: Link | None, ticket: int, records: Sequence[Record]) -> int:
        """Give records of one message to Kafka. Returns for how many there was room."""

    async def produce_waiting(self, link: Link | None, ticket: int, record: Record) -> None:
        """The same, but wait for room."""

    def wake(self) -> None:
        """Say that something was produced."""

    def fail(self, error: Exception) -> None:
        """End the bridge with `error`."""


class Shelf(Protocol):
    """What the intake needs of `letters.Shelf`, which says more."""

    async def put(
        self, letter: Letter, then: Callable[[Letter], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:
        """Begin to store a large dead letter."""


class Intake:
    """Turns messages into records and gives them to `delivery`."""

    def __init__(self, config: Config, lanes: Lanes, delivery: Producer, shelf: Shelf, edges: EdgeNodes) -> None:
        self._config = config
        self._lanes = lanes
        self._delivery = delivery
        self._shelf = shelf
        self._edges = edges
        self._becoming = Becoming(config)
        self._desk = ReceiptDesk(config.bridge.receipts, (f for _, f in lanes.routing.filters))
        self._qos0_room = config.bridge.qos0_queue
        self._received = [BRIDGE_RECEIVED.labels(str(qos)) for qos in range(2)]

    async def take(self, link: Link, packets: Sequence[PublishPacket]) -> None:
        """Hand the messages over to Kafka, in order; waits while it has no room. TransientError: a broken packet."""
        now = time.time_ns() // 1000
        stamp = wire.stamp(now)
        produce, window, topics = self._delivery.produce, link.window, self._lanes.topics
        nothing = False
        per_qos = [0, 0]
        for packet in packets:
            topic = topics.get(packet.topic) or self._lanes.find(packet.topic, packet.content_type)
            qos = 1 if packet.qos is AT_LEAST_ONCE else int(packet.qos)
            if qos > 1:
                raise TransientError("the MQTT broker sent a message of QoS 2, though it was asked for QoS 1 at most")
            per_qos[qos] += 1
            became = self._read(topic, packet, now, stamp, qos)
            records = became.records
            source: Link | None = None
            ticket = 0
            asked = packet.response_topic is not None or topic.standing is not None
            if not qos and self._is_full(link, len(records)):
                BRIDGE_SKIPPED.labels("qos0_full").inc()
                continue
            if qos or asked:
                source, ticket = link, window.hand_out(packet.packet_id or 0, len(records))
                nothing = nothing or not records
            if asked:
                link.promise(ticket, self._receipt(topic, packet, became), 0 if qos else len(records))
            taken = 0 if became.letters else produce(source, ticket, records)  # type: ignore[arg-type]  # none is large
            for record in records[taken:] if taken < len(records) else ():
                if isinstance(record, Large):
                    await self._store(source, ticket, record)
                else:
                    await self._delivery.produce_waiting(source, ticket, record)
        for counter, n in zip(self._received, per_qos, strict=True):
            counter.inc(n)
        self._delivery.wake()
        if nothing:
            link.acknowledge()

    def _is_full(self, link: Link, more: int) -> bool:
        there = self._delivery.qos0_in_flight + link.qos0_in_flight
        return there > 0 and there + more > self._qos0_room

    def _receipt(self, topic: Topic, packet: PublishPacket, became: Became) -> bytes:
        if became.skipped in _UNANSWERED:
            return b""
        fate = Fate(len(became.records) - len(became.letters), became.letters, became.skipped, became.asked)
        return self._desk.answer(packet, topic.name, topic.identity, topic.standing, fate)

    def _read(self, topic: Topic, packet: PublishPacket, now: int, stamp: bytes, qos: int) -> Became:
        """What a message becomes in the lanes that it is for.

        `now`: microseconds since 1970 UTC. `stamp`: the same as `wire.stamp` has it.
        """
        payload, retain = packet.payload, packet.retain
        lanes = self._lanes.own(topic, packet.subscription_ids) if topic.copies else topic.lanes
        if not lanes:
            return _skip("copy")
        if not payload:  # the deletion of a retained message looks like this
            return _skip("no_payload")
        births = self._edges.hear(topic.place, payload) if topic.place is not None and not retain else None
        if retain:
            lanes = tuple(lane for lane in lanes if lane.retained)
            if not lanes:
                return _skip("retained")
        properties = packet.user_properties if topic.asks else ()
        begin = wire.BEGINS[qos | _DUP[packet.duplicate] | _RETAIN[retain]] + stamp
        return self._becoming.read(topic, lanes, packet, payload, now, begin, properties, births)

    async def _store(self, link: Link | None, ticket: int, large: Large) -> None:
        async def then(letter: Letter) -> None:
            record = Record(self._config.dead_letters.topic, *letter, large.counter)
            await self._delivery.produce_waiting(link, ticket, record)
            self._delivery.wake()

        await self._shelf.put(large.letter, then, self._delivery.fail)


def _skip(why: str) -> Became:
    BRIDGE_SKIPPED.labels(why).inc()
    return Became([], [], why)
