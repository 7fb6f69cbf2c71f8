"""Times that count from the device's start: what sync messages say, and what becomes of readings before and after."""

import json
import struct
from datetime import UTC, datetime
from typing import Any

import cbor2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import registering, routing, starts
from bridge.decoders.base import Refused, Skipped, Source
from bridge.decoders.synced import SyncDecoder
from bridge.redrive.again import Again
from bridge.starts import Starts
from headrace.config import Config, check, identities, syncs
from headrace.config.check import Service
from headrace.config.sync import Sync
from headrace.contracts.files import find
from headrace.contracts.model import Contract, parse
from headrace.deadletters import ReadLetter
from headrace.errors import RefusedContractError
from headrace.operate import mqttaccess
from headrace.protocol import wire
from processors.avro.codec import Codec
from tests.unit.intake_world import ROW, Packet, Produced, World, skipped

IMU: Contract = find("imu", ())
START = 1_700_000_000_000_000  # of boot 7
READING: dict[str, Any] = {**{k: v for k, v in ROW.items() if k != "event_time"}, "up": 12.5, "boot_id": "7"}
ROUTE: dict[str, Any] = {
    "filter": "sensors/{device_id}/imu",
    "fields": {"event_time": {"path": "up", "unit": "s"}},
    "sync": {"filter": "sync/{device_id}"},
}


def world(route: dict[str, Any] = ROUTE, **more: Any) -> World:
    return World(streams={"imu": {"routes": [route]}}, **more)


def sync(boot: Any = 7, uptime: float = 100.0, start: int = START, device: str = "w", **change: Any) -> Packet:
    when = datetime.fromtimestamp(start / 1e6 + uptime, UTC).isoformat()
    return Packet(f"sync/{device}", orjson.dumps({"uptime": uptime, "time": when, "boot": boot, **change}))


def reading(device: str = "w", **change: Any) -> Packet:
    return Packet(f"sensors/{device}/imu", orjson.dumps({**READING, **change}))


def moment(value: bytes) -> int:
    found: int = Codec(IMU.schema).read(value)["event_time"]
    return found


def time_of(record: Produced) -> int:
    assert record.topic == "imu.raw", record.headers
    return moment(record.value)


def test_a_reading_has_the_time_of_its_start_and_its_own_since_then() -> None:
    it = world()
    before = skipped("sync")
    (record,) = it.take(sync(), reading())
    assert time_of(record) == START + 12_500_000
    assert record.headers["event-id"] == wire.event_ids(b"sensors/w/imu", reading().payload, 1)[0]
    assert skipped("sync") == before + 1


def test_the_same_bytes_have_the_same_id_whatever_sync_message_came_between_and_a_later_one_counts() -> None:
    it = world()
    first, second = it.take(sync(), reading(), sync(start=START + 300), reading())
    assert (time_of(first), time_of(second)) == (START + 12_500_000, START + 12_500_300)
    assert first.headers["event-id"] == second.headers["event-id"]


def test_a_count_in_quotes_is_a_number_too() -> None:
    (record,) = world().take(sync(uptime=100.0, boot=7), reading(up="12.5"))
    assert time_of(record) == START + 12_500_000


def test_readings_of_an_earlier_start_have_their_own_sync_message() -> None:
    it = world()
    later = START + 3_600_000_000
    old, new = it.take(sync(), sync("8", start=later), reading(), reading(boot_id="8"))
    assert (time_of(old), time_of(new)) == (START + 12_500_000, later + 12_500_000)


