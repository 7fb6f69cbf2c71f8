"""What the bridge makes of messages, with Kafka's client replaced by a list."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import mqtt5
import orjson
import pytest

from bridge import routing
from bridge.decode import Decoder
from bridge.delivery import Link
from bridge.intake import Intake
from headrace import wire
from headrace.config import Config
from headrace.contracts.files import find
from headrace.deadletters import Letter
from headrace.errors import TransientError
from headrace.metrics import BRIDGE_RECEIPTS, BRIDGE_SKIPPED

ROW = {"event_time": 1_700_000_000_000_000, "ax": 1, "ay": 2, "az": 3, "gx": 0, "gy": 0, "gz": 0}


@dataclass
class Packet:
    topic: str
    payload: bytes
    qos: int = 1
    packet_id: int | None = 1
    duplicate: bool = False
    retain: bool = False
    subscription_ids: list[int] = field(default_factory=list)
    response_topic: str | None = None
    correlation_data: bytes | None = None


@dataclass
class Produced:
    link: Link | None
    ticket: int
    topic: str
    key: bytes
    value: bytes
    headers: dict[str, bytes]


class Kafka:
    """As `Delivery`, as far as an intake sees it; `finish` is a delivery report."""

    def __init__(self, room: int = 1000) -> None:
        self.produced: list[Produced] = []
        self.qos0_in_flight = 0
        self.left = room
        self.room = asyncio.Event()
        self.failed: list[Exception] = []

    def produce(
        self, link: Link | None, ticket: int, topic: str, key: bytes, value: bytes, headers: Any, _: Any
    ) -> None:
        if not self.left:
            raise BufferError
        self.left -= 1
        self.qos0_in_flight += link is None
        self.produced.append(Produced(link, ticket, topic, key, value, dict(headers)))

    async def produce_waiting(self, *args: Any) -> None:
        if not self.left:
            await self.room.wait()
        self.produce(*args)

    def wake(self) -> None:
        """Nothing sleeps here."""

    def fail(self, error: Exception) -> None:
        self.failed.append(error)


class Shelf:
    def __init__(self) -> None:
        self.shelved: list[Letter] = []

    async def put(self, letter: Letter, then: Any, _: Any) -> None:
        self.shelved.append(letter)
        await then(letter._replace(value=b"", headers=[*letter.headers, ("pointer", b"x")]))


class Wire:
    """As `Connection`, for a link to acknowledge on."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.sent: list[bytes] = []
        self.lost = False

    def acknowledge(self, packet_ids: list[int]) -> None:
        self.acknowledged += packet_ids

    def send(self, packets: list[bytes]) -> bool:
        if not self.lost:
            self.sent += packets
        return not self.lost


class Desk:
    """An intake with all that it needs."""

    def __init__(self, unrouted: tuple[str, ...] = ("sensors/#",), room: int = 1000, **more: Any) -> None:
        self.config = Config.model_validate({
            "streams": {
                "imu": {"routes": ["sensors/{device_id}/imu"]},
                "all": {"contract": "imu", "routes": [{"filter": "both/{device_id}/imu", "unknown_fields": "ignore"}]},
                "twin": {"contract": "imu", "routes": ["both/+/imu"]},
            },
            "max_message_bytes": 65_536,
            "bridge": {"unrouted": unrouted, "qos0_queue": 3},
            **more,
        })  # fmt: skip
        self.plan = routing.plan(self.config)
        self.kafka, self.shelf, self.wire = Kafka(room), Shelf(), Wire()
        decoders = {r.where: Decoder(find("imu"), 7, tuple(r.filter.captures)) for r in self.plan.routes}
        limits = dict.fromkeys(self.config.streams, 65_536)
        self.intake = Intake(self.config, self.plan, decoders, limits, self.kafka, self.shelf)  # type: ignore[arg-type]
        self.link = Link(self.wire)  # type: ignore[arg-type]

    def take(self, *packets: Packet) -> list[Produced]:
        before = len(self.kafka.produced)
        asyncio.run(self.intake.take(self.link, packets))  # type: ignore[arg-type]
        return self.kafka.produced[before:]


