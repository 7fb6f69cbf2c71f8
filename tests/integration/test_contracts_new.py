"""`headrace contracts new` on the real services: the very message that it tells to send becomes a row of its SQL."""

import json
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace import deadletters
from headrace.config import load
from headrace.lake.sql import connect, run
from headrace.operate import provision
from tests.faults.own import SECONDS, SOON, Service, until
from tests.publishing import publish
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]

# What devices send, as their makers document it; values made up.
TTN = {
    "end_device_ids": {
        "device_id": "soil-07", "application_ids": {"application_id": "orchard"},
        "dev_eui": "0004A30B00AA0530", "join_eui": "800000000000000C", "dev_addr": "00BCB9AA",
    },
    "correlation_ids": ["gs:uplink:01EX"],
    "received_at": "2026-11-23T10:00:12.787654321Z",
    "uplink_message": {
        "session_key_id": "AXA50xyz", "f_port": 1, "f_cnt": 2, "frm_payload": "BAXQ",
        "decoded_payload": {"temperature": 11.5, "moisture": 0.31},
        "rx_metadata": [{
            "gateway_ids": {"gateway_id": "gw-1", "eui": "9C5C8E00001A05AA"}, "time": "2026-11-23T10:00:12.7Z",
            "timestamp": 2463457000, "rssi": -35, "channel_rssi": -35, "snr": 5.2,
        }],
        "settings": {
            "data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7, "coding_rate": "4/5"}},
            "frequency": "868300000", "timestamp": 2463457000,
        },
        "received_at": "2026-11-23T10:00:12.58Z", "consumed_airtime": "0.056576s",
    },
}  # fmt: skip
CHIRPSTACK = {
    "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f920aa", "time": "2026-11-23T10:00:12.775023242+00:00",
    "deviceInfo": {"tenantName": "acme", "deviceName": "th 1", "devEui": "01010101010101aa", "tags": {}},
    "devAddr": "001894aa", "adr": True, "dr": 1, "fCnt": 17, "fPort": 1, "confirmed": False, "data": "qgE=",
    "object": {"temperature": 18.25, "humidity": 61.0},
    "rxInfo": [{
        "gatewayId": "0016c001f153a1aa", "uplinkId": 4217106255, "rssi": -36, "snr": 10.5,
        "metadata": {"region_name": "eu868"},
    }],
    "txInfo": {"frequency": 867100000, "modulation": {"lora": {"spreadingFactor": 11, "codeRate": "CR_4_5"}}},
}  # fmt: skip
SHELLY = {
    "src": "shellyplus1pm-aabbcc001122", "dst": "shellyplus1pm-aabbcc001122/events", "method": "NotifyStatus",
    "params": {"ts": 1795428011.46, "switch:0": {
        "id": 0, "aenergy": {"by_minute": [0.0, 0.0, 0.0], "minute_ts": 1795428000, "total": 0.0},
    }},
}  # fmt: skip
_UPDATE = {"installed_version": 16777241, "latest_version": 16777241, "state": "idle"}
Z2M = {
    "battery": 97, "humidity": 44.2, "linkquality": 120, "temperature": 21.37, "pressure": 1002.1, "voltage": 2995,
    "last_seen": "2026-11-23T11:00:12+01:00", "update": _UPDATE, "update_available": None,
}  # fmt: skip
Z2M_LATER = {
    **Z2M, "last_seen": "2026-11-23T11:05:12+01:00", "update_available": True,
    "update": {**_UPDATE, "latest_version": 16777300, "state": "updating", "progress": 3.5, "remaining": 540},
}  # fmt: skip
TASMOTA = {"Time": "2026-11-23T10:00:12", "ENERGY": {
    "TotalStartTime": "2026-01-02T11:12:13", "Total": 25, "Yesterday": 3, "Today": 2, "Period": 0, "Power": 7,
    "ApparentPower": 35, "ReactivePower": 34, "Factor": 0.20, "Voltage": 231, "Current": 0.152,
}}  # fmt: skip
RUUVI = {
    "gw_mac": "C8:25:2D:AA:9C:2C", "rssi": -40, "aoa": [], "gwts": 1795428012, "ts": 1795428011,
    "data": "0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F", "coords": "",
}  # fmt: skip
ODD = {
    "device_id": 17,
    "ts": "2026-11-23T10:00:00Z", "uv_index": 3, "heat_index": 25, "total": 12, "lifetime_wh": 2000000000,
    "eui": 18446744073709551615, "flag": True, "label": "a", "order": 1, "group": "A",
    "温度": 21.5, "湿度": 40, "Größe": 3, "date": "2026-11-23", "temp(°C)": 3,
}  # fmt: skip
KIND = {"ts": "2026-11-23T10:00:00Z", "v": 1.5, "w": 2}


