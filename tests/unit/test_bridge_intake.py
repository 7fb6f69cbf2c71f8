"""What the bridge makes of messages, with Kafka's client replaced by a list."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from headrace.errors import TransientError
from headrace.protocol import wire
from tests.unit.intake_world import ROW, Packet, World, dumps, skipped


def test_a_reading_goes_to_its_stream_with_its_provenance() -> None:
    world = World()
    (record,) = world.take(Packet("sensors/w-1/imu", dumps(), duplicate=True, packet_id=5))
    assert (record.topic, record.key, record.value[:5]) == ("imu.raw", b"w-1", b"\0\0\0\0\7")
    assert abs(int(record.headers.pop("received-at")) - time.time_ns() // 1000) < 60_000_000
    assert record.headers == {
        "event-id": wire.event_ids(b"sensors/w-1/imu", dumps(), 1)[0],
        "mqtt-topic": b"sensors/w-1/imu",
        "mqtt-qos": b"1",
        "mqtt-dup": b"1",
        "mqtt-retain": b"0",
    }
    assert world.wire.acknowledged == []
    world.link.window.finish(record.ticket)
    world.link.acknowledge()
    assert world.wire.acknowledged == [5]


def test_a_message_is_acknowledged_after_all_that_it_became_dead_letters_included() -> None:
    world = World()
    rows = [{**ROW}, {**ROW, "ax": "x"}, {**ROW, "ax": 2}]
    records = world.take(
        Packet("sensors/w/imu", orjson.dumps(rows), packet_id=1),
        Packet("sensors/w/imu", dumps(ax=9), packet_id=2),
        Packet("sensors/w/imu", b"[]", packet_id=3),
    )
    assert [r.topic for r in records] == ["imu.raw", "dead-letters", "imu.raw", "imu.raw"]
    assert len({r.headers["event-id"] for r in records}) == 4
    for i in (3, 2, 0):
        world.link.window.finish(records[i].ticket)
        world.link.acknowledge()
        assert world.wire.acknowledged == []
    world.link.window.finish(records[1].ticket)
    world.link.acknowledge()
    assert world.wire.acknowledged == [1, 2, 3]


def test_a_user_property_fills_a_field_where_the_route_asks_and_stays_with_a_dead_letter() -> None:
    route = {"filter": "sensors/{device_id}/imu", "fields": {"label": {"property": "model"}}}
    world = World(streams={"imu": {"routes": [route]}})
    given = [("other", "x"), ("model", "m-1"), ("model", "m-2")]
    good, bad, long = world.take(
        Packet("sensors/w/imu", dumps(), user_properties=given),
        Packet("sensors/w/imu", dumps(ax="x"), user_properties=given),
        Packet("sensors/w/imu", dumps(), user_properties=[("model", "m" * 1025)]),
    )
    assert b"\x06m-1" in good.value
    assert "mqtt-properties" not in good.headers
    assert bad.headers["mqtt-properties"] == b'{"model":"m-1"}'
    assert b"mmm" not in long.value


def test_a_user_property_that_fills_a_field_is_in_the_event_id_and_in_the_letter_s_key() -> None:
    route = {"filter": "sensors/{device_id}/imu", "fields": {"label": {"property": "model"}}}
    world = World(streams={"imu": {"routes": [route]}})
    for key in (dumps(), dumps(ax="x")):
        a, b, again, without = world.take(*[
            Packet("sensors/w/imu", key, user_properties=given)
            for given in ([("model", "a")], [("model", "b")], [("n", "1"), ("model", "a")], [("n", "1")])
        ])  # fmt: skip
        ids = [it.headers["event-id"] for it in (a, b, without)]
        assert len(set(ids)) == 3, "readings of other bytes, and none is a copy"
        assert again.headers["event-id"] == ids[0]
        assert ids[2] == wire.event_ids(b"sensors/w/imu", key, 1)[0]
        if a.topic == "dead-letters":
            assert len({a.key, b.key, without.key}) == 3
            assert again.key == a.key


def test_ids_repeat_only_where_the_payload_tells_readings_apart() -> None:
    world = World()
    a, b = world.take(*[Packet("sensors/w/imu", dumps())] * 2)
    assert a.headers["event-id"] == b.headers["event-id"]
    without = orjson.dumps({k: v for k, v in ROW.items() if k != "event_time"})
    c, d = world.take(*[Packet("sensors/w/imu", without)] * 2)
    assert c.headers["event-id"] != d.headers["event-id"]


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "stream"),
    [
        ("sensors/w/imu", b"{", b"malformed", b"imu"), ("sensors/w/imu", b" ", b"malformed", b"imu"),
        ("sensors/../imu", dumps(), b"bad_name", b"imu"), ("sensors/w/else", dumps(), b"no_route", b""),
        ("sensors/w/imu", dumps(device_id="v"), b"device_mismatch", b"imu"),
        ("sensors/w/imu", dumps(label="x" * 70_000), b"too_large", b"imu"),
        ("sensors/w/imu", dumps(z=1), b"unknown_field", b"imu"),
    ],
)  # fmt: skip
def test_bad_input_is_a_letter_with_the_bytes_that_came(
    topic: str, payload: bytes, reason: bytes, stream: bytes
) -> None:
    world = World()
    (letter,) = world.take(Packet(topic, payload))
    assert letter.topic == "dead-letters"
    assert letter.value == payload
    assert (letter.headers["reason"], letter.headers["stream"], letter.headers["stage"]) == (reason, stream, b"bridge")
    assert orjson.loads(letter.headers["source"]) == {"mqtt_topic": topic, "index": 0}
    assert letter.headers["mqtt-topic"] == topic.encode()
    (again,) = world.take(Packet(topic, payload, duplicate=True))
    assert again.key == letter.key, "a redelivered message counts once"
    if payload:
        (other,) = world.take(Packet(topic, payload + b" "))
        assert other.key != letter.key


def test_a_letter_says_whose_it_is_by_topic_or_payload() -> None:
    world = World()
    for payload, device in ((dumps(device_id="w", ax="high"), b"w"), (dumps(device_id="w", label="x" * 70_000), b"w")):
        found = world.take(Packet("both/w/imu", payload))
        assert {it.headers["stream"]: it.headers["device"] for it in found} == {b"all": device, b"twin": device}
    found = world.take(Packet("both/w/imu", b"{"))
    assert {it.headers["stream"]: it.headers["device"] for it in found} == {b"all": b"w", b"twin": b""}
    for named, device in (("../w", b""), ([5], b""), (None, b""), (5, b"5")):  # a whole number names a device, too
        (letter,) = [it for it in world.take(Packet("both/w/imu", dumps(device_id=named, ax="high")))
                     if it.headers["stream"] == b"twin"]  # fmt: skip
        assert letter.headers["device"] == device


def test_a_letter_that_kafka_cannot_take_is_shelved_whole_and_pointed_to() -> None:
    world = World()
    payload = b"x" * 300_000
    (letter,) = world.take(Packet("sensors/w/imu", payload))
    assert world.shelf.shelved[0].value == payload
    assert letter.headers["pointer"] == b"x"


def test_an_oversized_element_of_an_array_is_a_letter_of_its_own_bytes() -> None:
    world = World()
    large = {**ROW, "label": "x" * 70_000}
    records = world.take(Packet("sensors/w/imu", orjson.dumps([ROW, large])))
    assert [r.topic for r in records] == ["imu.raw", "dead-letters"]
    assert records[1].value == orjson.dumps(large)


def test_a_topic_may_feed_two_streams_each_with_its_own_rules() -> None:
    world = World()
    records = world.take(Packet("both/w/imu", dumps(z=1, device_id="w")))
    assert [r.topic for r in records] == ["all.raw", "dead-letters"]


def test_copies_by_overlapping_subscriptions_are_taken_once() -> None:
    world = World(("sensors/w/#",))  # overlaps sensors/+/imu, and neither covers the other
    ids = {s.filter: s.identifier for s in world.routing.subscriptions}
    before = skipped("copy")
    first = world.take(Packet("sensors/w/imu", dumps(), subscription_ids=[ids["sensors/+/imu"]], packet_id=1))
    second = world.take(Packet("sensors/w/imu", dumps(), subscription_ids=[ids["sensors/w/#"]], packet_id=2))
    assert (len(first), second) == (1, [])
    assert skipped("copy") == before + 1
    assert len(world.take(Packet("sensors/w/imu", dumps(), subscription_ids=list(ids.values())))) == 1
    assert len(world.take(Packet("sensors/w/imu", dumps(), subscription_ids=[99]))) == 1, "of an older configuration"


def test_a_message_without_a_payload_is_no_reading() -> None:
    world = World()
    before = skipped("no_payload")
    deleted = Packet("sensors/w/imu", b"", packet_id=4)  # as the broker passes on the deletion of a retained message
    assert world.take(deleted, Packet("sensors/w/imo", b"", packet_id=5)) == []
    assert world.wire.acknowledged == [4, 5]
    assert skipped("no_payload") == before + 2


def test_of_the_copies_of_a_deletion_only_one_counts_as_a_deletion() -> None:
    world = World(("sensors/w/#",))
    ids = {s.filter: s.identifier for s in world.routing.subscriptions}
    before = skipped("no_payload"), skipped("copy")
    for filter_ in ("sensors/+/imu", "sensors/w/#"):
        assert world.take(Packet("sensors/w/imu", b"", subscription_ids=[ids[filter_]])) == []
    assert (skipped("no_payload"), skipped("copy")) == (before[0] + 1, before[1] + 1)


def test_a_copy_that_the_broker_had_kept_is_counted_and_acknowledged_and_its_device_may_send_it_again() -> None:
    world = World()
    before = skipped("retained")
    kept = Packet("sensors/w/imu", dumps(), retain=True, packet_id=4, response_topic="receipts/w")
    assert world.take(kept, Packet("sensors/w/imo", b"{}", retain=True, packet_id=5)) == []
    assert (world.wire.acknowledged, world.wire.sent) == ([4, 5], []), "no receipt: nothing of it is in Kafka"
    assert skipped("retained") == before + 2


def test_a_route_may_keep_such_copies_for_its_own_stream() -> None:
    keeping = {"filter": "both/{device_id}/imu", "retained": "keep"}
    streams = {"all": {"contract": "imu", "routes": [keeping]}, "twin": {"contract": "imu", "routes": ["both/+/imu"]}}
    world = World(streams=streams)
    payload = dumps(device_id="w")
    assert {r.topic for r in world.take(Packet("both/w/imu", payload, retain=True))} == {"all.raw"}
    assert {r.topic for r in world.take(Packet("both/w/imu", payload))} == {"all.raw", "twin.raw"}


def test_qos_0_beyond_the_queue_is_dropped_and_counted() -> None:
    world = World()
    before = skipped("qos0_full")
    records = world.take(*[Packet("sensors/w/imu", dumps(ax=i), qos=0, packet_id=None) for i in range(5)])
    assert len(records) == 3
    assert all(r.link is None for r in records)
    assert skipped("qos0_full") == before + 2


def test_a_full_kafka_client_holds_the_bridge_back_and_loses_nothing() -> None:
    world = World(room=2)

    async def main() -> None:
        packets: Any = [Packet("sensors/w/imu", dumps(ax=i), packet_id=i + 1) for i in range(4)]
        task = asyncio.create_task(world.intake.take(world.link, packets))
        await asyncio.sleep(0.05)
        assert not task.done()
        assert len(world.kafka.produced) == 2
        world.kafka.left = 10
        world.kafka.room.set()
        await asyncio.wait_for(task, 2)

    asyncio.run(main())
    assert [r.ticket for r in world.kafka.produced] == [0, 1, 2, 3]


@pytest.mark.parametrize("packet", [Packet("", b"{}"), Packet("sensors/w/imu", b"{}", qos=2)])
def test_a_packet_that_was_never_asked_for_ends_the_connection(packet: Packet) -> None:
    with pytest.raises(TransientError):
        World().take(packet)


def test_readings_beside_a_refused_one_keep_their_key() -> None:
    world = World()
    first, letter, last = world.take(Packet("sensors/w-1/imu", b"[%b,3,%b]" % (dumps(), dumps(sequence=2))))
    assert [first.key, last.key] == [b"w-1", b"w-1"]
    assert (first.topic, letter.topic, last.topic) == ("imu.raw", "dead-letters", "imu.raw")
