"""Delivery receipts: when they leave, and for which messages."""

import mqtt5
import orjson

from headrace.metrics import BRIDGE_RECEIPTS
from tests.unit.intake_world import ROW, Desk, Packet, Produced, dumps, skipped


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
