"""Contract rules, checked against a plain reading of the contract, one value at a time."""

import importlib
import json
import math
import pkgutil
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, Reason
from processors.avro.codec import Codec
from processors.clean import rules as package
from processors.clean.rules.contract import ContractRules, Verdicts
from processors.clean.rules.order import ORDER

NOW_MS = 1_700_000_000_000
NOW = NOW_MS * 1000
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None}
BASE: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "minimum": 946684800000000},
]


def contract(*fields: dict[str, Any]) -> Contract:
    text = json.dumps({"type": "record", "name": "r", "fields": [*BASE, *fields, QUALITY]})
    return parse("r", text)


def optional(kind: Any, **rules: Any) -> dict[str, Any]:
    return {"name": "x", "type": ["null", kind], "default": None, **rules}


def judge(it: Contract, *rows: dict[str, Any]) -> Verdicts:
    codec = Codec(it.schema)
    base = {f.name: None for f in it.fields} | {"device_id": "d", "event_time": NOW}
    batch = codec.decode([codec.write(1, base | row) for row in rows])
    assert not batch.bad
    return ContractRules(it).judge(batch.frame, np.full(len(rows), NOW_MS, dtype=np.int64))


def one(it: Contract, **row: Any) -> Any:
    """The verdict on one row: None, a reason, or {field: (new value, note)}."""
    v = judge(it, row)
    if v.refused:
        return v.refused[0].reason
    return {c.field: (c.value, c.note) for c in v.changes[0]} if v.changes else None


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        ({"minimum": -40, "maximum": 85, "on_violation": "null"}, 20.0, None),
        ({"minimum": -40, "maximum": 85, "on_violation": "null"}, -40.0, None),
        ({"minimum": -40, "maximum": 85, "on_violation": "null"}, 85.0, None),
        ({"minimum": -40, "maximum": 85, "on_violation": "null"}, 85.1, {"x": (None, "x:maximum:null")}),
        ({"minimum": -40, "maximum": 85, "on_violation": "null"}, -math.inf, {"x": (None, "x:not_finite:null")}),
        ({"minimum": -40, "maximum": 85, "on_violation": "clamp"}, 90.0, {"x": (85.0, "x:maximum:clamp")}),
        ({"minimum": -40, "maximum": 85, "on_violation": "clamp"}, -90.0, {"x": (-40.0, "x:minimum:clamp")}),
        ({"minimum": -40, "maximum": 85, "on_violation": "clamp"}, math.nan, {"x": (None, "x:not_finite:null")}),
        ({"minimum": -40, "maximum": 85}, 90.0, Reason.OUT_OF_RANGE),
        ({"minimum": -40, "maximum": 85}, math.nan, Reason.NOT_FINITE),
        ({}, math.inf, Reason.NOT_FINITE),
        ({}, 1e308, None),
        ({"on_violation": "null"}, math.nan, {"x": (None, "x:not_finite:null")}),
        ({"sentinels": [-200, "NA"], "minimum": 0, "on_violation": "null"}, -200.0, {"x": (None, "x:sentinel:null")}),
        ({"sentinels": [-200], "minimum": -500}, -200.0, {"x": (None, "x:sentinel:null")}),
        ({"sentinels": [0]}, -0.0, {"x": (None, "x:sentinel:null")}),
        ({"sentinels": [-200]}, None, None),
    ],
)
def test_an_optional_number(rules: dict[str, Any], value: float | None, expected: Any) -> None:
    assert one(contract(optional("double", **rules)), x=value) == expected


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        ({"minimum": 0}, -0.1, Reason.OUT_OF_RANGE),
        ({"sentinels": [-1]}, -1.0, Reason.SENTINEL),
        ({"minimum": 0, "on_violation": "clamp"}, -0.1, {"x": (0.0, "x:minimum:clamp")}),
        ({"minimum": 0, "on_violation": "clamp"}, math.nan, Reason.NOT_FINITE),
    ],
)
def test_a_required_number(rules: dict[str, Any], value: float, expected: Any) -> None:
    assert one(contract({"name": "x", "type": "double", **rules}), x=value) == expected


NAMED = {"minimum": "flag", "maximum": "clamp", "not_finite": "null"}


@pytest.mark.parametrize(
    ("rules", "value", "expected"),
    [
        ({"minimum": 0, "maximum": 9, "on_violation": NAMED}, -1.0, {"x": (None, "x:minimum:flag")}),
        ({"minimum": 0, "maximum": 9, "on_violation": NAMED}, 10.0, {"x": (9.0, "x:maximum:clamp")}),
        ({"minimum": 0, "maximum": 9, "on_violation": NAMED}, math.nan, {"x": (None, "x:not_finite:null")}),
        ({"minimum": 0, "maximum": 9, "on_violation": {"minimum": "null"}}, 10.0, Reason.OUT_OF_RANGE),
        ({"sentinels": [-1], "on_violation": {"sentinel": "flag"}}, -1.0, {"x": (None, "x:sentinel:flag")}),
        ({"sentinels": [-1], "on_violation": {"sentinel": "reject"}}, -1.0, Reason.SENTINEL),
        ({"sentinels": [-1], "on_violation": "flag"}, -1.0, {"x": (None, "x:sentinel:null")}),
        ({"on_violation": "flag"}, math.nan, {"x": (None, "x:not_finite:flag")}),
    ],
)
def test_an_action_for_each_rule(rules: dict[str, Any], value: float, expected: Any) -> None:
    assert one(contract(optional("double", **rules)), x=value) == expected


