"""`headrace contracts` and `headrace config` as a person calls them, without any server."""

import json
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
import yaml
from typer.testing import CliRunner, Result

from headrace.cli import config as config_command
from headrace.cli import context
from headrace.cli import contracts as contracts_command
from headrace.config import load
from headrace.contracts import files
from headrace.contracts.lint import lint, serious
from headrace.errors import ConfigError
from headrace.lake import views
from headrace.operate.listen import Heard
from headrace.stack.state import State

SAMPLE = {"ts": 1_763_888_400_123, "flow_l_min": 12.5, "motor": {"temp_c": 61.2}, "state": "run"}
TOPIC = "plant/{device_id}/pump"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    context.set_options(tmp_path / "state", None)
    (tmp_path / "sample.json").write_text(json.dumps(SAMPLE), encoding="utf-8")
    yield tmp_path
    context.set_options(None, None)


def run(*args: str, text: str | None = None, command: object = contracts_command) -> Result:
    return CliRunner().invoke(command.app, args, input=text)  # type: ignore[attr-defined]


def new(*args: str, text: str | None = None) -> Result:
    return run("new", "--topic", TOPIC, *args, text=text)


def refusal(result: Result) -> str:
    assert isinstance(result.exception, ConfigError), result.exception
    return str(result.exception)


def test_new_makes_a_contract_and_a_configuration_that_hold(here: Path) -> None:
    result = new("--from", "sample.json")
    assert result.exit_code == 0
    assert result.stdout.split() == ["contracts/pump.avsc", "my.yaml"]
    config = load(here / "my.yaml", {})
    assert config.streams["pump"].routes[0].filter == TOPIC
    contract = files.find("pump", config.contracts)
    assert serious(lint(contract)) == []
    assert run("check", "contracts/pump.avsc").exit_code == 0
    assert run("check", "my.yaml", command=config_command).exit_code == 0


def test_new_says_what_to_do_next() -> None:
    said = new("--from", "sample.json").stderr
    line = next(s for s in said.splitlines() if "mosquitto_pub" in s)
    words = shlex.split(line)
    assert words[words.index("-t") + 1] == "plant/pump-01/pump"
    assert words[words.index("-u") + 1] == "pump-01"
    assert "devices add pump-01" in said
    assert words[words.index("-f") + 1] == "sample.json"
    assert "up --detach --config my.yaml" in said
    assert "query 'select event_time, device_id, flow_l_min, motor.temp_c from pump'" in said


def test_new_says_how_a_stack_that_runs_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.cli.context.state", lambda: tmp_path / "state")
    state = State(tmp_path / "state")
    state.create()
    lock = state.lock()  # as a supervisor has it
    assert lock is not None
    with closing(lock):
        said = new("--from", "sample.json").stderr
    assert "restart --config my.yaml" in said
    assert " up " not in said


def test_new_in_a_container_speaks_of_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.cli.context.config_file", lambda: Path("/etc/headrace/headrace.yaml"))
    said = new("--from", "sample.json").stderr
    assert r"printf 'CONFIG=./my.yaml\nCONTRACTS=./contracts\n' >> .env" in said
    assert "docker compose up -d --wait --force-recreate" in said
    assert "--config my.yaml" not in said


def test_new_over_a_contract_in_use_says_no_more_than_is_left_to_do(here: Path) -> None:
    new("--from", "sample.json")
    said = new("--from", "sample.json").stderr
    assert said.strip() == "contracts/pump.avsc takes the sample as it is, and stays"
    (here / "more.json").write_text('{"flow_l_min": 1, "extra": "x"}', encoding="utf-8")
    lines = new("--from", "more.json", "--force").stderr.splitlines()
    _, *steps = lines[lines.index("Next:") :]
    assert [s.endswith(w) for s, w in zip(steps, ("contracts diff pump", "up --detach"), strict=True)] == [True, True]


def test_new_takes_lines_and_standard_input(here: Path) -> None:
    (here / "many.jsonl").write_text('{"a": 1}\n{"a": 2.5}\n', encoding="utf-8")
    assert "-l < many.jsonl" in new("--from", "many.jsonl").stderr
    result = new("--from", "-", "--name", "other", text='{"b": "it\'s"}')
    words = shlex.split(next(s for s in result.stderr.splitlines() if "mosquitto_pub" in s))
    assert json.loads(words[words.index("-m") + 1]) == {"b": "it's"}


