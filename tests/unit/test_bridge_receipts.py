"""Delivery receipts: when they leave, and for which messages."""

import mqtt5
import orjson

from headrace.runtime.metrics import BRIDGE_RECEIPTS
from tests.unit.intake_world import ROW, Packet, Produced, World, dumps, skipped


def told(world: World) -> list[tuple[str, bytes | None, str, int]]:
    """Of each receipt that was sent: topic, correlation data, status, readings."""
    out = []
    for data in world.wire.sent:
        packet, _ = mqtt5.read(memoryview(data))
        assert isinstance(packet, mqtt5.PublishPacket)
        body = orjson.loads(packet.payload)
        out.append((packet.topic, packet.correlation_data, body["status"], body["readings"]))
    return out


def finish(world: World, *records: Produced) -> None:
    for record in records:
        world.link.window.finish(record.ticket)
    world.link.acknowledge()


def asking(number: int, payload: bytes, *, qos: int = 1, topic: str = "sensors/w/imu") -> Packet:
    return Packet(
        topic, payload, qos=qos, packet_id=number if qos else None, response_topic="receipts/w",
        correlation_data=b"%d" % number,
    )  # fmt: skip


def test_a_receipt_leaves_when_all_that_the_message_became_is_in_kafka() -> None:
    world = World()
    a, b, c = world.take(
        asking(1, orjson.dumps([ROW, {**ROW, "ax": "x"}])), Packet("sensors/w/imu", dumps(), packet_id=2)
    )
    finish(world, a, c)
    assert told(world) == []
    finish(world, b)
    assert told(world) == [("receipts/w", b"1", "dead-letter", 1)]
    assert world.wire.acknowledged == [1, 2]


def test_messages_that_become_nothing_are_answered_at_once() -> None:
    world = World()
    world.take(asking(1, b"[]"), asking(2, b"[]", qos=0))
    assert [t[1:3] for t in told(world)] == [(b"1", "skipped"), (b"2", "skipped")]
    assert world.wire.acknowledged == [1]


def test_qos_0_with_a_receipt_is_bounded_like_any_and_has_no_puback() -> None:
    world = World()
    before = skipped("qos0_full")
    first = world.take(*[asking(i, dumps(ax=i), qos=0) for i in range(1, 6)])
    assert (len(first), skipped("qos0_full")) == (3, before + 2)
    finish(world, *first)
    assert [t[1] for t in told(world)] == [b"1", b"2", b"3"]
    assert world.wire.acknowledged == []
    assert len(world.take(*[asking(i, dumps(ax=i), qos=0) for i in range(1, 6)])) == 3, "there is room again"


def test_a_large_letter_is_answered_when_it_is_shelved_and_pointed_to() -> None:
    world = World()
    (letter,) = world.take(asking(1, b"x" * 300_000))
    assert told(world) == []
    finish(world, letter)
    assert told(world) == [("receipts/w", b"1", "dead-letter", 0)]


def test_of_the_copies_of_a_message_the_one_that_is_taken_is_answered() -> None:
    world = World(("sensors/w/#",))
    ids = {s.filter: s.identifier for s in world.routing.subscriptions}
    packets = [asking(i, dumps()) for i in (1, 2)]
    for packet, filter_ in zip(packets, ("sensors/w/#", "sensors/+/imu"), strict=True):
        packet.subscription_ids = [ids[filter_]]
    finish(world, *world.take(*packets))
    assert told(world) == [("receipts/w", b"2", "stored", 1)]


def test_a_route_may_have_a_receipt_topic_of_its_own_for_good_names_only() -> None:
    routes = [{"filter": "sensors/{device_id}/imu", "receipt": "receipts/{device_id}"}]
    world = World(streams={"imu": {"routes": routes}})
    records = world.take(
        Packet("sensors/w-7/imu", dumps()), Packet("sensors/a b/imu", dumps(), packet_id=2),
        Packet("sensors/w-8/else", b"{}", packet_id=3),
    )  # fmt: skip
    finish(world, *records)
    assert told(world) == [("receipts/w-7", None, "stored", 1)]
    assert world.wire.acknowledged == [1, 2, 3]


def test_receipts_over_a_lost_connection_are_dropped_and_counted() -> None:
    world = World()
    before = receipts("dropped")
    records = world.take(asking(1, dumps()))
    world.wire.lost = True
    finish(world, *records)
    assert (told(world), receipts("dropped")) == ([], before + 1)


def receipts(outcome: str) -> float:
    return float(BRIDGE_RECEIPTS.labels(outcome)._value.get())