def test_a_flagged_value_stays_and_the_rules_after_it_are_asked() -> None:
    it = contract(optional("double", sentinels=[-1], minimum=0, on_violation={"sentinel": "flag", "minimum": "null"}))
    (changes,) = judge(it, {"x": -1.0}).changes.values()
    assert [(c.note, c.stays) for c in changes] == [("x:sentinel:flag", True), ("x:minimum:null", False)]


def test_items_of_an_array_by_the_action_of_each_bound() -> None:
    x = SAMPLES | {"minimum": 0, "maximum": 3}
    mixed = contract(x | {"on_violation": {"minimum": "flag", "maximum": "clamp"}})
    assert one(mixed, x=[-1.0, 4.0]) == {"x": ([-1.0, 3.0], "x:maximum:clamp;x:minimum:flag")}
    assert one(contract(x | {"on_violation": {"minimum": "flag"}}), x=[-1.0, 4.0]) is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("kind", "rules", "value", "expected"),
    [
        ("string", {"allowed": ["RUN", "STOP"]}, "RUN", None),
        ("string", {"allowed": ["RUN", "STOP"]}, "run", Reason.NOT_ALLOWED),
        ("string", {"allowed": ["RUN"], "on_violation": "null"}, "", {"x": (None, "x:allowed:null")}),
        ("string", {"allowed": ["RUN"], "sentinels": ["NA"]}, "NA", {"x": (None, "x:sentinel:null")}),
        ("long", {"allowed": [1, 2**62 + 1]}, 2**62 + 1, None),
        ("long", {"allowed": [1, 2**62 + 1]}, 2**62, Reason.NOT_ALLOWED),
        ("int", {"allowed": [-1, 1], "on_violation": "flag"}, 0, {"x": (None, "x:allowed:flag")}),
        ("string", {"pattern": "[a-z]+|[0-9]+"}, "abc", None),
        ("string", {"pattern": "[a-z]+|[0-9]+"}, "abc1", Reason.NOT_ALLOWED),  # as a whole
        ("string", {"pattern": "[a-z]+"}, "abc\n", Reason.NOT_ALLOWED),
        ("string", {"pattern": "[a-z]*", "on_violation": "null"}, "A", {"x": (None, "x:pattern:null")}),
        ("string", {"pattern": "[a-z]*"}, None, None),
        ("string", {"pattern": r"\p{Lu}.*"}, "Ärger", None),
        ("string", {"pattern": "(a|aa)+"}, "a" * 5_000 + "b", Reason.NOT_ALLOWED),  # where others take for ever
    ],
)
def test_what_texts_and_whole_numbers_may_be(kind: str, rules: dict[str, Any], value: Any, expected: Any) -> None:
    assert one(contract(optional(kind, **rules)), x=value) == expected


def test_a_time_too_far_behind() -> None:
    late = {"type": "long", "logicalType": "timestamp-millis"}
    it = contract(optional(late, max_behind_seconds=60, on_violation="null"))
    assert one(it, x=NOW_MS - 60_000) is None
    assert one(it, x=NOW_MS - 60_001) == {"x": (None, "x:max_behind:null")}
    flagging = BASE[1] | {"max_behind_seconds": 0.5, "on_violation": {"max_behind": "flag"}}
    it = parse("r", json.dumps({"type": "record", "name": "r", "fields": [BASE[0], flagging, QUALITY]}))
    assert one(it, event_time=NOW - 500_000) is None
    assert one(it, event_time=NOW - 500_001) == {"event_time": (None, "event_time:max_behind:flag")}
    assert one(it, event_time=0) is Reason.OUT_OF_RANGE


def test_a_pattern_that_is_none_is_no_contract() -> None:
    """Where polars is not installed, `parse` can't tell: cleaning does, before the first reading."""
    with pytest.raises(ConfigError, match="unclosed group"):
        ContractRules(contract(optional("string", pattern="a(")))


def test_whole_numbers_are_compared_exactly() -> None:
    it = contract(optional("long", maximum=2**53 + 2, sentinels=[-1], on_violation="clamp"))
    assert one(it, x=2**53 + 2) is None
    assert one(it, x=2**53 + 3) == {"x": (2**53 + 2, "x:maximum:clamp")}
    assert one(it, x=-1) == {"x": (None, "x:sentinel:null")}
    assert one(contract(optional("int", minimum=0.5, on_violation="clamp")), x=0) == {"x": (1, "x:minimum:clamp")}