def test_new_says_what_would_break_before_anything_stops(here: Path) -> None:
    new("--from", "sample.json")
    before = (here / "contracts" / "pump.avsc").read_text(encoding="utf-8")
    (here / "other.json").write_text('{"flow_l_min": "low", "motor": {"temp_c": [1]}}', encoding="utf-8")
    message = refusal(new("--from", "other.json", "--force"))
    assert "flow_l_min is double in the contract, and string in the sample" in message
    assert "motor.temp_c is double in the contract, and a list of double in the sample" in message
    assert "--name" in message
    assert "contracts upgrade pump" in message
    assert (here / "contracts" / "pump.avsc").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("topic", "sample", "route"),
    [
        ("a/{device_id}", '{"x": 1}', {}),
        ("a/{device_id}", '{"device_id": 17, "x": 1}', {"device": {"topic": "{device_id}"}}),
        ("a/{gateway}/{device_id}", '{"device_id": 17, "x": 1}',
         {"identity": "gateway", "device": {"topic": "{device_id}", "names": "encode"}}),
        ("a/{gateway}/{device_id}", '{"x": 1}', {"identity": "gateway", "device": {"names": "encode"}}),
        ("a/{gateway}/{device_id}", '{"x": 1, "gw_mac": "C8:25:2D:AA:9C:2C"}',
         {"identity": "gateway", "device": {"names": "mac"}}),
    ],
)  # fmt: skip
def test_new_makes_a_route_by_which_every_device_gets_in(
    here: Path, topic: str, sample: str, route: dict[str, object]
) -> None:
    (here / "s.json").write_text(sample, encoding="utf-8")
    result = run("new", "--from", "s.json", "--topic", topic, "--name", "s")
    (written,) = yaml.safe_load((here / "my.yaml").read_text(encoding="utf-8"))["streams"]["s"]["routes"]
    assert written == {"filter": topic, "unknown_fields": "keep", **route}
    assert run("check", "my.yaml", command=config_command).exit_code == 0
    line = shlex.split(next(x for x in result.stderr.splitlines() if "mosquitto_pub" in x))
    if "gateway" in topic:
        assert "devices add gateway-01 --gateway" in result.stderr
        device = "C8:25:2D:AA:9C:2C" if "gw_mac" in sample else "s-01"
        assert (line[line.index("-u") + 1], line[line.index("-t") + 1]) == ("gateway-01", f"a/gateway-01/{device}")


def test_each_line_that_the_route_has_to_uncomment_is_good(here: Path) -> None:
    sample = {"time": "2026-11-23T10:00:12", "up": {"rx": [{"rssi": -35}, {"rssi": -40}]}}
    (here / "s.json").write_text(json.dumps(sample), encoding="utf-8")
    new("--from", "s.json")
    written = (here / "my.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    asides = [line for line in written if line.startswith("        # ")]
    assert [line.split()[1] for line in asides] == ["time_zone:", "explode:", "fields:"]
    avsc = here / "contracts" / "pump.avsc"
    rssi = '{"name": "rssi", "type": ["null", "double"], "default": null, "doc": "Of the first."},\n'
    text = avsc.read_text(encoding="utf-8")
    avsc.write_text(text.replace('{"name": "_extra"', rssi + '{"name": "_extra"'), encoding="utf-8")
    (here / "all.yaml").write_text("".join(written).replace("        # ", "        "), encoding="utf-8")
    assert run("check", "all.yaml", command=config_command).exit_code == 0


def test_new_quotes_the_words_of_sql(here: Path) -> None:
    (here / "o.json").write_text('{"group": 1.5, "motor": {"end": 2}, "on": "x"}', encoding="utf-8")
    result = run("new", "--from", "o.json", "--topic", "plant/{device_id}/order")
    line = next(s for s in result.stderr.splitlines() if " query " in s)
    assert 'select event_time, device_id, "group", motor."end" from "order"' in shlex.split(line)
    config = load(here / "my.yaml", {})
    lake = duckdb.connect()
    lake.execute(f'create view "order" as {views._empty(files.find("order", config.contracts))}')
    assert lake.execute(shlex.split(line)[shlex.split(line).index("query") + 1]).fetchall() == []


def test_new_takes_several_samples_and_one_with_a_mark_and_a_nul(here: Path) -> None:
    (here / "a.json").write_bytes(b'\xef\xbb\xbf{"a": null, "b": 1}\0')
    (here / "b.jsonl").write_text('{"a": true}\n{"a": false}\n', encoding="utf-8")
    result = new("--from", "a.json", "--from", "b.jsonl")
    assert "from 3 messages" in result.stderr
    assert "a    =       boolean" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "--from, or a topic to listen to with --listen"),
        (["--from", "sample.json", "--listen", "a/+"], "--from, or a topic"),
        (["--listen", "a/+", "--for", "soon"], "--for soon: write 60s"),
        (["--listen", "a/#/b"], "--listen: a/#/b"),
    ],
)
def test_new_takes_a_sample_or_listens(here: Path, args: list[str], words: str) -> None:
    (here / "c.yaml").write_text("streams: {}\n", encoding="utf-8")
    context.set_options(here / "state", here / "c.yaml")
    assert words in refusal(run("new", *args))


