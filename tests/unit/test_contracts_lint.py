"""What a person is told to mend, and units."""

import json
from typing import Any

import pytest

from headrace.contracts import units
from headrace.contracts.lint import WARNING, lint, require, serious
from headrace.contracts.model import parse
from headrace.errors import ConfigError

DEVICE = {"name": "device_id", "type": "string", "doc": "Which."}
TIME: dict[str, Any] = {
    "name": "event_time",
    "type": {"type": "long", "logicalType": "timestamp-micros"},
    "doc": "When.",
    "minimum": 946_684_800_000_000,
}
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
TEXT: dict[str, Any] = {"name": "x", "type": ["null", "string"], "default": None, "doc": "X."}
X: dict[str, Any] = {"name": "x", "type": ["null", "double"], "default": None, "doc": "X.", "unit": "V"}


def problems(*fields: Any, name: str = "pump", **record: Any) -> list[str]:
    schema = {"type": "record", "name": "pump", "doc": "Pumps.", "fields": [DEVICE, TIME, *fields, QUALITY], **record}
    return lint(parse(name, json.dumps(schema)))


def test_a_good_contract_has_no_problems() -> None:
    assert problems(X) == []


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({**X, "doc": " "}, "field x: it has no doc"),
        ({**X, "unit": "Volt"}, "field x: the unit 'Volt' is not known; did you mean V (voltage)?"),
        ({**X, "minimun": 3}, "the attribute 'minimun' is not known; did you mean minimum?"),
        ({"name": "x", "type": ["null", "double"], "doc": "X.", "unit": "V"}, 'needs "default": null'),
        (
            {"name": "x", "type": ["null", "string"], "default": None, "doc": "X.", "sentinels": [-1]},
            "Write it as text",
        ),
        ({**TEXT, "allowed": ["RUN", "NA"], "sentinels": ["NA"]}, "field x: allowed has 'NA', which is a sentinel too"),
        ({**X, "type": ["null", "long"], "allowed": [1, 9], "maximum": 5}, "allowed has 9, which minimum and maximum"),
        ({**TEXT, "pattern": "["}, "is no regular expression here: regex parse error: error: unclosed character class"),
    ],
)
def test_problems_that_keep_a_contract_from_use(field: dict[str, Any], words: str) -> None:
    found = problems(field)
    assert len(serious(found)) == 1
    assert words in serious(found)[0]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({**X, "minimum": -10, "maximum": 10, "sentinels": [-1]}, "the sentinel -1 lies inside the valid range"),
        ({**X, "sentinels": [-999]}, "the sentinel -999 lies inside"),
        (
            {"name": "x", "type": "double", "doc": "X.", "unit": "V", "maximum": 5, "sentinels": [9]},
            "is rejected whole",
        ),
        ({k: v for k, v in X.items() if k != "unit"}, "it has no unit"),
        ({**X, "name": "order"}, "a word of SQL"),
        ({**X, "minimum": -10, "maximum": 10, "max_step": 20}, "max_step 20 never acts"),
        ({**X, "colour": "red"}, "nothing acts on it"),
        ({**TEXT, "pattern": "R.*", "allowed": ["RUN"]}, "allowed alone says as much"),
        ({"name": "x", "type": "long", "doc": "X.", "role": "sequence"}, "role boot"),
    ],
)
def test_doubts_are_warnings_and_stop_nothing(field: dict[str, Any], words: str) -> None:
    found = problems(field)
    assert serious(found) == []
    assert any(words in p and p.startswith(WARNING) for p in found)


def test_an_identity_is_told_in_which_units_it_takes_its_arguments() -> None:
    warm = {**X, "name": "warm", "unit": "K"}
    rule = {"name": "dew", "expression": "x <= dew_point(warm - 273.15, x) and x < dew_point(warm, 50)"}
    assert problems(X, warm, rules=[rule]) == [
        WARNING + "rule dew: dew_point takes humidity in %, but x is in V. Convert it in the expression, such as "
        "(x - 32) * 5 / 9",
        WARNING
        + "rule dew: dew_point takes temperature in Cel, but warm is in K. Convert it in the expression, such as "
        "(x - 32) * 5 / 9",
    ]


def test_a_step_smaller_than_the_range_is_no_problem() -> None:
    assert problems({**X, "minimum": -10, "maximum": 10, "max_step": 19.9}) == []
    assert problems({**X, "max_step": 20}) == []


def test_sentinels_outside_the_range_are_no_problem() -> None:
    assert problems({**X, "minimum": -10, "maximum": 10, "sentinels": [-999, "NA"]}) == []


def test_problems_of_a_contract_as_a_whole_are_found() -> None:
    assert "the contract has no doc" in problems(X, doc="")[0]
    assert problems(X, name="other")[0].startswith(WARNING + "the record is called 'pump'")
    two = [{"name": n, "type": "long", "doc": "N.", "role": "boot"} for n in ("a", "b")]
    assert any("more than one field has the role boot" in p for p in problems(*two))


def test_a_time_without_minimum_and_a_made_up_device_are_problems() -> None:
    bare = {k: v for k, v in TIME.items() if k != "minimum"}
    found = problems(fields=[DEVICE, bare, QUALITY])
    assert any("event_time: it has no minimum" in p for p in found)
    found = problems(fields=[{**DEVICE, "default": "x"}, TIME, QUALITY])
    assert any("device_id: a default would make up" in p for p in found)


def test_fields_inside_records_are_looked_at_too() -> None:
    inner = [
        {"name": "rpm", "type": "double", "doc": "R.", "unit": "Volt"},
        {"name": "t", "type": "double", "minimum": 0},
    ]
    found = serious(problems({"name": "m", "type": {"type": "record", "name": "m", "fields": inner}, "doc": "M."}))
    assert [p.split(":")[1].split()[0] for p in found] == ["m.rpm", "m.t", "m.t"]
    assert "rules act on a contract's own fields only" in found[2]
    assert found[2].endswith("say in the route where the payload has it: fields: {t: m.t}")


def test_require_tells_all_that_is_serious() -> None:
    schema = {"type": "record", "name": "pump", "fields": [DEVICE, {**TIME, "doc": ""}, {**X, "unit": "?"}, QUALITY]}
    with pytest.raises(ConfigError) as e:
        require(parse("pump", json.dumps(schema)))
    assert len(str(e.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("m/s^2", "m/s2"), ("°C", "Cel"), ("degC", "Cel"), ("C", "Cel"), ("hpa", "hPa"), ("µg/m³", "ug/m3"),
        ("lux", "lx"), ("kWh", "kW.h"), ("percent", "%"), ("uTT", "uT"), ("dba", "dB[A]"), ("RPM", "rpm"), ("mv", "mV"),
    ],
)  # fmt: skip
def test_spellings_lead_to_units(written: str, meant: str) -> None:
    assert units.closest(written) == meant
    if written not in units.UNITS:
        assert f"did you mean {meant}" in (units.problem(written) or "")


def test_known_units_are_fine_and_strange_ones_are_not() -> None:
    assert all(units.problem(u) is None for u in units.UNITS)
    assert set(units.SPELLINGS.values()) <= set(units.UNITS)
    assert "not known" in (units.problem("furlongs per fortnight" * 1000) or "")
