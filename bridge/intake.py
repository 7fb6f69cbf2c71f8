"""What becomes of an MQTT message: readings for `.raw` topics, dead letters, or nothing where that is right."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import Counter

from bridge import letters, routing
from bridge.decode import Decoder, Refused, Source
from bridge.delivery import Delivery, Link
from bridge.elements import element
from bridge.receipts import Desk, Fate, Standing
from bridge.routing import Plan, Target
from headrace import deadletters, receipts, wire
from headrace.config import Config
from headrace.deadletters import Letter
from headrace.errors import PoisonError, Reason, TransientError
from headrace.metrics import BRIDGE_IGNORED_FIELDS, BRIDGE_MESSAGES, BRIDGE_RECEIVED, BRIDGE_SKIPPED, DEAD_LETTERS
from headrace.mqtt import PublishPacket
from headrace.names import raw_topic
from headrace.wire import Headers

_MAX_TOPICS = 50_000  # MQTT topics whose lanes are remembered
_MAX_REMEMBERED = 512  # characters of such a topic: 65,535 are allowed, and anybody can make up more
_RECORD_MARGIN = 256  # bytes of a record beside its key, value and the MQTT topic: fixed headers and Kafka's own
_QOS = tuple((wire.MQTT_QOS, b"%d" % i) for i in range(2))
_DUP = ((wire.MQTT_DUP, b"0"), (wire.MQTT_DUP, b"1"))
_RETAIN = ((wire.MQTT_RETAIN, b"0"), (wire.MQTT_RETAIN, b"1"))


class Record(NamedTuple):
    """What `Delivery.produce` takes, behind link and ticket."""

    topic: str
    key: bytes
    value: bytes
    headers: Any
    counter: Counter


class Large(NamedTuple):
    """A dead letter that goes to the object store first."""

    letter: Letter
    counter: Counter


def is_letter(it: Record | Large, dead_letters: str) -> bool:
    """Whether it is a dead letter and no reading."""
    return isinstance(it, Large) or it.topic == dead_letters


class Lane:
    """A stream that an MQTT topic's messages go to, with all that is the same for each of them."""

    __slots__ = ("count", "decoder", "limit", "refused", "route", "source", "standing", "stream", "topic")

    def __init__(self, target: Target, decoder: Decoder, limit: int) -> None:
        self.route = target.route
        self.stream = target.route.stream
        self.topic = raw_topic(self.stream)
        self.decoder = decoder
        self.source = Source(target.captures, target.route.unknown_fields)
        self.refused = target.refused
        self.count: Counter = BRIDGE_MESSAGES.labels(self.stream)
        self.limit = limit  # bytes of key and value
        self.standing: Standing | None = None
        if target.route.receipt and target.refused is None:
            self.standing = Standing(receipts.fill(target.route.receipt, target.captures), decoder.marks)


class Topic(NamedTuple):
    """What is remembered of an MQTT topic. `copies`: a message may come once for each of several subscriptions."""

    text: str
    name: bytes
    header: tuple[str, bytes]
    lanes: tuple[Lane, ...]
    copies: bool
    standing: Standing | None  # the receipt of each message, where a route has one