def test_new_keeps_what_it_heard_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """A broker's messages, then Ctrl-C: the level of the device is found, and what is no JSON is left out."""

    async def listen(_: object, pattern: str, seconds: float, most: int, heard: list[Heard], tell: object) -> None:
        assert (pattern, seconds, most) == ("tele/+/SENSOR", 120.0, 5)
        heard += [Heard("tele/plug-1/SENSOR", b'{"Power": 7}'), Heard("tele/plug-2/SENSOR", b'{"Power": 7.5}')]
        heard.append(Heard("tele/plug-2/SENSOR", b"Online"))
        raise KeyboardInterrupt

    monkeypatch.setattr("headrace.operate.listen.listen", listen)
    (here / "c.yaml").write_text("streams: {}\n", encoding="utf-8")
    context.set_options(here / "state", here / "c.yaml")
    result = run("new", "--listen", "tele/+/SENSOR", "--for", "2m", "--most", "5")
    assert "2 messages of 2 devices came on tele/{device_id}/SENSOR" in result.stderr
    assert "left out: tele/plug-2/SENSOR: not JSON" in result.stderr
    assert load(here / "my.yaml", {}).streams["sensor"].routes[0].filter == "tele/{device_id}/SENSOR"
    assert "mosquitto_pub" not in result.stderr


def test_new_overwrites_nothing(here: Path) -> None:
    new("--from", "sample.json")
    (here / "my.yaml").write_text("# mine\n", encoding="utf-8")
    result = new("--from", "sample.json")
    assert "takes the sample as it is" in result.stderr
    (here / "more.json").write_text('{"flow_l_min": 1, "extra": "x"}', encoding="utf-8")
    before = (here / "contracts" / "pump.avsc").read_text(encoding="utf-8")
    assert "Write the next version with --force" in refusal(new("--from", "more.json"))
    assert (here / "contracts" / "pump.avsc").read_text(encoding="utf-8") == before
    result = new("--from", "more.json", "--force")
    assert "added extra: optional string (older rows have null there)" in result.stderr
    assert result.exit_code == 0
    assert (here / "my.yaml").read_text(encoding="utf-8") == "# mine\n"
    shown = result.stderr.partition("Make sure that it has:")[2].partition("\n\nNext")[0]
    assert yaml.safe_load(shown)["streams"]["pump"]["routes"] == [{"filter": TOPIC, "unknown_fields": "keep"}]


