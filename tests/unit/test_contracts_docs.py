"""docs/contract-reference.md says what the code does: every unit, every attribute, examples that hold."""

import json
import re
from pathlib import Path

from headrace.contracts import units
from headrace.contracts.attributes import ATTRIBUTES
from headrace.contracts.compat import incompatibilities
from headrace.contracts.infer import infer
from headrace.contracts.lint import lint, serious
from headrace.contracts.model import parse
from headrace.contracts.physics import IDENTITIES
from headrace.contracts.sample import read_sample
from headrace.contracts.violations import RULES
from headrace.protocol import provenance

DEVICE = {"name": "device_id", "type": "string"}
TIME = {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}}
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "contract-reference.md").read_text(encoding="utf-8")
TUTORIAL = (DOCS / "contracts.md").read_text(encoding="utf-8")


def test_every_unit_is_listed_with_what_it_measures() -> None:
    groups: dict[str, list[str]] = {}
    for unit, measures in units.UNITS.items():
        groups.setdefault(measures, []).append(f"`{unit}`")
    table = "".join(f"| {measures} | {' '.join(symbols)} |\n" for measures, symbols in groups.items())
    assert table in PAGE, f"put this under Units:\n\n| measures | units |\n|---|---|\n{table}"


def test_every_column_that_the_lake_adds_is_listed_with_its_meaning() -> None:
    columns = (*provenance.COLUMNS, provenance.DATE)
    table = "".join(f"| `{c.name}` | {c.kind} | {c.meaning} |\n" for c in columns)
    assert f"| column | kind | is |\n|---|---|---|\n{table}" in PAGE, table


def test_every_attribute_is_described() -> None:
    described = set(re.findall(r'[`"](\w+)[`"]', "".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert described >= set(ATTRIBUTES)


def test_the_examples_are_a_good_contract() -> None:
    blocks = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (rules,) = [json.loads("{" + b + "}") for b in blocks if b.startswith('"')]
    examples = [json.loads(f"[{b}]") for b in blocks if not b.startswith('"')]
    (device, time, quality), (field,), (ruled,), (extra, again) = examples
    assert again == quality
    fields = [device, time, field, ruled, {**field, "name": "dew_point", "doc": "Dew point."}, extra, quality]
    schema = {"type": "record", "name": "pump", "doc": "Pumps.", "fields": fields, **rules}
    assert lint(parse("pump", json.dumps(schema))) == []


def test_every_rule_is_listed_with_an_example_that_holds() -> None:
    table = re.search(r"\| rule \| attribute \|.*?\n\n", PAGE, re.DOTALL)
    assert table is not None
    cells = [line.split(" | ")[:2] for line in table[0].strip().splitlines()[2:]]
    assert [name for cell, _ in cells for name in re.findall(r"`(\w+)`", cell)] == list(RULES)
    for _, example in cells:
        for text in re.findall(r"`(\".*?)`(?: |$)", example):
            rule = json.loads("{" + text + "}")
            is_text, is_time = "pattern" in rule or "allowed" in rule, "max_ahead" in text or "max_behind" in text
            kind = "string" if is_text else {"type": "long", "logicalType": "timestamp-micros"} if is_time else "double"
            x = {"name": "x", "type": ["null", kind], "default": None, **rule}
            fields = [DEVICE, {**TIME, **rule}] if "max_gap" in text else [DEVICE, TIME, x]
            parse("r", json.dumps({"type": "record", "name": "r", "fields": [*fields, QUALITY]}))


def test_every_identity_is_listed_with_its_units_and_its_source() -> None:
    rows = [
        f"| `{it.signature}` | {it.result}, in {it.unit}, from "
        f"{', '.join(f'{name} in {unit}' for name, unit in it.arguments.items())} | {it.source} |"
        for it in IDENTITIES.values()
    ]
    assert "\n".join(rows) in PAGE


def test_the_contract_of_the_tutorial_may_follow_the_one_that_its_sample_becomes() -> None:
    sample, contract = re.findall(r"<<'END'\n(.*?)^END$", TUTORIAL, re.DOTALL | re.MULTILINE)[:2]
    draft = infer("pump", read_sample(sample.encode(), "sample.json").readings, ["device_id"])
    assert [hint for hint in draft.hints if "no unit is known for flow" in hint]
    assert serious(lint(draft.contract)) == []
    edited = parse("pump", contract)
    assert [p for p in lint(edited) if "_extra" not in p and "_quality" not in p] == []
    assert incompatibilities(draft.contract.schema, edited) == []
