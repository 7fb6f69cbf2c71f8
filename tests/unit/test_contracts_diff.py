"""`headrace contracts diff`: what changed, in words, and what to do."""

import json
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import context
from headrace.cli.contracts import app
from headrace.config import Config
from headrace.contracts.changes import differences
from headrace.contracts.compat import incompatibilities
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, RefusedContractError
from headrace.operate import doctor

KEYS: list[Any] = [
    {"name": "device_id", "type": "string", "doc": "Which."},
    {
        "name": "event_time",
        "type": {"type": "long", "logicalType": "timestamp-micros"},
        "doc": "When.",
        "minimum": 946684800000000,
    },
]
QUALITY: Any = {"name": "_quality", "type": ["null", "string"], "default": None, "doc": "What cleaning did."}


def text(*fields: Any, **more: Any) -> str:
    return json.dumps({"type": "record", "name": "pump", "doc": "Pumps.", "fields": [*KEYS, *fields, QUALITY], **more})


def contract(*fields: Any, **more: Any) -> Contract:
    return parse("pump", text(*fields, **more))


def told(old: list[Any], new: list[Any]) -> list[str]:
    return [c.line for c in differences(contract(*old), contract(*new))]


def optional(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "default": None, "doc": "It.", **more}


def required(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "doc": "It.", **more}


def test_each_kind_of_change_is_told_with_what_readers_see() -> None:
    old = contract(
        required("t", "long", unit="Cel", minimum=-40, doc="Heat."), required("gone", "string"), required("v", "double")
    )
    new = contract(
        required("volts", "double", aliases=["v"]), optional("t", "double", unit="K", minimum=-20, doc="Of the water."),
        optional("flow", "double", unit="L/min"),
        doc="Pumps in hall 2.",
    )  # fmt: skip
    found = differences(old, new)
    assert [c.line for c in found] == [
        "removed gone: string",
        "renamed volts: was v",
        'aliases volts: was none, is ["v"]',
        "type t: was required, is optional",
        "type t: was long, is double",
        "unit t: was Cel, is K",
        "minimum t: was -40, is -20",
        "doc t: was Heat., is Of the water.",
        "added flow: optional double, in L/min",
        "doc: was Pumps., is Pumps in hall 2.",
    ]
    seen = {(c.what, c.field): c.seen for c in found}
    assert seen["added", "flow"] == "older rows have null there"
    assert "the column takes the type double for older rows too" in {c.seen for c in found}
    assert "older rows keep the old unit" in seen["unit", "t"]
    assert "older rows have v, newer ones volts" in seen["renamed", "volts"]
    assert "from now on" in seen["minimum", "t"]
    assert differences(new, new) == []


