"""docs/cookbook.md on the real services: each message that it shows becomes the row that it shows."""

import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from headrace import deadletters
from headrace.cli import context
from headrace.cli import contracts as contracts_command
from headrace.config import load
from headrace.lake.sql import connect, run
from headrace.operate import provision
from tests import cookbook
from tests.cookbook import Recipe
from tests.faults.own import SOON, Service, until
from tests.publishing import publish
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]


class World:
    """The recipes' streams on the session's stack, with a bridge, a clean and an archive of their own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.tag, self.folder = uuid.uuid4().hex[:6], folder
        self.recipes = cookbook.recipes()
        streams: dict[str, Any] = {}
        contracts = []
        for recipe in self.recipes:
            stream = self.stream(recipe)
            streams[stream] = {**recipe.settings, "partitions": 1}
            if recipe.command:
                contracts.append(str(self.new(recipe, stream)))
        path = stack.config_file(folder / "all.yaml", {
            "streams": streams,
            "contracts": contracts,
            "dead_letters": {"topic": f"cookbook-{self.tag}-letters", "partitions": 1},
            "bridge": {"client_id": f"headrace-cookbook-{self.tag}", "unrouted": []},
            "clean": {"group": f"cookbook-{self.tag}-clean"},
            "archive": {"group": f"cookbook-{self.tag}-archive", **SOON},
        })  # fmt: skip
        self.path, self.config = path, load(path, {})
        provision.topics(self.config)
        provision.contracts(self.config)

    def stream(self, recipe: Recipe) -> str:
        """Under a name of its own: the stack has other tests' streams, and those of an earlier run of this one."""
        return f"{recipe.stream}_{self.tag}"

    def new(self, recipe: Recipe, stream: str) -> Path:
        """Run the page's command, in a folder of its own; the folder of the contract."""
        out = self.folder / recipe.stream
        out.mkdir()
        words = shlex.split(recipe.command)
        sample = out / words[words.index("--from") + 1]
        sample.write_text(recipe.sample, encoding="utf-8")
        words[words.index("--from") + 1] = str(sample)
        words[words.index("--name") + 1] = stream
        result = CliRunner().invoke(contracts_command.app, [*words[2:], "--out", str(out)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        written = yaml.safe_load((out / "my.yaml").read_text(encoding="utf-8"))["streams"]
        assert written == {stream: recipe.written}
        return out / "contracts"

    def rows(self, recipe: Recipe) -> list[dict[str, Any]]:
        columns = ", ".join(f"{sql} c{i}" for i, sql in enumerate(recipe.columns))
        sql = f"select {columns}, event_time from {self.stream(recipe)} order by _offset"
        with connect(self.config, sql) as lake:
            found: list[dict[str, Any]] = run(lake, sql).to_arrow_reader(1000).read_all().to_pylist()
            return found

    def letters(self) -> list[str]:
        return [letter.text("detail") for letter in deadletters.read(self.config)]


@pytest.fixture
def world(stack: Stack, tmp_path: Path) -> Iterator[World]:
    context.set_options(tmp_path / "state", None)
    it = World(stack, tmp_path)
    with ExitStack() as open_:
        open_.callback(context.set_options, None, None)
        for arguments in (["bridge"], ["processors", "clean"], ["processors", "archive"]):
            service = Service([*arguments, "--config", str(it.path)], tmp_path / f"{arguments[-1]}.log")
            open_.callback(service.kill)
            if arguments == ["bridge"]:
                service.says('"receiving"')
        yield it


def test_each_message_of_the_page_becomes_its_row(world: World) -> None:
    before = time.time()
    for recipe in world.recipes:
        publish(world.config.mqtt, *recipe.messages)
    for recipe in world.recipes:
        until(lambda r=recipe: len(world.rows(r)) == len(r.rows), world.letters)  # type: ignore[misc]
        for row, expected in zip(world.rows(recipe), recipe.rows, strict=True):
            came = row.pop("event_time")
            assert [cookbook.plain(v) for v in row.values()] == expected, recipe.title
            assert [type(cookbook.plain(v)) for v in row.values()] == [type(v) for v in expected], recipe.title
            if "event_time" not in recipe.columns:
                assert before - 1 < came.timestamp() < time.time() + 1, recipe.title
    assert world.letters() == []