def dumps(**change: Any) -> bytes:
    return orjson.dumps({**ROW, **change})


def skipped(why: str) -> float:
    return float(BRIDGE_SKIPPED.labels(why)._value.get())


def test_a_reading_goes_to_its_stream_with_its_provenance() -> None:
    desk = Desk()
    (record,) = desk.take(Packet("sensors/w-1/imu", dumps(), duplicate=True, packet_id=5))
    assert (record.topic, record.key, record.value[:5]) == ("imu.raw", b"w-1", b"\0\0\0\0\7")
    assert record.headers.pop("received-at").isdigit()
    assert record.headers == {
        "event-id": wire.event_id(b"sensors/w-1/imu", dumps(), 0),
        "mqtt-topic": b"sensors/w-1/imu",
        "mqtt-qos": b"1",
        "mqtt-dup": b"1",
        "mqtt-retain": b"0",
    }
    assert desk.wire.acknowledged == []
    desk.link.window.finish(record.ticket)
    desk.link.acknowledge()
    assert desk.wire.acknowledged == [5]


def test_a_message_is_acknowledged_after_all_that_it_became_dead_letters_included() -> None:
    desk = Desk()
    rows = [{**ROW}, {**ROW, "ax": "x"}, {**ROW, "ax": 2}]
    records = desk.take(
        Packet("sensors/w/imu", orjson.dumps(rows), packet_id=1),
        Packet("sensors/w/imu", dumps(ax=9), packet_id=2),
        Packet("sensors/w/imu", b"[]", packet_id=3),
    )
    assert [r.topic for r in records] == ["imu.raw", "dead-letters", "imu.raw", "imu.raw"]
    assert len({r.headers["event-id"] for r in records}) == 4
    for i in (3, 2, 0):
        desk.link.window.finish(records[i].ticket)
        desk.link.acknowledge()
        assert desk.wire.acknowledged == []
    desk.link.window.finish(records[1].ticket)
    desk.link.acknowledge()
    assert desk.wire.acknowledged == [1, 2, 3]


def test_ids_repeat_only_where_the_payload_tells_readings_apart() -> None:
    desk = Desk()
    a, b = desk.take(*[Packet("sensors/w/imu", dumps())] * 2)
    assert a.headers["event-id"] == b.headers["event-id"]
    without = orjson.dumps({k: v for k, v in ROW.items() if k != "event_time"})
    c, d = desk.take(*[Packet("sensors/w/imu", without)] * 2)
    assert c.headers["event-id"] != d.headers["event-id"]


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "stream"),
    [
        ("sensors/w/imu", b"{", b"malformed", b"imu"), ("sensors/w/imu", b"", b"malformed", b"imu"),
        ("sensors/../imu", dumps(), b"bad_name", b"imu"), ("sensors/w/else", dumps(), b"no_route", b""),
        ("sensors/w/imu", dumps(device_id="v"), b"device_mismatch", b"imu"),
        ("sensors/w/imu", dumps(label="x" * 70_000), b"too_large", b"imu"),
        ("sensors/w/imu", dumps(z=1), b"unknown_field", b"imu"),
    ],
)  # fmt: skip
def test_bad_input_is_a_letter_with_the_bytes_that_came(
    topic: str, payload: bytes, reason: bytes, stream: bytes
) -> None:
    desk = Desk()
    (letter,) = desk.take(Packet(topic, payload))
    assert letter.topic == "dead-letters"
    assert letter.value == payload
    assert (letter.headers["reason"], letter.headers["stream"], letter.headers["stage"]) == (reason, stream, b"bridge")
    assert orjson.loads(letter.headers["source"]) == {"mqtt_topic": topic, "index": 0}
    assert letter.headers["mqtt-topic"] == topic.encode()
    (again,) = desk.take(Packet(topic, payload, duplicate=True))
    assert again.key == letter.key, "a redelivered message counts once"
    if payload:
        (other,) = desk.take(Packet(topic, payload + b" "))
        assert other.key != letter.key


