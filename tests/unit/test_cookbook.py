"""The recipes of docs/cookbook.md: the command writes the route that the page shows, and each message is a reading."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from bridge import routing
from bridge.decoders import formats
from bridge.decoders.base import Reading, Source
from headrace.cli import context
from headrace.cli import contracts as contracts_command
from headrace.config import Config, load
from headrace.config.check import problems
from headrace.config.routes import filter_problems, identity_problems
from headrace.contracts import files
from headrace.contracts.heard import Message
from headrace.operate import mqttaccess
from headrace.protocol import filters
from headrace.protocol.names import is_identity
from tests import cookbook
from tests.cookbook import Recipe
from tests.unit.test_bridge_decode import read

RECIPES = cookbook.recipes()
NOW = 1_795_428_100_000_000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    context.set_options(tmp_path / "state", None)
    yield tmp_path
    context.set_options(None, None)


def new(command: str, sample: str) -> str:
    """What `headrace contracts new` says, with the sample in the file that the command names."""
    words = shlex.split(command)
    Path(words[words.index("--from") + 1]).write_text(sample, encoding="utf-8")
    result = CliRunner().invoke(contracts_command.app, words[2:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stderr


def readings(config: Config, stream: str, messages: list[Message]) -> list[dict[str, Any]]:
    contract = files.find(config.streams[stream].contract or stream, config.contracts)
    out = []
    for message in messages:
        (target,) = routing.build(config).match(message.topic).targets
        assert target.refused is None
        decoder = formats.decoder(contract, 7, target.route)
        source = Source(target.captures, target.route.options.unknown_fields)
        for one in decoder.decode(message.payload, source, NOW):
            assert isinstance(one, Reading), one
            out.append(read(contract, one.value))
    return out


def test_the_page_has_every_device() -> None:
    titles = " ".join(r.title for r in RECIPES)
    wanted = ("Tasmota", "Zigbee2MQTT", "Shelly", "The Things Stack", "ChirpStack", "Ruuvi", "ESPHome", "rtl_433")
    assert all(name in titles for name in (*wanted, "Sparkplug B", "IMU", "vibration", "OpenMQTTGateway", "Teltonika"))
    assert len(RECIPES) == 13
    assert sum(bool(r.command) for r in RECIPES) == 10


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.title)
def test_the_command_writes_the_route_of_the_page(recipe: Recipe, here: Path) -> None:
    data = {"streams": {recipe.stream: recipe.settings}}
    if recipe.command:
        new(recipe.command, recipe.sample)
        written = yaml.safe_load((here / "my.yaml").read_text(encoding="utf-8"))
        assert written["streams"] == {recipe.stream: recipe.written}
        data = {**written, **data}
    (here / "run.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    config = load(here / "run.yaml", {})
    assert problems(config) == []
    found = readings(config, recipe.stream, recipe.messages)
    assert [row.get("_extra") for row in found] == [None] * len(found)
    rows = [{**row, "event_time": datetime.fromtimestamp(row["event_time"] / 1e6, UTC)} for row in found]
    lake = duckdb.connect()
    lake.execute("set timezone = 'UTC'")
    lake.register("page", pa.Table.from_pylist(rows))
    columns = ", ".join(f"{sql} c{i}" for i, sql in enumerate(recipe.columns))
    shown = lake.execute(f"select {columns} from page").to_arrow_table().to_pylist()
    assert [[cookbook.plain(value) for value in row.values()] for row in shown] == recipe.rows


def test_all_recipes_fit_into_one_configuration() -> None:
    """No filter of one may match what another's gateway publishes."""
    config = Config.model_validate({"streams": {r.stream: {**r.settings, "contract": "imu"} for r in RECIPES}})
    assert [*filter_problems(config), *identity_problems(config)] == []


def test_the_broker_lets_each_publisher_of_the_page_write_there() -> None:
    """By the access file that the broker gets: who publishes is a name that hub can give to a device or a gateway."""
    config = Config.model_validate({"streams": {r.stream: {**r.settings, "contract": "imu"} for r in RECIPES}})
    match = routing.build(config).match
    for recipe in RECIPES:
        for topic, _ in recipe.messages:
            who = match(topic).identity
            assert is_identity(who), topic
            common, _, own = mqttaccess.devices(config, [who]).partition(f"user {who}\n")
            mine = own if recipe.settings["routes"][0].get("identity") else common.replace("%u", who)
            allowed = [line.partition(" write ")[2] for line in mine.splitlines() if " write " in line]
            assert any(filters.parse(text, "").matches(topic) for text in allowed), topic