@pytest.mark.parametrize(
    ("packets", "reason", "words"),
    [
        ([reading()], "no_sync", "none of its starts is known. Have it publish one, retained, and redrive"),
        ([sync(), reading(boot_id="8")], "no_sync", "boot_id '8'; the latest that is known is '7'"),
        ([sync(device="x"), reading()], "no_sync", "when w was started"),
        ([sync(), reading(boot_id=None)], "missing_field", "boot_id: the field is missing, and the time counts from"),
        ([sync(), reading(up=1_795_428_000)], "out_of_range", "Or is it a time since 1970? Then leave `sync` out"),
        ([sync(), reading(up=-1)], "out_of_range", "-1 s since the device's start can't be"),
        ([sync(), reading(up="2026-01-01T00:00:00Z")], "wrong_type", "event_time: a number expected"),
        ([sync(boot=None)], "wrong_type", "boot: text or a whole number expected"),
        ([sync(boot="x" * 129)], "wrong_type", "boot: text or a whole number expected"),
        ([Packet("sync/w", b'{"boot": 1%s, "uptime": 1, "time": 1.8e9}' % (b"0" * 30))], "wrong_type", "boot: text"),
        ([sync(boot=1.5)], "wrong_type", "boot: text or a whole number expected"),
        ([sync(time=None)], "missing_field", "time: the field is missing in the sync message"),
        (
            [Packet("sync/w", b'{"time": 1795000000, "boot": 7}')],
            "missing_field",
            "uptime: the field is missing in the sync message",
        ),
        ([sync(time="1970-01-01T00:02:00Z")], "out_of_range", "before the year 2000"),
        ([sync(time=1e17)], "out_of_range", "outside the years 1 to 9999"),
        ([sync(start=2 * START)], "out_of_range", "time: more than a day after the message came"),
        ([sync(time="yesterday")], "wrong_type", "time: a time as ISO 8601"),
        ([Packet("sync/w", b"{")], "malformed", "not JSON"),
        ([Packet("sync/w", b"[]")], "malformed", "a JSON object expected"),
        ([Packet("sync/a.b", sync().payload)], "bad_name", "a.b"),
    ],
)
def test_what_can_not_be_timed_is_a_dead_letter_with_the_remedy(packets: list[Packet], reason: str, words: str) -> None:
    (letter,) = world().take(*packets)
    assert (letter.topic, letter.headers["reason"]) == ("dead-letters", reason.encode())
    assert words in letter.headers["detail"].decode()
    assert letter.value == packets[-1].payload


def test_a_sync_message_may_say_it_elsewhere_and_in_other_units_and_times_without_a_zone_are_the_routes() -> None:
    keys = {"uptime": "sys.ms", "unit": "ms", "time": "utc", "time_unit": "ms", "boot": "sys.id"}
    route = {**ROUTE, "time_zone": "Europe/Berlin", "sync": {**ROUTE["sync"], **keys}}
    said = {"sys": {"ms": 2000, "id": 7}, "utc": START // 1000 + 2000}
    zoned = {"sys": {"ms": 0, "id": "8"}, "utc": "2026-07-01T12:00:00"}
    it = world(route)
    first, second = it.take(
        Packet("sync/w", orjson.dumps(said)), reading(), Packet("sync/w", orjson.dumps(zoned)), reading(boot_id="8")
    )
    assert time_of(first) == START + 12_500_000
    assert time_of(second) == datetime(2026, 7, 1, 10, 0, 12, 500_000, UTC).timestamp() * 1e6


def test_batches_count_from_the_start_too() -> None:
    columns = {**ROUTE, "fields": {}, "format": "columns"}
    lists: dict[str, Any] = {k: [v, v] for k, v in READING.items() if k not in {"up", "boot_id"}}
    one, two = world(columns).take(
        sync(), Packet("sensors/w/imu", orjson.dumps({"t0": 12.5, "dt": 0.1, "boot_id": "7", **lists}))
    )
    assert (time_of(one), time_of(two)) == (START + 12_500_000, START + 12_600_000)
    layout = {
        "header": ["u32 ms", "char[1] boot_id"], "sample": [f"i8 {k}" for k in ("ax", "ay", "az", "gx", "gy", "gz")],
        "time": "ms", "unit": "ms", "rate": 100,
    }  # fmt: skip
    packed = {**ROUTE, "fields": {}, "format": "packed", "packed": layout}
    one, two = world(packed).take(sync(), Packet("sensors/w/imu", struct.pack("<Ic12b", 12_500, b"7", *range(12))))
    assert (time_of(one), time_of(two)) == (START + 12_500_000, START + 12_510_000)


@pytest.mark.parametrize(
    ("change", "payload"),
    [
        ({"format": "cbor"}, cbor2.dumps(READING)),
        ({"format": "csv", "csv": {}}, f"{','.join(READING)}\n{','.join(map(str, READING.values()))}".encode()),
        ({"explode": "list"}, orjson.dumps({"list": [READING]})),
        ({"fields": {}}, orjson.dumps({**READING, "event_time": 12_500_000}).replace(b'"up":12.5,', b"")),
    ],
    ids=["cbor", "csv", "explode", "contract"],
)
def test_every_format_whose_fields_have_the_time_may_count_from_the_start(change: Any, payload: bytes) -> None:
    if "explode" in change:
        change = {**change, "fields": {"event_time": {"path": "list.up", "unit": "s"}}}
    (record,) = world({**ROUTE, **change}).take(sync(), Packet("sensors/w/imu", payload))
    assert time_of(record) == START + 12_500_000


def test_copies_that_the_broker_had_kept_of_sync_messages_count_and_those_of_readings_do_not() -> None:
    it = world()
    kept, live = sync(), reading()
    kept.retain = True
    retained = Packet(live.topic, live.payload, retain=True)
    (record,) = it.take(kept, retained, live)
    assert time_of(record) == START + 12_500_000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["2026-01-01", 7]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["uptime", "time", "boot"]), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["uptime", "time", "boot"]), VALUES), st.integers(0, 60), st.binary(max_size=2))