def test_a_bound_is_as_exact_as_the_field() -> None:
    it = contract(optional("float", minimum=0.1, maximum=0.3))
    assert one(it, x=0.1) is None
    assert one(it, x=0.3) is None
    assert one(it, x=0.30001) is Reason.OUT_OF_RANGE


def test_texts() -> None:
    it = contract(optional("string", sentinels=["NA", ""], on_violation="null"))
    assert one(it, x="NNW") is None
    assert one(it, x="NA") == {"x": (None, "x:sentinel:null")}


def test_event_time() -> None:
    it = contract()
    assert one(it, event_time=NOW + 86_400_000_000) is None
    assert one(it, event_time=NOW + 86_400_000_001) is Reason.FUTURE_TIME
    assert one(it, event_time=946684800000000) is None
    assert one(it, event_time=946684799999999) is Reason.OUT_OF_RANGE
    assert one(it, event_time=2**63 - 1) is Reason.FUTURE_TIME
    assert one(it, event_time=-(2**63)) is Reason.OUT_OF_RANGE


def test_every_rule_file_stands_in_the_order() -> None:
    """A rule that is not listed never acts, and nothing would say so."""
    names = {m.name for m in pkgutil.iter_modules(package.__path__)}
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    assert {m.rule for m in modules if callable(getattr(m, "rule", None))} == set(ORDER)


SAMPLES = {"name": "x", "type": {"type": "array", "items": "float"}, "max_items": 5}


@pytest.mark.parametrize(
    ("rules", "items", "expected"),
    [
        ({}, [1.0, 2.0], None),
        ({}, [], None),
        ({}, [1.0, math.nan], Reason.NOT_FINITE),
        ({}, [1.0] * 6, Reason.OUT_OF_RANGE),
        ({"maximum": 3}, [1.0, 4.0], Reason.OUT_OF_RANGE),
        ({"minimum": 0, "maximum": 3, "on_violation": "clamp"}, [-1.0, 1.0, 4.0],
         {"x": ([0.0, 1.0, 3.0], "x:maximum:clamp;x:minimum:clamp")}),
        ({"maximum": 3, "on_violation": "clamp"}, [4.0, math.inf], Reason.NOT_FINITE),
    ],
)  # fmt: skip
def test_arrays_item_by_item(rules: dict[str, Any], items: list[float], expected: Any) -> None:
    assert one(contract(SAMPLES | rules), x=items) == expected


def test_an_optional_array_is_nulled_whole() -> None:
    rules = {"maximum": 3, "max_items": 5, "on_violation": "null"}
    it = contract(optional({"type": "array", "items": "double"}, **rules))
    assert one(it, x=[1.0, 4.0]) == {"x": (None, "x:maximum:null")}
    assert one(it, x=None) is None


def test_words_name_field_value_and_rule() -> None:
    v = judge(contract({"name": "x", "type": "double", "unit": "m/s2", "maximum": 160}), {"x": 200.5})
    error = v.refused[0]
    assert str(error) == "x = 200.5 m/s2 is above the maximum of 160"
    assert (error.field, error.value, error.rule) == ("x", "200.5", "maximum")
    v = judge(contract(SAMPLES | {"maximum": 1}), {"x": [0.0, 2.0]})
    assert str(v.refused[0]) == "x[1] = 2.0 is above the maximum of 1"


def test_rows_that_could_not_be_decoded_have_no_verdict() -> None:
    it = contract(optional("double", maximum=1))
    codec = Codec(it.schema)
    good = codec.write(1, {"device_id": "d", "event_time": NOW, "x": 5.0, "_quality": None})
    batch = codec.decode([good[:-3], good])
    v = ContractRules(it).judge(batch.frame, np.full(2, NOW_MS, dtype=np.int64))
    assert list(v.refused) == [1]


@given(st.lists(st.none() | st.floats() | st.sampled_from([-200.0, 0.0, 1.0]), min_size=1, max_size=8))
def test_a_verdict_does_not_depend_on_the_batch(values: list[float | None]) -> None:
    it = contract(optional("double", minimum=-1, maximum=1, sentinels=[-200], on_violation="null"))
    frame = pl.DataFrame({"device_id": "d", "event_time": NOW, "x": values, "_quality": None}, schema_overrides={
        "event_time": pl.Datetime("us", "UTC"), "x": pl.Float64})  # fmt: skip
    appended = np.full(len(values), NOW_MS, dtype=np.int64)
    rules = ContractRules(it)
    together = rules.judge(frame, appended)
    for i in range(len(values)):
        alone = rules.judge(frame[i : i + 1], appended[:1])
        assert together.changes.get(i) == alone.changes.get(0)
