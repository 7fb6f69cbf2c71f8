"""docs/contracts.md says what the code does: every unit, every attribute, examples that hold."""

import json
import re
from pathlib import Path

from headrace.contracts import units
from headrace.contracts.lint import lint
from headrace.contracts.model import parse
from headrace.contracts.rules import ATTRIBUTES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")


def test_every_unit_is_listed_with_what_it_measures() -> None:
    groups: dict[str, list[str]] = {}
    for unit, measures in units.UNITS.items():
        groups.setdefault(measures, []).append(f"`{unit}`")
    table = "".join(f"| {measures} | {' '.join(symbols)} |\n" for measures, symbols in groups.items())
    assert table in PAGE, f"put this under Units:\n\n| measures | units |\n|---|---|\n{table}"


def test_every_attribute_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", "".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert described >= ATTRIBUTES


def test_the_examples_are_a_good_contract() -> None:
    examples = [json.loads(f"[{block}]") for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    (field,), (device, time, quality) = examples
    schema = {"type": "record", "name": "pump", "doc": "Pumps.", "fields": [device, time, field, quality]}
    assert lint(parse("pump", json.dumps(schema))) == []
