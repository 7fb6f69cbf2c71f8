"""What `headrace up` says of contracts before it starts anything: the registry is down then."""

import json
from pathlib import Path
from typing import Any, Self

import pytest

from headrace.config import Config
from headrace.schema_registry import client
from headrace.stack import registered
from headrace.stack.state import State

FIELDS: list[Any] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "_quality", "type": ["null", "string"], "default": None},
]


def write(folder: Path, stream: str, *fields: Any) -> str:
    text = json.dumps({"type": "record", "name": stream, "fields": [*FIELDS[:2], *fields, FIELDS[2]]})
    (folder / f"{stream}.avsc").write_text(text)
    return text


class Registry:
    """Has what `latest` says."""

    texts: dict[str, str]

    def __init__(self, _: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def latest(self, subject: str) -> str | None:
        return self.texts.get(subject)


def test_a_contract_that_will_be_refused_is_told_and_one_that_the_registry_has_had_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path / "state")
    config = Config.model_validate({"contracts": [tmp_path], "streams": {"pump": {}, "tank": {}}})
    monkeypatch.setattr(client, "Registry", Registry)
    first = write(tmp_path, "pump", {"name": "flow", "type": "double"})
    write(tmp_path, "tank")
    assert registered.refusals(state, config) == {}, "nothing is known yet"
    Registry.texts = {"pump.raw-value": first}
    registered.note(state, config)
    Registry.texts = {"pump.raw-value": write(tmp_path, "pump")}
    registered.note(state, config)

    write(tmp_path, "pump", {"name": "flow", "type": "string"})
    found = registered.refusals(state, config)
    assert list(found) == ["pump"]
    assert any("field flow is new and required" in p for p in found["pump"])
    said = "\n".join(registered.lines(found))
    assert "pump: its contract can't follow the registered one" in said
    assert "headrace contracts upgrade pump" in said

    (tmp_path / "pump.avsc").write_text(first)  # of the first version, as after a rollback: the registry takes it
    assert registered.refusals(state, config) == {}