def test_whatever_a_sync_message_is_it_is_taken_or_refused(said: dict[str, Any], at: int, put: bytes) -> None:
    text = json.dumps(said).encode()
    known = Starts()
    decoder = SyncDecoder(Sync(filter="sync/{device_id}"), known, UTC)
    for payload in (text, text[:at] + put + text[at + 1 :]):
        (found,) = decoder.decode(payload, Source({"device_id": "w"}), START)
        assert isinstance(found, Refused) or (found == Skipped("sync") and known.newest("w"))


@pytest.mark.parametrize("group", ["", "g"])
@pytest.mark.parametrize("bridge", [{"dropped": ["sync/+", "old/+"]}, {"unrouted": ["sync/+"], "dropped": ["old/+"]}])
def test_the_filter_of_sync_messages_is_never_dropped(group: str, bridge: dict[str, Any]) -> None:
    config = Config.model_validate(
        {"streams": {"imu": {"routes": [ROUTE]}}, "bridge": {**bridge, "shared_group": group}}
    )
    made = routing.build(config)
    assert "sync/+" in [s.filter for s in made.subscriptions]
    assert "sync/+" not in made.unwanted
    assert "old/+" in made.unwanted


def test_a_start_in_the_far_future_pushes_no_true_one_out() -> None:
    it = world()
    it.take(*(sync(str(boot), start=2 * START) for boot in range(20, 40)))
    (record,) = it.take(sync(), reading())[-1:]
    assert time_of(record) == START + 12_500_000


def test_few_starts_of_many_devices_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "MOST_DEVICES", 3)
    it = Starts()
    order = [5, 2, 9, 1, 3, 4, 8, 6, 7, 0]
    for boot in order:
        it.put("w", str(boot), START + boot)
    assert [boot for boot in range(10) if it.of("w", str(boot)) is not None] == list(range(2, 10))
    assert it.newest("w") == "9"
    for device in ("a", "b", "w", "c"):
        it.put(device, "1", START)
    assert [device for device in "abcw" if it.newest(device)] == ["b", "c", "w"]


def test_two_streams_share_a_devices_sync_messages_also_if_the_contract_of_one_is_refused() -> None:
    config = Config.model_validate(
        {
            "streams": {
                "imu": {"routes": [ROUTE]},
                "two": {"contract": "imu", "routes": [{**ROUTE, "filter": "t/{device_id}"}]},
            }
        }
    )
    made = routing.build(config)
    assert [s.filter for s in made.subscriptions] == ["sensors/+/imu", "t/+", "sync/+"]
    assert len({id(r.starts) for r in made.routes}) == 1
    refused = {"imu": RefusedContractError("imu", "imu.raw-value", ["no"])}
    decoders = registering.decoders(made, {"imu": IMU, "two": IMU}, {"two": 1}, refused)
    (told,) = [r for r in made.routes if r.sync is not None]
    (target,) = made.match("sync/w").targets
    assert target.route is told
    found = decoders[told.where].of("").decode(sync().payload, Source(target.captures), START)
    assert found == [Skipped("sync")]


def test_each_bridge_of_a_group_has_all_sync_messages_and_one_of_the_group_a_reading() -> None:
    it = world(unrouted=("sync/#",), bridge={"shared_group": "g", "unrouted": ["sync/#"]})
    assert {s.filter for s in it.routing.subscriptions} == {"$share/g/sensors/+/imu", "$share/g/sync/#", "sync/+"}
    assert "sync/+" not in it.routing.unwanted
    numbers = {s.filter: s.identifier for s in it.routing.subscriptions}
    dealt, own = sync(), sync()
    dealt.subscription_ids, own.subscription_ids = [numbers["$share/g/sync/#"]], [numbers["sync/+"]]
    assert it.take(dealt) == []
    assert it.take(reading())[0].headers["reason"] == b"no_sync"
    assert time_of(it.take(own, reading())[0]) == START + 12_500_000


