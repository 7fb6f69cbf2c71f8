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
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]

# What devices send, as their makers document it; values made up.
TTN = {
    "end_device_ids": {"device_id": "soil-07", "dev_eui": "0004A30B00AA0530"},
    "correlation_ids": ["gs:uplink:01EX"],
    "received_at": "2026-11-23T10:00:12.787654321Z",
    "uplink_message": {
        "f_port": 1, "f_cnt": 2, "decoded_payload": {"temperature": 11.5, "moisture": 0.31},
        "rx_metadata": [{"gateway_ids": {"gateway_id": "gw-1"}, "rssi": -35, "snr": 5.2}],
        "settings": {"frequency": "868300000", "timestamp": 2463457000},
    },
}  # fmt: skip
CHIRPSTACK = {
    "time": "2026-11-23T10:00:12.775023242+00:00",
    "deviceInfo": {"deviceName": "th 1", "devEui": "01010101010101aa", "tags": {}},
    "fCnt": 17, "object": {"temperature": 18.25, "humidity": 61.0},
    "rxInfo": [{"gatewayId": "0016c001f153a1aa", "uplinkId": 4217106255, "rssi": -36}],
}  # fmt: skip
SHELLY = {
    "src": "shellyplus1pm-aabbcc001122", "method": "NotifyStatus",
    "params": {"ts": 1795428011.46, "switch:0": {"id": 0, "aenergy": {"by_minute": [0.0, 0.0], "total": 0.0}}},
}  # fmt: skip
Z2M = {"battery": 97, "humidity": 44.2, "last_seen": "2026-11-23T11:00:12+01:00", "update_available": None}
TASMOTA = {"Time": "2026-11-23T10:00:12", "ENERGY": {"Total": 25, "Power": 7, "Current": 0.152}}
RUUVI = {"gw_mac": "C8:25:2D:AA:9C:2C", "rssi": -40, "aoa": [], "ts": 1795428011, "coords": ""}
ODD = {
    "device_id": 17,
    "ts": "2026-11-23T10:00:00Z", "uv_index": 3, "eui": 18446744073709551615, "order": 1, "group": "A",
    "温度": 21.5, "Größe": 3, "date": "2026-11-23", "temp(°C)": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A payload, where it is sent, and what the rows of two queries are: of the printed one, and of one's own."""

    name: str
    topic: str
    payload: dict[str, Any]
    sql: str
    row: dict[str, Any]
    later: dict[str, Any] | None = None  # a message of another kind, that must be a row too
    head: bytes = b""


CASES = [
    Case("ttn", "v3/{}@ttn/devices/{{device_id}}/up", TTN,
         "select event_time::varchar t, uplink_message.decoded_payload.moisture m, uplink_message.f_cnt n, "
         "json_extract(uplink_message.rx_metadata, '$[0].rssi')::int rssi, end_device_ids.dev_eui eui, _extra x",
         {"t": "2026-11-23 10:00:12.787654+00", "m": 0.31, "n": 2, "rssi": -35, "eui": "0004A30B00AA0530", "x": None}),
    Case("chirpstack", "{}/application/+/device/{{device_id}}/event/up", CHIRPSTACK,
         'select "object".temperature t, deviceInfo.tags tags, fCnt n, '
         "json_extract_string(rxInfo, '$[0].gatewayId') gw",
         {"t": 18.25, "tags": "{}", "n": 17, "gw": "0016c001f153a1aa"}),
    Case("shelly", "{}/{{device_id}}/events/rpc", SHELLY,
         "select event_time::varchar t, params.switch_0.aenergy.total e",
         {"t": "2026-11-23 10:00:11.46+00", "e": 0.0},
         {"src": "s", "params": {"ts": 1795428012.5, "switch:0": {"id": 0, "apower": 3.5}}}),
    Case("z2m", "{}/{{device_id}}/z2m", Z2M, "select event_time::varchar t, update_available u",
         {"t": "2026-11-23 10:00:12+00", "u": None}, {**Z2M, "update_available": True, "update": {"progress": 3}}),
    Case("tasmota", "{}/tele/{{device_id}}/SENSOR", TASMOTA, "select ENERGY.Total e", {"e": 25.0},
         {"Time": "2026-11-23T10:05:12", "ENERGY": {"Total": 25.313, "Power": 7.5}}),
    Case("ruuvi", "{}/{{gateway}}/{{device_id}}/ruuvi", RUUVI, "select device_id d, rssi r, aoa a",
         {"d": "c8252daa9c2c", "r": -40.0, "a": "[]"}),
    Case("order", "{}/{{device_id}}/order", ODD,
         'select "order" o, eui::varchar eui, wen_du w, Grosse g, date_2 d, temp_C t, device_id who, _extra x',
         {"o": 1.0, "eui": "18446744073709551615", "w": 21.5, "g": 3.0, "d": "2026-11-23", "t": 3.0, "who": "order-01",
          "x": '{"device_id":17}'},
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
        sample.write_bytes(case.head + json.dumps(case.payload, ensure_ascii=False).encode())
        out, topic = self.folder / case.name, case.topic.format(self.tag)
        done = self.stack.run("contracts", "new", "--from", str(sample), "--topic", topic, "--name", case.name,
                              "--out", str(out))  # fmt: skip
        self.said[case.name] = done.stderr
        self.streams |= yaml.safe_load((out / "my.yaml").read_text(encoding="utf-8"))["streams"]
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
        subprocess.run(words, check=True, timeout=20)

    def query(self, sql: str) -> list[dict[str, Any]]:
        with connect(self.config, sql) as lake:
            rows: list[dict[str, Any]] = run(lake, sql).to_arrow_reader(1000).read_all().to_pylist()
            return rows

    def printed(self, case: Case) -> str:
        words = shlex.split(next(s for s in self.said[case.name].splitlines() if " query " in s))
        return words[words.index("query") + 1]


@pytest.fixture
def world(stack: Stack, tmp_path: Path) -> Iterator[World]:
    it = World(stack, tmp_path)
    for case in CASES:
        it.new(case)
    it.begin()
    with ExitStack() as open_:
        for arguments in (["bridge"], ["processors", "clean"], ["processors", "archive"]):
            service = Service([*arguments, "--config", str(it.path)], tmp_path / f"{arguments[-1]}.log")
            open_.callback(service.kill)
            if arguments == ["bridge"]:
                service.says('"receiving"')
        yield it


def test_the_message_that_it_tells_to_send_is_a_row_of_the_query_that_it_prints(world: World) -> None:
    for case in CASES:
        world.send(case)
        if case.later is not None:
            world.send(case, case.later)
    for case in CASES:
        count = 1 if case.later is None else 2
        until(lambda c=case, n=count: len(world.query(world.printed(c))) == n,  # type: ignore[misc]
              lambda: [x.text("detail") for x in deadletters.read(world.config)])  # fmt: skip
        found = world.query(f'{case.sql} from "{case.name}" order by event_time limit 1')
        assert found == [case.row], case.name
    assert list(deadletters.read(world.config)) == []
    (energy,) = world.query("select ENERGY.Total e from tasmota order by event_time desc limit 1")
    assert energy == {"e": 25.313}
    (kept,) = world.query("select update_available u, _extra x from z2m where update_available is not null")
    assert (kept["u"], json.loads(kept["x"])) == ("true", {"update": {"progress": 3}})
    (partial,) = world.query("select _extra x from shelly order by event_time desc limit 1")
    assert json.loads(partial["x"]) == {"params": {"switch:0": {"apower": 3.5}}}


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
