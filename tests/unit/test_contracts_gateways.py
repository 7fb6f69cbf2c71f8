"""`headrace contracts new` for gateways and for plain values: from messages with their topics to a route that holds."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from headrace.cli import context
from headrace.cli import contracts as contracts_command
from headrace.config import load
from headrace.config.check import problems
from headrace.contracts import files
from headrace.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    context.set_options(tmp_path / "state", None)
    yield tmp_path
    context.set_options(None, None)


def new(sample: str, topic: str) -> Result:
    Path("s.txt").write_text(sample, encoding="utf-8")
    return CliRunner().invoke(contracts_command.app, ["new", "--from", "s.txt", "--topic", topic, "--name", "s"])


def route(sample: str, topic: str) -> dict[str, Any]:
    result = new(sample, topic)
    assert result.exit_code == 0, (result.output, result.exception)
    config = load(Path("my.yaml"), {})
    assert problems(config) == []
    (written,) = yaml.safe_load(Path("my.yaml").read_text(encoding="utf-8"))["streams"]["s"]["routes"]
    assert written.pop("filter") == topic
    assert written.pop("unknown_fields") == "keep"
    assert isinstance(written, dict)
    return written


@pytest.mark.parametrize(
    ("sample", "topic", "expected"),
    [
        ('a/gw/events {"model":"X-1","id":5,"channel":2}\na/gw/events {"model":"Y","id":5}', "a/{gateway}/events",
         {"path": ["model", "channel", "id"], "names": "encode"}),
        ('a/gw/events {"model":"X-1","id":"c0:ff:ee:00:00:01"}', "a/{gateway}/events", {"path": "id", "names": "mac"}),
        ('a/gw/events {"sensor":17,"t":1}', "a/{gateway}/events", {"path": "sensor", "names": "encode"}),
        ('a/gw/up {"info":{"devEui":"0101","name":"x"},"t":1}', "a/{gateway}/up",
         {"path": "info.devEui", "names": "encode"}),
        ('a/gw/hall/lamp {"t":1}', "a/{gateway}/{room}/{thing}", {"topic": "{room}/{thing}", "names": "encode"}),
        ('a/gw/AA:BB:CC:DD:EE:FF {"t":1}', "a/{gateway}/{device_id}", {"names": "mac"}),
        ('a/gw/lamp {"t":1}', "a/{gateway}/{device_id}", {"names": "encode"}),
    ],
)  # fmt: skip
def test_the_device_behind_a_gateway_is_found(sample: str, topic: str, expected: dict[str, Any]) -> None:
    assert route(sample, topic) == {"identity": "gateway", "device": expected}


def test_devices_by_themselves_keep_their_names() -> None:
    assert route('tele/plug-1/SENSOR {"Power": 7}', "tele/{device_id}/SENSOR") == {}


@pytest.mark.parametrize(
    ("sample", "topic", "expected"),
    [
        ("shellies/plug-1/relay/0/power 3.5\nshellies/plug-1/relay/0/energy 120\nshellies/plug-1/relay/0 on",
         "shellies/{device_id}/relay/0/{field}", {}),
        ("rtl_433/pi/devices/X-1/A/5/temperature_C 21.5\nrtl_433/pi/devices/X-1/A/5/time 2026-11-23 10:00:12",
         "rtl_433/{gateway}/devices/{model}/{channel}/{id}/{field}",
         {"identity": "gateway", "device": {"topic": "{model}/{channel}/{id}", "names": "encode"}}),
        ("homie/porch/climate/temperature 21.5\nhomie/porch/climate/$name Climate",
         "homie/{device_id}/climate/{field}", {}),
    ],
)  # fmt: skip
def test_plain_values_make_a_contract_too(sample: str, topic: str, expected: dict[str, Any]) -> None:
    assert route(sample, topic) == {"format": "value", **expected}
    contract = files.find("s", load(Path("my.yaml"), {}).contracts)
    assert not contract.field("event_time").aliases
    assert all(f.nullable for f in contract.fields[2:])


def test_the_line_that_it_tells_to_run_sends_a_message_of_the_sample() -> None:
    said = new("porch/sensor/temperature/state 21.5\n", "{device_id}/sensor/{field}/state").stderr
    line = shlex.split(next(s for s in said.splitlines() if "mosquitto_pub" in s))
    assert [line[line.index(x) + 1] for x in ("-u", "-t", "-m")] == ["porch", "porch/sensor/temperature/state", "21.5"]
    Path("contracts/s.avsc").unlink()
    said = new('rtl_433/pi/events {"model":"X","id":5}\n', "rtl_433/{gateway}/events").stderr
    line = shlex.split(next(s for s in said.splitlines() if "mosquitto_pub" in s))
    assert [line[line.index(x) + 1] for x in ("-u", "-t")] == ["pi", "rtl_433/pi/events"]
    assert "model, id  device_id  string" in said


@pytest.mark.parametrize(
    ("sample", "topic", "words"),
    [
        ('a/gw/events {"t":1}', "a/{gateway}/events", "nothing says which device sent it"),
        ('a/gw/events {"t":1}', "a/+/events", "where a gateway publishes for devices, write {gateway}"),
        ('a/gw/events {"t":1}', "b/{device_id}", "no message came on such a topic, but on a/gw/events"),
        ("a/porch/t 21.5", "a/{device_id}/t", "For plain values, such as 21.5, write {field}"),
        ('{"t": 1}', "a/{device_id}/{field}", "as mosquitto_sub -v prints it"),
        ("a/porch/t \n", "a/{device_id}/{field}", "no message has a value"),
    ],
)
def test_it_refuses_in_words(sample: str, topic: str, words: str) -> None:
    result = new(sample, topic)
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_samples_with_and_without_topics_are_not_mixed() -> None:
    Path("a.txt").write_text('tele/a/SENSOR {"t": 1}\n', encoding="utf-8")
    Path("b.json").write_text('{"t": 1}\n', encoding="utf-8")
    argv = ["new", "--from", "a.txt", "--from", "b.json", "--topic", "tele/{device_id}/SENSOR"]
    result = CliRunner().invoke(contracts_command.app, argv)
    assert "b.json: no topics before its messages" in str(result.exception)