def test_new_adds_a_second_stream_and_keeps_the_rest_of_the_file(here: Path) -> None:
    new("--from", "sample.json")
    mine = here / "my.yaml"
    mine.write_text(mine.read_text(encoding="utf-8").replace("streams:", "streams: # mine") + "\n\n", encoding="utf-8")
    before = mine.read_text(encoding="utf-8").rstrip()
    result = new("--from", "sample.json", "--name", "press")
    assert "my.yaml has the stream press too now" in result.stderr
    assert mine.read_text(encoding="utf-8").startswith(f"{before}\n  press:\n")
    assert set(load(mine, {}).streams) >= {"pump", "press"}
    for other in ("streams: {}\n", "contracts: [other]\nstreams:\n  a: {}\n", "contracts: [contracts]\nstreams: {}\n",
                  "contracts: [contracts]\nstreams:\n    a: {}\n", "streams:\ncontracts: [contracts]\n"):  # fmt: skip
        mine.write_text(other, encoding="utf-8")
        assert "Make sure that it has" in new("--from", "sample.json", "--name", "third", "--force").stderr
        assert mine.read_text(encoding="utf-8") == other
        (here / "contracts" / "third.avsc").unlink()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--from", "nope.json"], "--from nope.json: No such file"),
        (["--from", "."], "--from .: Is a directory"),
        (["--from", "sample.json", "--name", "Pump 1"], "--name"),
        (["--from", "sample.json", "--out", "sample.json"], "--out"),
        (["--from", "sample.json", "--topic", "a/x{device_id}"], "--topic"),
        (["--from", "sample.json", "--topic", "a/+/pump"], "which device publishes"),
    ],
)
def test_new_refuses_in_words(args: list[str], words: str) -> None:
    assert words in refusal(new(*args))


def test_a_name_is_found_in_the_topic_or_asked_for() -> None:
    assert "Give one with --name" in refusal(run("new", "--from", "sample.json", "--topic", "{device_id}/+"))
    result = run("new", "--from", "sample.json", "--topic", "Plant/{device_id}/Main-Pump/#")
    assert "contracts/main_pump.avsc" in result.stdout


def test_check_without_names_checks_all() -> None:
    result = run("check", "--json")
    assert result.exit_code == 0
    assert {"imu", "environment", "vibration"} <= set(json.loads(result.stdout))


def test_check_tells_every_file_and_exits_1(here: Path) -> None:
    (here / "bad.avsc").write_text('{"type": "record", "name": "bad", "fields": [{"name": "x"}]}', encoding="utf-8")
    result = run("check", "bad.avsc", "imu", "nope")
    assert result.exit_code == 1
    assert "bad.avsc: refused" in result.stdout
    assert "imu: good" in result.stdout
    assert "no contract 'nope'" in result.stdout


def test_a_missing_configuration_is_no_answer() -> None:
    context.set_options(None, Path("nope.yaml"))
    assert "nope.yaml: no such file" in refusal(run("check", "imu"))


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ("imu: {routes: ['a/{site}/imu']}", "{site} is not a text field of the contract imu"),
        ("imu: {routes: ['a/{event_time}']}", "{event_time} is not a text field"),
        ("imu: {routes: ['a/x{device_id}']}", "streams.imu.routes"),
        ("imu: {routes: ['a/#/b']}", "# must be the last level"),
        ("imu: {routes: ['a/+', 'a/{device_id}']}", "overlaps a/+"),
        ("imu: {}\nbridge: {unrouted: ['a/{x}']}", "bridge.unrouted[0]"),
        ("imu: {}\nbridge: {unrouted: ['#']}", "would read the bridge's own receipts"),
        ("imu: {routes: [{filter: 'a/{device_id}', receipt: 'a/b'}]}", "streams.imu.routes[0].receipt: a/b: it must"),
        ("imu: {}\nbridge: {leave: true}", "bridge.leave: true would lose"),
        ("imu: {}\nbridge: {unrouted: ['$share/g/a']}", "name the group in bridge.shared_group"),
        ("pump: {routes: [a]}", "streams.pump: no contract 'pump'"),
    ],
)
def test_config_check_looks_at_contracts_and_captures(here: Path, stream: str, words: str) -> None:
    (here / "c.yaml").write_text(f"streams:\n  {stream}\n", encoding="utf-8")
    message = refusal(run("check", "c.yaml", command=config_command))
    assert message.startswith("c.yaml: ")
    assert words in message


def test_config_check_tells_what_a_shared_group_gives_up(here: Path) -> None:
    (here / "c.yaml").write_text(
        "streams:\n  imu: {routes: ['a/{device_id}']}\nbridge: {shared_group: g}\n", encoding="utf-8"
    )
    done = run("check", "c.yaml", command=config_command)
    assert done.exit_code == 0
    assert "another order" in done.stderr


def test_config_schema_is_a_json_schema_of_every_setting() -> None:
    schema = json.loads(run("schema", command=config_command).stdout)
    assert {"mqtt", "kafka", "streams", "archive"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