@dataclass(frozen=True)
class Case:
    """A payload, where it is sent, and what the rows of two queries are: of the printed one, and of one's own."""

    name: str
    topic: str
    payload: dict[str, Any] | list[dict[str, Any]]  # several: one a line
    sql: str
    row: dict[str, Any]
    later: dict[str, Any] | None = None  # a message of another kind, that must be a row too
    head: bytes = b""


CASES = [
    Case("ttn", "v3/{}@ttn/devices/{{device_id}}/up", TTN,
         "select event_time::varchar t, uplink_message.decoded_payload.moisture m, uplink_message.f_cnt n, "
         "uplink_message.decoded_payload.temperature c, uplink_message.settings.frequency f, "
         "json_extract(uplink_message.rx_metadata, '$[0].rssi')::int rssi, end_device_ids.dev_eui eui, _extra x",
         {"t": "2026-11-23 10:00:12.787654+00", "m": 0.31, "n": 2, "c": 11.5, "f": "868300000", "rssi": -35,
          "eui": "0004A30B00AA0530", "x": None}),
    Case("chirpstack", "{}/application/+/device/{{device_id}}/event/up", CHIRPSTACK,
         'select "object".temperature t, deviceInfo.tags tags, fCnt n, '
         "json_extract_string(rxInfo, '$[0].gatewayId') gw",
         {"t": 18.25, "tags": "{}", "n": 17, "gw": "0016c001f153a1aa"}),
    Case("shelly", "{}/{{device_id}}/events/rpc", SHELLY,
         "select event_time::varchar t, params.switch_0.aenergy.total e",
         {"t": "2026-11-23 10:00:11.46+00", "e": 0.0},
         {"src": "s", "params": {"ts": 1795428012.5, "switch:0": {"id": 0, "apower": 3.5}}}),
    Case("z2m", "{}/{{device_id}}/z2m", Z2M,
         'select event_time::varchar t, update_available u, temperature c, voltage v, "update".state s',
         {"t": "2026-11-23 10:00:12+00", "u": None, "c": 21.37, "v": 2995.0, "s": "idle"}, Z2M_LATER),
    Case("z2m_two", "{}/{{device_id}}/z2m_two", [Z2M, Z2M_LATER],
         'select event_time::varchar t, update_available u, "update".progress p, _extra x',
         {"t": "2026-11-23 10:00:12+00", "u": None, "p": None, "x": None}),
    Case("tasmota", "{}/tele/{{device_id}}/SENSOR", TASMOTA,
         "select event_time::varchar t, ENERGY.Total e, ENERGY.Factor f, ENERGY.Voltage v",
         {"t": "2026-11-23 09:00:12+00", "e": 25.0, "f": 0.2, "v": 231.0},
         {"Time": "2026-11-23T10:05:12", "ENERGY": {"Total": 25.313, "Power": 7.5}}),
    Case("ruuvi", "{}/{{gateway}}/{{device_id}}/ruuvi", RUUVI,
         "select event_time::varchar t, device_id d, rssi r, aoa a",
         {"t": "2026-11-23 10:00:11+00", "d": "c8252daa9c2c", "r": -40.0, "a": "[]"}),
    Case("order", "{}/{{device_id}}/order", ODD,
         'select "order" o, eui::varchar eui, wen_du w, Grosse g, date_2 d, temp_C t, device_id who, _extra x, '
         'uv_index u, heat_index h, lifetime_wh wh, shi_du rh, "group" gr',
         {"u": 3.0, "h": 25.0, "wh": 2000000000.0, "rh": 40.0, "gr": "A", "o": 1.0,
          "eui": "18446744073709551615", "w": 21.5, "g": 3.0, "d": "2026-11-23", "t": 3.0, "who": "order-01",
          "x": '{"device_id":17}'},
         head=b"\xef\xbb\xbf"),
    Case("kinds", "{}/{{device_id}}/kinds", KIND,
         "select event_time::varchar t, v", {"t": "2026-11-23 10:00:00+00", "v": 1.5},
         head=b"\xef\xbb\xbf"),
]  # fmt: skip