def test_a_letter_that_kafka_cannot_take_is_shelved_whole_and_pointed_to() -> None:
    desk = Desk()
    payload = b"x" * 300_000
    (letter,) = desk.take(Packet("sensors/w/imu", payload))
    assert desk.shelf.shelved[0].value == payload
    assert letter.headers["pointer"] == b"x"


def test_an_oversized_element_of_an_array_is_a_letter_of_its_own_bytes() -> None:
    desk = Desk()
    large = {**ROW, "label": "x" * 70_000}
    records = desk.take(Packet("sensors/w/imu", orjson.dumps([ROW, large])))
    assert [r.topic for r in records] == ["imu.raw", "dead-letters"]
    assert records[1].value == orjson.dumps(large)


def test_a_topic_may_feed_two_streams_each_with_its_own_rules() -> None:
    desk = Desk()
    records = desk.take(Packet("both/w/imu", dumps(z=1, device_id="w")))
    assert [r.topic for r in records] == ["all.raw", "dead-letters"]
    assert desk.intake.records(desk.intake._topics["both/w/imu"], Packet("", dumps(z=1)), 1, 0, ("", b"")) != []  # type: ignore[arg-type]


def test_copies_by_overlapping_subscriptions_are_taken_once() -> None:
    desk = Desk(("sensors/w/#",))  # overlaps sensors/+/imu, and neither covers the other
    ids = {s.filter: s.identifier for s in desk.plan.subscriptions}
    before = skipped("copy")
    first = desk.take(Packet("sensors/w/imu", dumps(), subscription_ids=[ids["sensors/+/imu"]], packet_id=1))
    second = desk.take(Packet("sensors/w/imu", dumps(), subscription_ids=[ids["sensors/w/#"]], packet_id=2))
    assert (len(first), second) == (1, [])
    assert skipped("copy") == before + 1
    assert len(desk.take(Packet("sensors/w/imu", dumps(), subscription_ids=list(ids.values())))) == 1
    assert len(desk.take(Packet("sensors/w/imu", dumps(), subscription_ids=[99]))) == 1, "of an older configuration"


def test_deleting_a_retained_message_is_no_reading() -> None:
    desk = Desk()
    before = skipped("tombstone")
    assert desk.take(Packet("sensors/w/imu", b"", retain=True, packet_id=4)) == []
    assert desk.wire.acknowledged == [4]
    assert skipped("tombstone") == before + 1


def test_qos_0_beyond_the_queue_is_dropped_and_counted() -> None:
    desk = Desk()
    before = skipped("qos0_full")
    records = desk.take(*[Packet("sensors/w/imu", dumps(ax=i), qos=0, packet_id=None) for i in range(5)])
    assert len(records) == 3
    assert all(r.link is None for r in records)
    assert skipped("qos0_full") == before + 2


def test_a_full_kafka_client_holds_the_bridge_back_and_loses_nothing() -> None:
    desk = Desk(room=2)

    async def main() -> None:
        packets: Any = [Packet("sensors/w/imu", dumps(ax=i), packet_id=i + 1) for i in range(4)]
        task = asyncio.create_task(desk.intake.take(desk.link, packets))
        await asyncio.sleep(0.05)
        assert not task.done()
        assert len(desk.kafka.produced) == 2
        desk.kafka.left = 10
        desk.kafka.room.set()
        await asyncio.wait_for(task, 2)

    asyncio.run(main())
    assert [r.ticket for r in desk.kafka.produced] == [0, 1, 2, 3]


@pytest.mark.parametrize("packet", [Packet("", b"{}"), Packet("sensors/w/imu", b"{}", qos=2)])
def test_a_packet_that_was_never_asked_for_ends_the_connection(packet: Packet) -> None:
    with pytest.raises(TransientError):
        Desk().take(packet)


def told(desk: Desk) -> list[tuple[str, bytes | None, str, int]]:
    """Of each receipt that was sent: topic, correlation data, status, readings."""
    out = []
    for data in desk.wire.sent:
        packet, _ = mqtt5.read(memoryview(data))
        assert isinstance(packet, mqtt5.PublishPacket)
        body = orjson.loads(packet.payload)
        out.append((packet.topic, packet.correlation_data, body["status"], body["readings"]))
    return out