def test_what_is_inside_groups_lists_and_enums_is_told() -> None:
    def group(*members: Any) -> dict[str, Any]:
        return required("motor", {"type": "record", "name": "m", "fields": list(members)})

    def state(*symbols: str) -> dict[str, Any]:
        return required("state", {"type": "enum", "name": "s", "symbols": list(symbols)})

    def money(scale: int) -> dict[str, Any]:
        return required("cost", {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": scale})

    def waves(kind: str, most: int) -> dict[str, Any]:
        return required("w", {"type": "array", "items": kind}, max_items=most)

    assert told(
        [group(required("rpm", "int"), required("old", "int")), state("on", "off"), money(2), waves("float", 10)],
        [group(required("rpm", "long", unit="rpm"), optional("t", "double")), state("on", "idle"), money(3),
         waves("double", 20)],
    ) == [
        "type motor.rpm: was int, is long",
        "unit motor.rpm: was none, is rpm",
        "removed motor.old: int",
        "added motor.t: optional double",
        "symbols state: added: idle",
        "symbols state: gone: off",
        "type cost: was decimal(8, 2), is decimal(8, 3)",
        "type w: was array of float, is array of double",
        "max_items w: was 10, is 20",
    ]  # fmt: skip
    assert told([required("a", "int"), required("b", "int")], [required("b", "int"), required("a", "int")]) == [
        "order: the fields are in another order"
    ]


def test_what_differs_in_actions_and_rules_is_told() -> None:
    def with_rules(action: Any, *rules: Any) -> Contract:
        return contract(optional("x", "double", maximum=5, on_violation=action), rules=list(rules))

    first, second = {"name": "a", "expression": "x < 1"}, {"name": "b", "expression": "x < 2", "on_violation": "null"}
    old, new = with_rules("null", first, second), with_rules({"maximum": "flag"}, {**second, "on_violation": "flag"})
    assert [c.line for c in differences(old, new)] == [
        'on_violation x: was null, is {"maximum": "flag"}',
        "rule a: was x < 1 (reject x), is none",
        "rule b: was x < 2 (null x), is x < 2 (flag x)",
    ]


class Registry:
    """Has one version of the contract of pump."""

    registered: Contract | None

    def __init__(self, _: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def latest(self, subject: str) -> str | None:
        return self.registered.text if self.registered is not None and subject == "pump.raw-value" else None

    def check(self, subject: str, new: Contract) -> list[str]:
        known = self.registered if subject == "pump.raw-value" else None
        return [] if known is None else incompatibilities(known.schema, new)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "pump.avsc").write_text(text(required("t", "double")))
    config = Config.model_validate({"contracts": [contracts], "streams": {"pump": {}, "imu": {}}})
    monkeypatch.setattr(context, "config", lambda: config)
    monkeypatch.setattr("headrace.schema_registry.client.Registry", Registry)
    Registry.registered = contract(required("t", "double"))
    return contracts


def diff(*args: str) -> Result:
    return CliRunner().invoke(app, ["diff", *args])


def test_all_streams_are_compared_and_a_new_one_is_good(folder: Path) -> None:
    assert folder.is_dir()
    result = diff()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == ["pump: same", "imu: new"]


def test_a_change_that_may_follow_says_what_happens_next(folder: Path) -> None:
    (folder / "pump.avsc").write_text(text(required("t", "double"), optional("flow", "double")))
    result = diff("pump")
    assert result.exit_code == 0
    assert result.stdout == (
        "pump: changed, and may follow the registered contract\n"
        "  added      flow: optional double\n"
        "               older rows have null there\n"
        "  to do      the next start registers it: older readings stay as they are, and one query reads all\n"
    )


def test_texts_are_named_in_one_line_and_what_readers_see_is_said_once(folder: Path) -> None:
    Registry.registered = contract(optional("t", "double", on_violation="reject"), optional("u", "double"))
    changed = [optional("t", "double", minimum=1, max_stuck=9, unit="Cel"), optional("u", "double", maximum=5)]
    changed[0]["doc"] = "Heat."
    (folder / "pump.avsc").write_text(text(*changed, doc="Pumps in hall 2."))
    assert diff("pump").stdout.splitlines()[1:-1] == [
        "  unit       t: was none, is Cel",
        "               says what the numbers are in; nothing is converted",
        "  max_stuck  t: was none, is 9",
        "  minimum    t: was none, is 1",
        "  maximum    u: was none, is 5",
        "               acts on readings that come from now on, not on what is stored",
        "  doc        of t, the contract",
    ]


def test_one_that_may_not_says_why_and_how_it_may(folder: Path) -> None:
    assert folder.is_dir()
    (folder.parent / "pump.avsc").write_text(text(required("t", "string")))
    result = diff(str(folder.parent / "pump.avsc"))
    assert result.exit_code == 1
    assert "pump: may not follow the registered one" in result.stdout
    assert "refused    field t changed from double to string. Keep the type" in result.stdout
    assert "headrace contracts upgrade pump" in result.stdout
    found = json.loads(diff("--json", str(folder.parent / "pump.avsc")).stdout)["pump"]
    assert found["state"] == "refused"
    assert found["changes"] == [{"what": "type", "field": "t", "words": "was double, is string", "seen": ""}]


def test_what_somebody_else_registered_is_told_as_it_is(folder: Path) -> None:
    assert folder.is_dir()
    Registry.registered = Contract("pump", '{"type": "string"}', {"type": "string"}, (), ())
    assert "refused" in diff("pump").stdout


@pytest.mark.parametrize(
    ("name", "words"), [("tank", "There are: pump, imu"), ("other.avsc", "no stream uses a contract 'other'")]
)
def test_what_can_not_be_compared_is_named(folder: Path, name: str, words: str) -> None:
    (folder / "other.avsc").write_text(text())
    given = str(folder / name) if name.endswith("avsc") else name
    result = diff(given)
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_publish_registers_the_others_and_says_which_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pump.avsc").write_text(text(required("t", "string")))

    def register(it: Registry, subject: str, new: Contract) -> int:
        if subject.startswith("pump") and (problems := it.check(subject, new)):
            raise RefusedContractError(new.name, subject, problems)
        return 3

    monkeypatch.setattr(Registry, "register", register, raising=False)
    result = CliRunner().invoke(app, ["publish"])
    assert isinstance(result.exception, ConfigError)
    assert "field t changed from double to string" in str(result.exception)
    assert result.stdout == "imu: contract imu, schema id 3\n"


def test_the_doctor_finds_a_refused_contract(folder: Path) -> None:
    assert list(doctor._contracts(context.config())) == []
    (folder / "pump.avsc").write_text(text(required("t", "string")))
    (found,) = doctor._contracts(context.config())
    assert (found.level, found.subject) == ("bad", "contract of pump")
    assert "field t changed from double to string" in found.text
