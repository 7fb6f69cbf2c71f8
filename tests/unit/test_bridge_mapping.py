"""Payloads as devices send them, through a configuration with a mapping, to rows."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading
from headrace.errors import Reason
from tests.unit.mapping_world import NOW, Make, World, field, world
from tests.unit.test_bridge_decode import read

__all__ = ["world"]


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


# https://www.thethingsindustries.com/docs/integrations/data-formats/ has the shape.
TTN = {
    "end_device_ids": {"device_id": "soil-09", "dev_eui": "0004A30B00AA0531",
                       "application_ids": {"application_id": "hill"}},
    "correlation_ids": ["gs:uplink:02"],
    "received_at": "2026-11-24T08:30:01.123456789Z",
    "uplink_message": {
        "f_port": 2, "f_cnt": 5, "decoded_payload": {"temperature": 9.25, "moisture": 0.5},
        "rx_metadata": [{"gateway_ids": {"gateway_id": "g-1"}, "rssi": -50, "snr": 1.5},
                        {"gateway_ids": {"gateway_id": "g-2"}, "rssi": -70, "snr": 2.5}],
        "settings": {"frequency": "868500000"},
    },
}  # fmt: skip
TTN_ROUTE: dict[str, Any] = {
    "filter": "v3/hill@ttn/devices/{device_id}/up",
    "unknown_fields": "keep",
    "fields": {
        "event_time": "received_at",
        "temperature": "uplink_message.decoded_payload.temperature",
        "moisture": "uplink_message.decoded_payload.moisture",
        "f_cnt": "uplink_message.f_cnt",
        "dev_eui": "end_device_ids.dev_eui",
        "rssi": "uplink_message.rx_metadata[0].rssi",
        "site": {"value": "hill"},
    },
}
TTN_FIELDS = [
    field("temperature", unit="Cel"), field("moisture", unit="1"), field("f_cnt", "long"), field("dev_eui", "string"),
    field("rssi", unit="dBm"), field("site", "string"), field("gateway", "string"),
]  # fmt: skip


def test_a_lorawan_uplink_of_ttn(world: Make) -> None:
    (row,) = world(TTN_ROUTE, *TTN_FIELDS).rows("v3/hill@ttn/devices/soil-09/up", TTN)
    extra = orjson.loads(row.pop("_extra"))
    assert row == {
        "device_id": "soil-09", "event_time": us("2026-11-24T08:30:01.123456Z"), "temperature": 9.25, "moisture": 0.5,
        "f_cnt": 5, "dev_eui": "0004A30B00AA0531", "rssi": -50.0, "site": "hill",
    }  # fmt: skip
    assert extra["uplink_message"] == {
        "f_port": 2,
        "rx_metadata": TTN["uplink_message"]["rx_metadata"],  # type: ignore[index]
        "settings": {"frequency": "868500000"},
    }
    assert extra["end_device_ids"] == {"device_id": "soil-09", "application_ids": {"application_id": "hill"}}


def test_each_gateway_of_an_uplink_as_a_reading_of_its_own(world: Make) -> None:
    fields = TTN_ROUTE["fields"] | {
        "rssi": "uplink_message.rx_metadata.rssi",
        "gateway": "uplink_message.rx_metadata.gateway_ids.gateway_id",
    }
    it = world(TTN_ROUTE | {"fields": fields, "explode": "uplink_message.rx_metadata"}, *TTN_FIELDS)
    rows = it.rows("v3/hill@ttn/devices/soil-09/up", TTN)
    assert [(r["temperature"], r["rssi"], r["gateway"]) for r in rows] == [(9.25, -50.0, "g-1"), (9.25, -70.0, "g-2")]
    assert orjson.loads(rows[1]["_extra"])["uplink_message"]["rx_metadata"] == {"snr": 2.5}
    payload = orjson.dumps(TTN)
    alone = it.decoder.element(payload, 1)
    assert it.rows("v3/hill@ttn/devices/soil-09/up", alone) == rows[1:]


def test_a_lorawan_uplink_of_chirpstack(world: Make) -> None:
    payload = {
        "deduplicationId": "9a", "time": "2026-11-24T08:30:01.775023242+00:00",
        "deviceInfo": {"deviceName": "attic 1", "devEui": "01010101010101bb", "tags": {}},
        "fCnt": 18, "object": {"temperature": 19.5, "humidity": 55.0}, "rxInfo": [{"gatewayId": "00", "rssi": -40}],
    }  # fmt: skip
    it = world(
        {"filter": "application/{app}/device/{eui}/event/up", "identity": "app", "unknown_fields": "ignore",
         "device": {"path": "deviceInfo.devEui", "names": "mac"},
         "fields": {"event_time": "time", "temperature": "object.temperature",
                    "rx": "rxInfo", "tags": "deviceInfo.tags", "eui": {"topic": "{eui}"}}},
        field("temperature", unit="Cel"), field("rx", "string", json=True), field("tags", "string", json=True),
        field("eui", "string"),
    )  # fmt: skip
    (row,) = it.rows("application/a1/device/01010101010101bb/event/up", payload)
    assert row == {
        "device_id": "01010101010101bb", "event_time": us("2026-11-24T08:30:01.775023Z"), "temperature": 19.5,
        "rx": '[{"gatewayId":"00","rssi":-40}]', "tags": "{}", "eui": "01010101010101bb",
    }  # fmt: skip


def test_a_notification_of_a_shelly_has_only_what_changed(world: Make) -> None:
    it = world(
        {"filter": "{device_id}/events/rpc", "unknown_fields": "keep",
         "fields": {"event_time": {"path": "params.ts", "unit": "s"}, "power": "params.switch:0.apower",
                    "energy": {"path": "params.switch:0.aenergy.total", "unit": "W.h"}}},
        field("power", unit="W"), field("energy", unit="kW.h"),
    )  # fmt: skip
    energy = {"src": "s", "params": {"ts": 1795428011.46, "switch:0": {"id": 0, "aenergy": {"total": 1500.0}}}}
    (row,) = it.rows("shelly-1/events/rpc", energy)
    assert (row["event_time"], row["energy"], "power" in row) == (1_795_428_011_460_000, 1.5, False)
    power = {"src": "s", "params": {"ts": 1795428012, "switch:0": {"id": 0, "apower": 60}}}
    (row,) = it.rows("shelly-1/events/rpc", power)
    assert (row["event_time"], row["power"], "energy" in row) == (1_795_428_012_000_000, 60.0, False)
    (refused,) = it.rows("shelly-1/events/rpc", {"params": {"ts": 1795428012460, "switch:0": {"apower": 60}}})
    assert refused[0] is Reason.OUT_OF_RANGE
    assert 'did you mean milliseconds, 2026-11-23? Then set fields.event_time.unit: "ms" in the route)' in refused[2]


def test_a_sensor_of_zigbee2mqtt(world: Make) -> None:
    it = world(
        {"filter": "zigbee2mqtt/{device_id}", "unknown_fields": "keep", "fields": {"event_time": "last_seen"}},
        field("temperature", unit="Cel"), field("update_available", "boolean"),
    )  # fmt: skip
    payload = {"temperature": 21.5, "last_seen": "2026-11-24T09:30:00+01:00", "update_available": None,
               "update": {"state": "updating", "progress": 3.5}}  # fmt: skip
    assert it.rows("zigbee2mqtt/t-1", payload) == [{
        "device_id": "t-1", "event_time": us("2026-11-24T08:30:00Z"), "temperature": 21.5,
        "_extra": '{"update":{"state":"updating","progress":3.5}}',
    }]  # fmt: skip


def test_a_plug_of_tasmota_says_its_local_time(world: Make) -> None:
    energy = {
        "type": "record",
        "name": "energy",
        "fields": [{"name": "Total", "type": ["null", "double"], "doc": "x", "unit": "kW.h"}],
    }
    route = {"filter": "tele/{device_id}/SENSOR", "unknown_fields": "ignore", "time_zone": "Europe/Berlin",
             "fields": {"event_time": "Time"}}  # fmt: skip
    it = world(route, field("ENERGY", energy))

    def at(text: str) -> Any:
        (row,) = it.rows("tele/plug/SENSOR", {"Time": text, "ENERGY": {"Total": 25, "Power": 7}})
        return row if isinstance(row, tuple) else row["event_time"]

    (row,) = it.rows("tele/plug/SENSOR", {"Time": "2026-11-24T10:00:12", "ENERGY": {"Total": 25.313}})
    assert row == {"device_id": "plug", "event_time": us("2026-11-24T09:00:12Z"), "ENERGY": {"Total": 25.313}}
    assert at("2026-07-01T10:00:00") == us("2026-07-01T08:00:00Z")
    assert at("2026-07-01T10:00:00Z") == us("2026-07-01T10:00:00Z")
    assert at("2026-10-25T02:30:00") == us("2026-10-25T00:30:00Z"), "it came twice: the first"
    reason, name, words, _ = at("2026-03-29T02:30:00")
    assert (reason, name) == (Reason.OUT_OF_RANGE, "event_time")
    assert "never came in Europe/Berlin: the clocks went forward over it" in words


def test_a_zone_without_a_mapping_goes_the_fast_way_too(world: Make) -> None:
    it = world({"filter": "a/{device_id}", "time_zone": "Asia/Tokyo"}, field("x", unit="1"))
    (row,) = it.rows("a/d", {"event_time": "2026-11-24T10:00:12", "x": 1})
    assert row["event_time"] == us("2026-11-24T01:00:12Z")


def test_keys_in_any_script_and_numbers_beyond_64_bits(world: Make) -> None:
    it = world(
        {"filter": "odd/{device_id}/data", "unknown_fields": "keep",
         "fields": {"event_time": "ts", "wet": "湿度", "temp": "temp(°C)", "dotted": '["a.b"]', "eui": "eui"}},
        field("wet", unit="%"), field("temp", unit="Cel"), field("dotted", unit="1"), field("eui", "string", json=True),
    )  # fmt: skip
    payload = '{"ts": "2026-11-24T10:00:00Z", "湿度": 41, "temp(°C)": 3, "a.b": 7, "eui": 18446744073709551614}'
    (row,) = it.rows("odd/o-1/data", payload.encode())
    assert (row["wet"], row["temp"], row["dotted"], row["eui"]) == (41.0, 3.0, 7.0, "18446744073709551614")


def test_units_and_times_are_converted(world: Make) -> None:
    it = world(
        {"filter": "a/{device_id}", "fields": {
            "event_time": {"path": "when", "format": "%d/%m/%Y %H:%M"}, "ax": {"path": "acc.x", "unit": "g"},
            "temp": {"path": "t", "unit": "degF"}, "wave": {"path": "w", "unit": "mV"},
            "seen": {"path": "s", "unit": "ms"}}},
        field("ax", unit="m/s2"), field("temp", unit="Cel", sentinels=[-999]),
        field("wave", {"type": "array", "items": "double"}, max_items=9, unit="V"),
        field("seen", {"type": "long", "logicalType": "timestamp-micros"}),
    )  # fmt: skip
    payload = {"when": "24/11/2026 10:30", "acc": {"x": 1}, "t": 68, "w": [1500, 2], "s": "1795428000123"}
    assert it.rows("a/d", payload) == [{
        "device_id": "d", "event_time": us("2026-11-24T10:30:00Z"), "ax": 9.80665, "temp": 20.0, "wave": [1.5, 0.002],
        "seen": datetime(2026, 11, 23, 10, 0, 0, 123_000, UTC),
    }]  # fmt: skip
    (row,) = it.rows("a/d", payload | {"t": -999})
    assert ("temp" in row, row["_quality"]) == (False, "temp:sentinel:null")
    (refused,) = it.rows("a/d", payload | {"when": "2026-11-24"})
    assert (refused[0], refused[1]) == (Reason.WRONG_TYPE, "event_time")
    (refused,) = it.rows("a/d", payload | {"t": "68"})
    assert (refused[0], refused[1]) == (Reason.WRONG_TYPE, "temp")


LIST_ROUTE: dict[str, Any] = {
    "filter": "a/{device_id}",
    "explode": "rows",
    "fields": {"event_time": {"path": "rows.at", "unit": "s"}},
}
LIST = {"gw": "g", "rows": [{"at": 1795428000, "x": 1}, {"at": 1795428001, "x": "high"}, 5, {"x": 2, "gw": "own"}]}


def test_elements_have_what_is_around_them_and_a_bad_one_is_a_payload_of_its_own(world: Make) -> None:
    it = world(LIST_ROUTE, field("x", unit="1"), field("gw", "string"))
    first, bad, number, last = it.rows("a/d", LIST)
    assert (first["gw"], first["x"], first["event_time"]) == ("g", 1.0, 1_795_428_000_000_000)
    assert (last["gw"], last["x"], last["event_time"]) == ("own", 2.0, NOW)
    assert bad[:2] == (Reason.WRONG_TYPE, "x")
    assert orjson.loads(bad[3]) == {"gw": "g", "rows": [{"at": 1795428001, "x": "high"}]}
    assert (number[0], orjson.loads(number[3])["rows"]) == (Reason.UNKNOWN_FIELD, [5])
    (again,) = it.rows("a/d", bad[3])
    assert again == bad, "the dead letter, sent again, is judged the same"
    two = it.rows("a/d", orjson.dumps([LIST, LIST]))
    assert len(two) == 8
    payload = orjson.dumps([LIST, LIST])
    assert orjson.loads(it.decoder.element(payload, 5)) == {"gw": "g", "rows": [{"at": 1795428001, "x": "high"}]}


@pytest.mark.parametrize("rows", [[], None, "absent"])
def test_an_object_without_elements_is_one_reading_of_what_is_around_the_list(world: Make, rows: Any) -> None:
    it = world(LIST_ROUTE, field("x", unit="1"), field("gw", "string"))
    payload = {"gw": "g"} if rows == "absent" else {"gw": "g", "rows": rows}
    assert it.rows("a/d", payload) == [{"device_id": "d", "event_time": NOW, "gw": "g"}]


def test_what_is_around_a_list_is_not_multiplied_without_bound(world: Make) -> None:
    it = world({"filter": "a/{device_id}", "explode": "rows"}, field("x", unit="1"), field("gw", "string"))
    (found,) = it.rows("a/d", {"gw": "g" * 1_000_000, "rows": [{"x": 1}] * 100})
    assert found[0] is Reason.TOO_LARGE
    (found,) = it.rows("a/d", {"rows": [{"x": 1}] * 10_001})
    assert found[0] is Reason.TOO_LARGE


def test_readings_of_one_list_have_ids_of_their_own(world: Make) -> None:
    it = world(LIST_ROUTE, field("x", unit="1"), field("gw", "string"))
    payload = orjson.dumps(LIST)
    found, again = it.found("a/d", payload), it.found("a/d", payload)
    assert [f for f in found if isinstance(f, Reading)] == [f for f in again if isinstance(f, Reading)]
    assert len({f.value for f in found if isinstance(f, Reading)}) == 2


SHAPES = [orjson.dumps(TTN), orjson.dumps(LIST), b'{"ts":"2026-11-24T10:00:00Z","rows":{"x":NaN}}', b"[{},{}]"]


@given(st.sampled_from(SHAPES), st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=3)), max_size=4))
def test_mutated_payloads_are_readings_or_refused(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, changes: list[tuple[int, bytes]]
) -> None:
    for at, put in changes:
        payload = payload[: at % len(payload)] + put + payload[at % len(payload) + len(put) :] or b" "
    for it, topic in _mutation_worlds(tmp_path_factory):
        began = time.process_time()
        for index, one in enumerate(it.found(topic, payload)):
            if isinstance(one, Reading):
                read(it.contract, one.value)
                it.decoder.element(payload, index)
        it.decoder.marks(payload)
        assert time.process_time() - began < 5


_made: list[tuple[World, str]] = []


def _mutation_worlds(folders: pytest.TempPathFactory) -> list[tuple[World, str]]:
    if not _made:
        _made.append((World(folders.mktemp("ttn"), TTN_ROUTE, *TTN_FIELDS), "v3/hill@ttn/devices/d/up"))
        list_fields = field("x", unit="1"), field("gw", "string")
        _made.append((World(folders.mktemp("list"), LIST_ROUTE | {"unknown_fields": "keep"}, *list_fields), "a/d"))
    return _made