def finish(desk: Desk, *records: Produced) -> None:
    for record in records:
        desk.link.window.finish(record.ticket)
    desk.link.acknowledge()


def asking(number: int, payload: bytes, *, qos: int = 1, topic: str = "sensors/w/imu") -> Packet:
    return Packet(
        topic, payload, qos=qos, packet_id=number if qos else None, response_topic="receipts/w",
        correlation_data=b"%d" % number,
    )  # fmt: skip


def test_a_receipt_leaves_when_all_that_the_message_became_is_in_kafka() -> None:
    desk = Desk()
    a, b, c = desk.take(
        asking(1, orjson.dumps([ROW, {**ROW, "ax": "x"}])), Packet("sensors/w/imu", dumps(), packet_id=2)
    )
    finish(desk, a, c)
    assert told(desk) == []
    finish(desk, b)
    assert told(desk) == [("receipts/w", b"1", "dead-letter", 1)]
    assert desk.wire.acknowledged == [1, 2]


def test_messages_that_become_nothing_are_answered_at_once() -> None:
    desk = Desk()
    desk.take(asking(1, b"[]"), asking(2, b"[]", qos=0))
    assert [t[1:3] for t in told(desk)] == [(b"1", "skipped"), (b"2", "skipped")]
    assert desk.wire.acknowledged == [1]


def test_qos_0_with_a_receipt_is_bounded_like_any_and_has_no_puback() -> None:
    desk = Desk()
    before = skipped("qos0_full")
    first = desk.take(*[asking(i, dumps(ax=i), qos=0) for i in range(1, 6)])
    assert (len(first), skipped("qos0_full")) == (3, before + 2)
    finish(desk, *first)
    assert [t[1] for t in told(desk)] == [b"1", b"2", b"3"]
    assert desk.wire.acknowledged == []
    assert len(desk.take(*[asking(i, dumps(ax=i), qos=0) for i in range(1, 6)])) == 3, "there is room again"


def test_a_large_letter_is_answered_when_it_is_shelved_and_pointed_to() -> None:
    desk = Desk()
    (letter,) = desk.take(asking(1, b"x" * 300_000))
    assert told(desk) == []
    finish(desk, letter)
    assert told(desk) == [("receipts/w", b"1", "dead-letter", 0)]


def test_of_the_copies_of_a_message_the_one_that_is_taken_is_answered() -> None:
    desk = Desk(("sensors/w/#",))
    ids = {s.filter: s.identifier for s in desk.plan.subscriptions}
    packets = [asking(i, dumps()) for i in (1, 2)]
    for packet, filter_ in zip(packets, ("sensors/w/#", "sensors/+/imu"), strict=True):
        packet.subscription_ids = [ids[filter_]]
    finish(desk, *desk.take(*packets))
    assert told(desk) == [("receipts/w", b"2", "stored", 1)]


def test_a_route_may_have_a_receipt_topic_of_its_own_for_good_names_only() -> None:
    routes = [{"filter": "sensors/{device_id}/imu", "receipt": "receipts/{device_id}"}]
    desk = Desk(streams={"imu": {"routes": routes}})
    records = desk.take(
        Packet("sensors/w-7/imu", dumps()), Packet("sensors/a b/imu", dumps(), packet_id=2),
        Packet("sensors/w-8/else", b"{}", packet_id=3),
    )  # fmt: skip
    finish(desk, *records)
    assert told(desk) == [("receipts/w-7", None, "stored", 1)]
    assert desk.wire.acknowledged == [1, 2, 3]


def test_receipts_over_a_lost_connection_are_dropped_and_counted() -> None:
    desk = Desk()
    before = receipts("dropped")
    records = desk.take(asking(1, dumps()))
    desk.wire.lost = True
    finish(desk, *records)
    assert (told(desk), receipts("dropped")) == ([], before + 1)


def receipts(outcome: str) -> float:
    return float(BRIDGE_RECEIPTS.labels(outcome)._value.get())