class Intake:
    """Turns messages into records and gives them to `delivery`. `raw_limits`: largest record of each stream, bytes."""

    def __init__(
        self,
        config: Config,
        plan: Plan,
        decoders: Mapping[str, Decoder],  # by `Route.where`
        raw_limits: Mapping[str, int],
        delivery: Delivery,
        shelf: letters.Shelf,
    ) -> None:
        self._config = config
        self._plan = plan
        self._decoders = decoders
        self._raw_limits = raw_limits
        self._delivery = delivery
        self._shelf = shelf
        self._log = letters.Log()
        self._desk = Desk(config.bridge.receipts, (f for _, f in plan.filters))
        self._known = frozenset(s.identifier for s in plan.subscriptions)
        self._topics: dict[str, Topic] = {}
        self._qos0_room = config.bridge.qos0_queue
        self._received = [BRIDGE_RECEIVED.labels(str(qos)) for qos in range(2)]

    async def take(self, link: Link, packets: Sequence[PublishPacket]) -> None:
        """Hand the messages over to Kafka, in order; waits while it has no room. TransientError: a broken packet."""
        now = time.time_ns() // 1000
        stamp = (wire.RECEIVED_AT, b"%d" % now)
        produce, window, topics = self._delivery.produce, link.window, self._topics
        nothing = False
        per_qos = [0, 0]
        for packet in packets:
            topic = topics.get(packet.topic) or self._remember(packet.topic)
            qos = int(packet.qos)
            if qos > 1:
                raise TransientError("the MQTT broker sent a message of QoS 2, though it was asked for QoS 1 at most")
            per_qos[qos] += 1
            records = self.records(topic, packet, qos, now, stamp)
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
                link.promise(ticket, self._receipt(topic, packet, records), 0 if qos else len(records))
            for record in records:
                if isinstance(record, Large):
                    await self._store(source, ticket, record)
                    continue
                try:
                    produce(source, ticket, *record)
                except BufferError:
                    await self._delivery.produce_waiting(source, ticket, *record)
        for counter, n in zip(self._received, per_qos, strict=True):
            counter.inc(n)
        self._delivery.wake()
        if nothing:
            link.acknowledge()

    def _is_full(self, link: Link, more: int) -> bool:
        there = self._delivery.qos0_in_flight + link.qos0_in_flight
        return there > 0 and there + more > self._qos0_room

    def _receipt(self, topic: Topic, packet: PublishPacket, records: Sequence[Record | Large]) -> bytes:
        if not records and topic.copies and topic.lanes and not self._own(topic, packet):
            return b""  # the copy that another subscription brings is answered
        dead = self._config.dead_letters.topic
        found = [r.letter.headers if isinstance(r, Large) else r.headers for r in records if is_letter(r, dead)]
        return self._desk.answer(packet, topic.name, topic.standing, Fate(len(records) - len(found), found))

    def _own(self, topic: Topic, packet: PublishPacket) -> tuple[Lane, ...]:
        """The lanes of a message that may be a copy: those that its own subscription brings."""
        return tuple(lane for lane in topic.lanes if routing.takes(lane.route, packet.subscription_ids, self._known))

    def records(
        self, topic: Topic, packet: PublishPacket, qos: int, now: int, stamp: tuple[str, bytes]
    ) -> list[Record | Large]:
        """What a message becomes: a record for each reading and each dead letter of it, or nothing."""
        payload, retain = packet.payload, packet.retain
        if retain and not payload:
            BRIDGE_SKIPPED.labels("tombstone").inc()
            return []
        lanes = self._own(topic, packet) if topic.copies else topic.lanes
        if topic.lanes and not lanes:
            BRIDGE_SKIPPED.labels("copy").inc()
            return []
        rest = [stamp, topic.header, _QOS[qos], _DUP[packet.duplicate], _RETAIN[retain]]
        if not lanes:
            error = PoisonError(Reason.NO_ROUTE, f"no route takes the topic {topic.text[:200]!r}")
            return [self._letter(error, payload, "", topic, 0, wire.event_ids(topic.name, payload, 1), rest)]
        out: list[Record | Large] = []
        for lane in lanes:
            if lane.refused is not None:
                ids = wire.event_ids(topic.name, payload, 1)
                out.append(self._letter(lane.refused, payload, lane.stream, topic, 0, ids, rest))
                continue
            found = lane.decoder.decode(payload, lane.source, now)
            ids = wire.event_ids(topic.name, payload, len(found))
            for index, one in enumerate(found):
                if isinstance(one, Refused):
                    out.append(self._letter(one.error, one.original, lane.stream, topic, index, ids, rest))
                    continue
                device, value, identified = one
                if len(value) > lane.limit:
                    error = PoisonError(Reason.TOO_LARGE, f"{len(value):,} bytes: {lane.topic} takes {lane.limit:,}")
                    original = element(payload, index)
                    out.append(self._letter(error, original, lane.stream, topic, index, ids, rest))
                    continue
                event_id = ids[index] if identified else wire.unique_event_id()
                headers = [(wire.EVENT_ID, event_id), *rest]
                out.append(Record(lane.topic, device.encode(), value, headers, lane.count))
            if not found:
                BRIDGE_SKIPPED.labels("empty").inc()
            if lane.decoder.ignored:
                BRIDGE_IGNORED_FIELDS.labels(lane.stream).inc(lane.decoder.ignored)
                lane.decoder.ignored = 0
        return out

    def _letter(
        self,
        error: PoisonError,
        original: bytes,
        stream: str,
        topic: Topic,
        index: int,
        ids: Sequence[bytes],
        rest: Headers,
    ) -> Record | Large:
        self._log.add(error, stream, topic.text)
        headers = [(wire.EVENT_ID, ids[index]), *rest]
        letter = letters.make(error, original, stream, topic.text, index, ids[0], headers)
        count = DEAD_LETTERS.labels("bridge", stream, error.reason.value)
        if not deadletters.fits(self._config, letter):
            return Large(letter, count)
        return Record(self._config.dead_letters.topic, letter.key, letter.value, letter.headers, count)

    async def _store(self, link: Link | None, ticket: int, large: Large) -> None:
        async def then(letter: Letter) -> None:
            topic = self._config.dead_letters.topic
            await self._delivery.produce_waiting(
                link, ticket, topic, letter.key, letter.value, letter.headers, large.counter
            )
            self._delivery.wake()

        await self._shelf.put(large.letter, then, self._delivery.fail)

    def _remember(self, text: str) -> Topic:
        if not text:
            raise TransientError("the MQTT broker sent a topic alias, though it was told that none are taken")
        found = routing.match(self._plan, text)
        name = text.encode()
        room = _RECORD_MARGIN + len(name)
        lanes = tuple(
            Lane(t, self._decoders[t.route.where], self._raw_limits[t.route.stream] - room - 64) for t in found.targets
        )
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        standing = next((lane.standing for lane in lanes if lane.standing is not None), None)
        topic = Topic(text, name, (wire.MQTT_TOPIC, name), lanes, found.copies, standing)
        if len(text) <= _MAX_REMEMBERED:
            self._topics[text] = topic
        return topic
