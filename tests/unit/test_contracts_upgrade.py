"""`headrace contracts upgrade`: an incompatible contract becomes a stream that follows the first; one view has both."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import headrace
from headrace.cli import context, contractupgrade
from headrace.cli.contracts import app
from headrace.config import Config, check, load
from headrace.config.follow import following, next_name
from headrace.contracts import files
from headrace.errors import ConfigError
from headrace.lake import united
from tests.unit.test_contracts_diff import Registry, contract, optional, required, text
from tests.unit.test_sql import store

YAML = """# My streams.
contracts: [contracts] # beside this file
streams:
  tank: {routes: ["plant/{device_id}/tank"], contract: pump}
  # The pumps in hall 2.
  pump:
    routes:
      - filter: "plant/{device_id}/pump" # as the old firmware has it
        unknown_fields: ignore
    partitions: 6
"""


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ("streams:\n  pump:\n    routes: [a]\n    partitions: 2\n", {"routes": ["a"], "partitions": 2}),
        ("streams: {imu: {}, pump: {routes: [a]}}", {"routes": ["a"]}),
        ("streams:\n  pump: {contract: flow, routes: [a]}\n  imu:\n", {"contract": "pump_v2", "routes": ["a"]}),
        ("streams:\n  pump:\n", {}),
        ("streams:\n  pump: null\n  imu: {}\n", {}),
        ("streams: {pump: }", {}),
        ("streams:\n    'pump': {}", {}),
    ],
)
def test_the_new_stream_takes_the_settings_in_whatever_style_they_are_written(
    given: str, settings: dict[str, Any]
) -> None:
    had = yaml.safe_load(given)["streams"]["pump"] or {}
    out = yaml.safe_load(following(given, "pump", "pump_v2", had.get("contract", "pump")))["streams"]
    assert out["pump_v2"] == {"follows": "pump", **settings}
    assert out["pump"] == {k: v for k, v in had.items() if k != "routes"}
    assert ("imu" in given) == ("imu" in out)


@given(st.sets(st.sampled_from(["pump_v2", "pump_v3", "pump_v12"])), st.sampled_from(["pump", "pump_v2", "pump_v12"]))
def test_the_next_name_is_free_and_counts_on(taken: set[str], stream: str) -> None:
    name = next_name(stream, taken | {stream})
    assert name not in taken
    assert name.startswith("pump_v")
    assert int(name[6:]) > int(stream[6:] or 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "my.yaml").write_text(YAML)
    (tmp_path / "my.yaml").chmod(0o644)
    write(tmp_path, required("state", "string"))
    monkeypatch.setattr("headrace.schema_registry.client.Registry", Registry)
    Registry.registered = contract(required("state", "long"))
    context.set_options(tmp_path / "state", tmp_path / "my.yaml")
    return tmp_path


def write(folder: Path, *fields: Any) -> None:
    (folder / "contracts" / "pump.avsc").write_text(text(*fields))


def upgrade(*args: str) -> Result:
    return CliRunner().invoke(app, ["upgrade", *args])


def test_upgrade_leaves_the_old_stream_its_contract_and_gives_the_new_one_the_routes(folder: Path) -> None:
    result = upgrade("pump")
    assert result.exit_code == 0, result.exception
    written = (folder / "my.yaml").read_text()
    assert "# The pumps in hall 2." in written
    assert "# as the old firmware has it" in written
    assert (folder / "my.yaml").stat().st_mode & 0o777 == 0o644
    config = load(folder / "my.yaml", {})
    assert check.problems(config, [check.Service.BRIDGE, check.Service.PROVISION]) == []
    assert config.lineage("pump") == ("pump", "pump_v2")
    assert [r.filter for r in config.streams["pump_v2"].routes] == ["plant/{device_id}/pump"]
    assert (config.streams["pump"].routes, config.streams["pump"].partitions) == ((), 6)
    assert files.find("pump", config.contracts).text == contract(required("state", "long")).text
    assert files.find("pump_v2", config.contracts).field("state").kind == "string"
    assert "state: string in pump_v2, long in pump: there the view calls it state_pump" in result.stdout
    assert "dlq redrive --stream pump " in result.stdout
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_second_upgrade_goes_on_from_the_first(folder: Path) -> None:
    assert upgrade("pump").exit_code == 0
    Registry.registered = None
    result = upgrade("pump_v2")
    assert isinstance(result.exception, ConfigError)
    assert "nothing to follow" in str(result.exception)


@pytest.mark.parametrize(
    ("fields", "args", "words"),
    [
        ([required("state", "long")], ["pump"], "its contract is the registered one. Change the contract first"),
        ([required("state", "double")], ["pump"], "may follow the registered one, so it needs no other stream"),
        ([required("state", "string")], ["pond"], "no stream 'pond'. There are: tank, pump"),
        ([required("state", "string")], ["pump", "--name", "tank"], "there is such a stream already"),
        ([required("state", "string")], ["pump", "--name", "Tank 2"], "begin with a letter a-z"),
        ([required("state", "string")], ["pump", "--name", "other"], "other.avsc: it is there already"),
    ],
)
def test_what_can_not_be_upgraded_is_left_as_it_is(
    folder: Path, fields: list[Any], args: list[str], words: str
) -> None:
    write(folder, *fields)
    (folder / "contracts" / "other.avsc").write_text(text())
    before = {p: p.read_text() for p in folder.rglob("*.*") if p.is_file()}
    result = upgrade(*args)
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
    assert {p: p.read_text() for p in folder.rglob("*.*") if p.is_file()} == before


def test_a_configuration_that_would_not_hold_is_not_written(folder: Path) -> None:
    write(folder, required("level", "string"))  # the route of tank, which shares the contract, stays good
    (folder / "my.yaml").write_text(YAML.replace("partitions: 6", "partitions: 6\n    follows: nowhere"))
    before = {p: p.read_text() for p in folder.rglob("*.*") if p.is_file()}
    assert isinstance(upgrade("pump").exception, ConfigError)
    assert {p: p.read_text() for p in folder.rglob("*.*") if p.is_file()} == before


def test_without_a_file_of_ones_own_it_says_how_to_have_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(folder / "my.yaml", {})
    context.set_options(folder / "state", None)
    monkeypatch.setattr(context, "config", lambda: config)
    result = upgrade("pump")
    assert isinstance(result.exception, ConfigError)
    assert "headrace up --config FILE" in str(result.exception)


def test_follows_names_a_stream_and_goes_one_way() -> None:
    streams = {"a": {"follows": "b"}, "b": {"follows": "a"}, "c": {"follows": "d"}, "e": {"follows": "e"}}
    config = Config.model_validate({"streams": streams})
    found = [p for p in check.problems(config, [check.Service.PROVISION]) if ".follows" in p]
    assert [p.partition(":")[0] for p in found] == [f"streams.{s}.follows" for s in "abce"]
    assert "'d' is no stream" in found[2]


def lake(folder: Path, *versions: Any) -> Config:
    """A lake whose streams pump, pump_v2, ... have these contracts, each one following the one before it."""
    streams: dict[str, Any] = {}
    for n, fields in enumerate(versions, 1):
        name = "pump" if n == 1 else f"pump_v{n}"
        (folder / f"{name}.avsc").write_text(text(*fields))
        streams[name] = {"follows": list(streams)[-1]} if streams else {}
    return Config.model_validate({
        "store": {"kind": "folder", "folder": folder}, "streams": streams, "contracts": [folder]
    })  # fmt: skip


def test_one_view_has_the_rows_of_both_and_columns_that_differ_stay_apart(tmp_path: Path) -> None:
    config = lake(
        tmp_path,
        [required("state", "long"), required("flow", "long", unit="L/min"), required("t", "double", unit="Cel")],
        [required("state", "string"), required("flow", "double", unit="L/min"), required("t", "double", unit="K")],
    )
    store(tmp_path, "pump.clean", 1, 7, {"state": [1, 2], "flow": [10, 20], "t": [20.0, 21.0]})
    store(tmp_path, "pump_v2.clean", 2, 8, {"state": ["on"], "flow": [30.5], "t": [293.0]})
    out = headrace.query(
        "select state, state_pump, flow, t, t_pump from pump order by flow", config=config
    ).astype(object).where(lambda x: x.notna(), None)  # fmt: skip
    assert out.to_numpy().tolist() == [
        [None, 1, 10.0, None, 20.0],
        [None, 2, 20.0, None, 21.0],
        ["on", None, 30.5, 293.0, None],
    ]
    alone = headrace.query("select count(*) n, max(flow) f from pump_v2", config=config)
    assert alone.to_dict("records") == [{"n": 1, "f": 30.5}]


def test_a_new_stream_without_rows_yet_has_its_columns_in_the_view(tmp_path: Path) -> None:
    config = lake(tmp_path, [required("state", "long")], [required("state", "string"), optional("flow", "double")])
    columns = headrace.query("describe pump", config=config).column_name.tolist()
    assert {"state", "state_pump", "flow"} <= set(columns)
    store(tmp_path, "pump.clean", 1, 7, {"state": [1, 2]})
    out = headrace.query("select count(flow) f, count(state) s, sum(state_pump) p from pump", config=config)
    assert out.to_dict("records") == [{"f": 0, "s": 0, "p": 3}]


def test_three_generations_unite_and_names_do_not_collide(tmp_path: Path) -> None:
    config = lake(
        tmp_path,
        [required("state", "long"), required("State_pump", "long")],
        [required("state", "boolean")],
        [required("state", "string")],
    )
    for n, name, value in ((1, "pump", 5), (2, "pump_v2", True), (3, "pump_v3", "on")):
        store(tmp_path, f"{name}.clean", n, 6 + n, {"state": [value]})
    out = headrace.query("select count(*) n, max(state) s, max(state_pump_) o, bool_or(state_pump_v2) b from pump",
                         config=config)  # fmt: skip
    assert out.to_dict("records") == [{"n": 3, "s": "on", "o": 5, "b": True}]


def group(*fields: Any) -> dict[str, Any]:
    return required("g", {"type": "record", "name": "g", "fields": list(fields)})


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}
TIME = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("one", "other", "unite"),
    [
        (required("g", "int"), required("g", "double"), True),
        (required("g", "int"), required("g", TIME), False),
        (required("g", "bytes"), required("g", DECIMAL), False),
        (required("g", {"type": "enum", "name": "e", "symbols": ["a"]}), required("g", "string"), True),
        (required("g", {"type": "array", "items": "int"}, max_items=2), required("g", "int"), False),
        (group(required("a", "int")), group(required("a", "double"), required("b", "string")), True),
        (group(required("a", "int")), group(required("a", "string")), False),
    ],
)
def test_which_columns_unite(one: Any, other: Any, unite: bool, tmp_path: Path) -> None:
    contracts = {"p": contract(one), "p_v2": contract(other)}
    assert united.renamed(contracts) == ({} if unite else {"p": {"g": "g_p"}})
    config = lake(tmp_path, [one], [other])
    assert len(headrace.query("select * from pump", config=config)) == 0, "what unites, DuckDB unites too"


def test_a_stream_may_be_called_order(tmp_path: Path) -> None:
    for name in ("order", "order_v2"):
        (tmp_path / f"{name}.avsc").write_text(text(required("select", "long")).replace('"pump"', f'"{name}"'))
    config = Config.model_validate({
        "store": {"kind": "folder", "folder": tmp_path}, "contracts": [tmp_path],
        "streams": {"order": {}, "order_v2": {"follows": "order"}}, "archive": {"topics": ["order.clean", "order.raw"]},
    })  # fmt: skip
    store(tmp_path, "order.clean", 1, 7, {"select": [1]})
    store(tmp_path, "order.raw", 1, 7, {"select": [5]})
    sql = 'select (select max("select") from "order") a, (select max("select") from "order".raw) b'
    assert headrace.query(sql, config=config).to_dict("records") == [{"a": 1, "b": 5}]


def test_a_derived_stream_is_not_followed_as_the_view_would_have_its_rows_twice() -> None:
    config = Config.model_validate({"streams": {"pump": {}, "made": {"from": "pump", "transform": "made.py"}}})
    with pytest.raises(ConfigError, match=r"made: it is made of pump.*without `follows`"):
        contractupgrade.plan(config, "made", "", Registry(None), force=False)