class World:
    """The streams of all cases on the session's stack, with a bridge, a clean and an archive of their own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder, self.tag = stack, folder, uuid.uuid4().hex[:6]
        self.said: dict[str, str] = {}
        self.streams: dict[str, Any] = {}
        self.contracts: list[str] = []

    def new(self, case: Case) -> None:
        sample = self.folder / f"{case.name}.json"
        messages = case.payload if isinstance(case.payload, list) else [case.payload]
        lines = "\n".join(json.dumps(m, ensure_ascii=False) for m in messages)
        sample.write_bytes(case.head + lines.encode())
        out, topic = self.folder / case.name, case.topic.format(self.tag)
        done = self.stack.run("contracts", "new", "--from", str(sample), "--topic", topic, "--name", case.name,
                              "--out", str(out))  # fmt: skip
        self.said[case.name] = done.stderr
        text = (out / "my.yaml").read_text(encoding="utf-8")
        self.streams |= yaml.safe_load(text.replace("# time_zone:", "time_zone:"))["streams"]
        self.contracts.append(str(out / "contracts"))

    def begin(self) -> None:
        self.path = self.stack.config_file(self.folder / "all.yaml", {
            "streams": {name: {**s, "partitions": 1} for name, s in self.streams.items()},
            "contracts": self.contracts,
            "dead_letters": {"topic": f"new-{self.tag}-letters", "partitions": 1},
            "bridge": {"client_id": f"headrace-new-{self.tag}"},
            "clean": {"group": f"new-{self.tag}-clean"},
            "archive": {"group": f"new-{self.tag}-archive", **SOON},
        })  # fmt: skip
        self.config = load(self.path, {})
        provision.topics(self.config)
        provision.contracts(self.config)

    def send(self, case: Case, payload: dict[str, Any] | None = None) -> None:
        """Run the printed line, with the services' login: the session's broker has no route for the device."""
        line = next(s for s in self.said[case.name].splitlines() if s.strip().startswith("mosquitto_pub"))
        words, mqtt = shlex.split(line), self.config.mqtt
        assert mqtt.password is not None
        login = {"-h": mqtt.host, "-p": str(mqtt.port), "-u": str(mqtt.username)}
        login["-P"] = mqtt.password.get_secret_value()
        for option, value in login.items():
            words[words.index(option) + 1] = value
        if payload is not None:
            words[words.index("-f") : words.index("-f") + 2] = ["-m", json.dumps(payload)]
        shell, _, file = shlex.join(words).partition(" '<' ")
        with Path(file or "/dev/null").open("rb") as lines:
            subprocess.run(shlex.split(shell), check=True, timeout=20, stdin=lines)

    def query(self, sql: str) -> list[dict[str, Any]]:
        with connect(self.config, sql) as lake:
            rows: list[dict[str, Any]] = run(lake, sql).to_arrow_reader(1000).read_all().to_pylist()
            return rows

    def printed(self, case: Case) -> str:
        words = shlex.split(next(s for s in self.said[case.name].splitlines() if " query " in s))
        return words[words.index("query") + 1]


@pytest.fixture
def world(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    it = World(stack, tmp_path)
    for case in request.param:
        it.new(case)
    it.begin()
    with ExitStack() as open_:
        for arguments in (["bridge"], ["processors", "clean"], ["processors", "archive"]):
            service = Service([*arguments, "--config", str(it.path)], tmp_path / f"{arguments[-1]}.log")
            open_.callback(service.kill)
            if arguments == ["bridge"]:
                service.says('"receiving"')
        yield it


@pytest.mark.parametrize("world", [CASES[3:4]], indirect=True, ids=["z2m"])
def test_the_message_that_it_tells_to_send_is_a_row_of_the_query_that_it_prints(world: World) -> None:
    _sent_and_stored(world, CASES[3:4])


def _sent_and_stored(world: World, cases: list[Case]) -> None:
    for case in cases:
        world.send(case)
        if case.later is not None:
            world.send(case, case.later)
    for case in cases:
        count = (len(case.payload) if isinstance(case.payload, list) else 1) + (case.later is not None)
        until(lambda c=case, n=count: len(world.query(world.printed(c))) == n,  # type: ignore[misc]
              lambda: [x.text("detail") for x in deadletters.read(world.config)])  # fmt: skip
        found = world.query(f'{case.sql} from "{case.name}" order by event_time limit 1')
        assert found == [case.row], case.name
    assert list(deadletters.read(world.config)) == []


@pytest.mark.long
@pytest.mark.parametrize("world", [CASES], indirect=True, ids=["all"])
def test_so_is_each_kind_of_message_and_what_its_later_ones_add(world: World) -> None:
    _sent_and_stored(world, CASES)
    (energy,) = world.query("select ENERGY.Total e from tasmota order by event_time desc limit 1")
    assert energy == {"e": 25.313}
    (kept,) = world.query("select update_available u, _extra x from z2m where update_available is not null")
    assert (kept["u"], json.loads(kept["x"])) == ("true", {"update": {"progress": 3.5, "remaining": 540}})
    (two,) = world.query('select "update".progress p, update_available u from z2m_two order by event_time desc limit 1')
    assert two == {"p": 3.5, "u": True}
    (partial,) = world.query("select _extra x from shelly order by event_time desc limit 1")
    assert json.loads(partial["x"]) == {"params": {"switch:0": {"apower": 3.5}}}
    _odd_messages(world)


def _odd_messages(world: World) -> None:
    """Of one contract: each is a reading with a note, a dead letter that says what to do, or nothing."""
    messages = [
        b'{"ts": "2026-11-23T10:00:01Z", "v": nan, "w": 3}',
        b'{"ts": "2026-11-23T10:00:02Z", "v": 9007199254740993}',
        b'{"ts": "2026-11-23T10:00:03Z", "w": 4}\0',
        b"",
        b"{}",
        b'{"ts": "2026-11-23T10:00:04Z", "v": "21,5"}',
        b'{"ts": 1795428000, "v": 1}',
        b'{"ts": "2026-11-23T10:00:09Z", "w": 9}',
    ]
    publish(world.config.mqtt, *((f"{world.tag}/k-01/kinds", m) for m in messages))
    sql = "select v, w, _quality q from kinds order by event_time"
    until(lambda: len(world.query(sql)) == 5, lambda: world.query(sql))
    assert world.query(sql)[1:] == [
        {"v": None, "w": 3.0, "q": "v:not_finite:null"},
        {"v": 9007199254740992.0, "w": None, "q": "v:digits:round"},
        {"v": None, "w": 4.0, "q": None},
        {"v": None, "w": 9.0, "q": None},
    ]
    blank, comma, unit = [x.text("detail") for x in deadletters.read(world.config)]
    assert "no field of the contract has a value" in blank
    assert "set text_numbers: ','" in comma
    assert "1970-01-01" in unit
    assert "did you mean seconds, 2026-11-23" in unit


def test_it_listens_to_the_broker(stack: Stack, tmp_path: Path) -> None:
    tag = f"listen-{uuid.uuid4().hex[:6]}"
    argv = ["--state", str(stack.state), "contracts", "new", "--listen", f"{tag}/+/SENSOR", "--for", "60s"]
    mqtt = stack.config().mqtt
    assert mqtt.password is not None
    login = ["-h", mqtt.host, "-p", str(mqtt.port), "-u", str(mqtt.username), "-P", mqtt.password.get_secret_value()]
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "headrace", *argv, "--most", "2", "--out", str(tmp_path)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    ) as listening:  # fmt: skip
        while listening.poll() is None and time.monotonic() - begun < SECONDS:
            for device, power in (("plug-1", "7"), ("plug-2", "7.5")):
                message = f'{{"Power": {power}}}'
                subprocess.run(["mosquitto_pub", *login, "-t", f"{tag}/{device}/SENSOR", "-m", message], check=True)
            time.sleep(0.2)
        _, said = listening.communicate(timeout=20)
    assert listening.returncode == 0, said
    assert f"2 messages of 2 devices came on {tag}/{{device_id}}/SENSOR" in said
    (route,) = load(tmp_path / "my.yaml", {}).streams["sensor"].routes
    assert route.filter == f"{tag}/{{device_id}}/SENSOR"
