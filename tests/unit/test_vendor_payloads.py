"""Variations of what the devices of docs/cookbook.md send: `contracts new` takes each, and the rows have its values."""

from pathlib import Path
from typing import Any

import pytest

from headrace.config import load
from headrace.contracts import heard
from tests.unit.test_cookbook import here, new, readings

__all__ = ["here"]  # the fixture: a folder of one's own
SENSOR, SHELLY = "tele/{device_id}/SENSOR", "shelly/{device_id}/events/rpc"
NOW = 1_795_428_100_000_000
AT = 1_795_428_012_000_000  # 2026-11-23T10:00:12Z

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("Tasmota, two channels", SENSOR,
     'tele/p/SENSOR {"Time":"2026-11-23T10:00:12","ENERGY":{"Total":[2.813,0],"Power":[52,5],"Voltage":235}}',
     {"event_time": AT, "ENERGY.Total": [2.813, 0.0], "ENERGY.Power": [52.0, 5.0], "ENERGY.Voltage": 235.0}),
    ("Tasmota, several sensors, one without a value", SENSOR,
     ('tele/p/SENSOR {"Time":"2026-11-23T10:00:12","DS18B20-1":{"Id":"01131B123456","Temperature":21.8},'
     '"AM2301":{"Temperature":null,"Humidity":null},"BME280":{"Temperature":24,"Pressure":1013},"TempUnit":"C"}'),
     {"DS18B20_1.Temperature": 21.8, "AM2301.Temperature": None, "BME280.Pressure": 1013.0, "TempUnit": "C"}),
    ("Tasmota 5", SENSOR, 'tele/p/SENSOR {"Time":"2026.11.23 10:00:12","DS18B20":{"Temperature":19.7}}',
     {"event_time": AT, "DS18B20.Temperature": 19.7}),
    ("Zigbee2MQTT, a lamp", "zigbee2mqtt/{gateway}/{device_id}",
     ('zigbee2mqtt/hall/0x00158d0001 {"state":"ON","brightness":254,"color":{"x":0.4599,"y":0.4106},"color_temp":null,'
     '"update":{"state":"idle","progress":null},"last_seen":1795428012000}'),
     {"event_time": AT, "device_id": "0x00158d0001", "color.x": 0.4599, "brightness": 254.0, "update.state": "idle"}),
    ("Shelly, everything", SHELLY,
     ('shelly/p/events/rpc {"src":"x","method":"NotifyFullStatus","params":{"ts":1795428012.0,"ble":{},'
     '"cloud":{"connected":true},"switch:0":{"id":0,"output":true,"apower":8.9,"temperature":{"tC":42.6,"tF":108.6}},'
     '"sys":{"mac":"A8032ABE54DC","unixtime":1795428012,"available_updates":{}},"wifi":{"rssi":-63}}}'),
     {"event_time": AT, "params.switch_0.output": True, "params.switch_0.temperature.tC": 42.6, "params.ble": "{}"}),
    ("Shelly, an event", SHELLY,
     ('shelly/p/events/rpc {"src":"x","method":"NotifyEvent","params":{"ts":1795428012.0,"events":['
     '{"component":"input:0","id":0,"event":"single_push","ts":1795428012.0}]}}'),
     {"event_time": AT,
      "params.events": '[{"component":"input:0","id":0,"event":"single_push","ts":1795428012.0}]'}),
    ("Shelly of the first generation", "shellies/{device_id}/relay/0/{field}", "shellies/p/relay/0/power 12.34",
     {"event_time": NOW, "device_id": "p", "power": 12.34}),
    ("The Things Stack, normalized, a frame counter of 0 left out", "gw/{gateway}/v3/+/devices/{device_id}/up",
     ('gw/ttn/v3/a@ttn/devices/eui-0004a30b/up {"received_at":"2026-11-23T10:00:12.000000999Z","uplink_message":'
     '{"f_port":1,"decoded_payload":{"TempC_SHT":21.5},"normalized_payload":[{"air":{"temperature":21.5}}],'
     '"rx_metadata":[],"settings":{}}}'),
     {"event_time": AT, "device_id": "eui-0004a30b", "uplink_message.decoded_payload.TempC_SHT": 21.5,
      "uplink_message.normalized_payload": '[{"air":{"temperature":21.5}}]'}),
    ("ChirpStack 3", "gw/{gateway}/application/+/device/{device_id}/event/up",
     ('gw/cs/application/1/device/0202020202020202/event/up {"applicationID":"1","devEUI":"AgICAgICAgI=",'
     '"rxInfo":[{"rssi":-48,"loRaSNR":9}],"fCnt":10,"objectJSON":"{\\"t\\":25}","publishedAt":"2026-11-23T10:00:12Z"}'),
     {"event_time": AT, "device_id": "0202020202020202", "fCnt": 10, "objectJSON": '{"t":25}'}),
    ("ChirpStack 4, channels by number", "gw/{gateway}/application/+/device/{device_id}/event/up",
     ('gw/cs/application/1/device/02/event/up {"time":"2026-11-23T10:00:12+00:00","object":{"temperatureSensor":'
     '{"1":21.5}},"rxInfo":[{"rssi":-48}]}'),
     {"event_time": AT, "object.temperatureSensor.n_1": 21.5, "rxInfo": '[{"rssi":-48}]'}),
    ("Ruuvi Gateway, numbers", "ruuvi/{gateway}/{device_id}",
     'ruuvi/hall/FC:53:94:C3:7C:00 {"gw_mac":"C8:25:2D:AA:9C:2C","rssi":-40,"gwts":1795428012,"ts":1795428012}',
     {"event_time": AT, "device_id": "fc5394c37c00", "rssi": -40.0}),
    ("rtl_433, a value a topic", "rtl_433/{gateway}/devices/{model}/{channel}/{id}/{field}",
     "rtl_433/attic/devices/X-1/A/5/temperature_C 21.5",
     {"event_time": NOW, "device_id": "X-1__2fA__2f5", "temperature_C": 21.5}),
    ("Theengs, the device in the payload alone", "home/{gateway}/BTtoMQTT",
     'home/TheengsGateway/BTtoMQTT {"id":"A4:C1:38:00:00:01","rssi":-60,"tempc":21.5,"hum":40}',
     {"device_id": "a4c138000001", "tempc": 21.5, "hum": 40.0}),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "sample", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_variation_becomes_a_row(topic: str, sample: str, expected: dict[str, Any]) -> None:
    new(f"headrace contracts new --from s.txt --topic '{topic}' --name it", sample)
    (row,) = readings(load(Path("my.yaml"), {}), "it", heard.messages_of(sample.encode()))
    found = {}
    for path in expected:
        at: Any = row
        for key in path.split("."):
            at = at[key]
        found[path] = at
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}
    assert row["_extra"] is None