def test_a_dead_letter_becomes_its_reading_once_the_start_is_known() -> None:
    (letter,) = world().take(reading())
    config = Config.model_validate({"streams": {"imu": {"routes": [ROUTE]}}})
    again = Again(routing.build(config), {"imu": IMU}, {"imu": 7}, {"imu": 65_536}, lambda _: "")
    read = ReadLetter(letter.key, letter.value, letter.headers, 0, 0, 1)
    refused = again.judge(read, letter.value, 1).refused
    assert refused is not None
    assert refused.reason == "no_sync"
    told = world().take(Packet("sync/w", b"{"))[0]
    mended = sync().payload
    outcome = again.judge(ReadLetter(told.key, told.value, told.headers, 0, 0, 1), mended, 1)
    assert (outcome.records, outcome.refused) == ((), None)
    (record,) = again.judge(read, letter.value, 1).records
    assert moment(record.value) == START + 12_500_000


def test_the_broker_lets_a_device_publish_its_own_sync_messages_and_keeps_them() -> None:
    config = world().config
    assert "pattern write sync/%u\n" in mqttaccess.devices(config)
    assert [f.pattern for f in identities.keeping(config)] == ["sync/+"]
    assert "sync/+" in list(identities.filters_of(config))
    gateway = {
        **ROUTE, "filter": "gw/{gateway}/{device_id}/imu", "identity": "gateway",
        "sync": {"filter": "gw/{gateway}/{device_id}/sync"},
    }  # fmt: skip
    assert "topic write gw/g1/+/sync\n" in mqttaccess.devices(world(gateway).config, ["g1"])


def problems(*routes: dict[str, Any], contract: str = "imu") -> list[str]:
    config = Config.model_validate({"streams": {"it": {"contract": contract, "routes": list(routes)}}})
    return check.problems(config, [Service.BRIDGE])


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ([{**ROUTE, "sync": {"filter": "sync/+"}}], "captures no {device_id}"),
        ([{**ROUTE, "sync": {"filter": "sync/{device_id}#"}}], "can't be used"),
        ([{**ROUTE, "sync": {"filter": "sensors/{device_id}/+"}}], "a sync message would be taken for a reading too"),
        ([{**ROUTE, "filter": "gw/{gateway}/+/imu", "identity": "gateway"}], "captures no {gateway}"),
        (
            [ROUTE, {**ROUTE, "filter": "t/{device_id}", "sync": {"filter": "sync/{device_id}", "unit": "ms"}}],
            "reads the same messages as streams.it.routes[0].sync, and otherwise",
        ),
        (
            [{**ROUTE, "fields": {}, "device": {"topic": "{room}"}, "filter": "s/{room}/{device_id}"}],
            "captures no {room}",
        ),
    ],
)
def test_a_route_whose_sync_messages_can_not_be_used_is_refused(routes: list[dict[str, Any]], words: str) -> None:
    found = problems(*routes)
    assert any(words in problem for problem in found), found


def test_a_contract_without_a_boot_id_can_not_be_used() -> None:
    fields = [f for f in IMU.schema["fields"] if f["name"] not in {"boot_id", "sequence"}]
    without = parse("imu", orjson.dumps({**IMU.schema, "fields": fields}).decode())
    route = Config.model_validate({"streams": {"imu": {"routes": [ROUTE]}}}).streams["imu"].routes[0]
    (problem,) = syncs.boot_problems(without, route, "streams.imu.routes[0]")
    assert problem.startswith("streams.imu.routes[0].sync: the contract imu has no field with the role boot")
    assert problems(ROUTE) == list(syncs.boot_problems(IMU, route, "")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "senml", "fields": {}}, "the times of senml can't count from the device's start"),
        ({"format": "value", "field": "ax", "fields": {}}, "the times of value can't"),
        ({"format": "packed", "packed": {"sample": ["i8 ax"]}}, "packed.time says where the time since the start is"),
        ({"fields": {"event_time": {"path": "t", "format": "%S"}}}, "is a number, not text"),
        ({"sync": {"filter": "sync/{device_id}", "boot": "a..b"}}, "is not a path"),
    ],
)
def test_a_route_that_can_not_have_such_times_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config.model_validate({"streams": {"imu": {"routes": [{**ROUTE, **change}]}}})
