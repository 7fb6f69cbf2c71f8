"""A contract made again from another sample: compatible, and what was written by hand stays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.again import Again, merge
from headrace.contracts.changes import differences
from headrace.contracts.compat import incompatibilities
from headrace.contracts.infer import infer
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError
from tests.profiles import examples


def made(*readings: dict[str, Any]) -> Contract:
    return infer("pump", readings, ["device_id"]).contract


def again(old: Contract, *readings: dict[str, Any], stored: bool = True) -> Again:
    found = merge(old, made(*readings), readings, stored=stored)
    assert incompatibilities(old.schema, found.contract) == [] or not stored
    return found


def with_field(**attributes: Any) -> Contract:
    schema = made({"x": 1.5}).schema
    fields = [{**f, **attributes} if f["name"] == "x" else f for f in schema["fields"]]
    return parse("pump", json.dumps({**schema, "fields": fields}))


def test_what_was_written_by_hand_stays_and_new_keys_are_optional() -> None:
    old = with_field(unit="bar", minimum=0, doc="By hand.", on_violation="clamp")
    found = again(old, {"x": 7, "y": {"z": 1}}, {"new": "a"})
    assert found.problems == []
    assert [c.line for c in differences(old, found.contract)] == [
        "added y: optional record",
        "added new: optional string",
    ]
    assert found.contract.field("x").unit == "bar"
    assert [f.name for f in found.contract.fields] == ["device_id", "event_time", "x", "y", "new", "_extra", "_quality"]
    assert again(found.contract, {"x": 7, "y": {"z": 1}}).contract.text == found.contract.text


def test_a_required_field_stays_so_and_is_told_where_the_sample_lacks_it() -> None:
    text = made({"x": 1.5}).text.replace('"type": ["null", "double"], "default": null, ', '"type": "double", ')
    old = parse("pump", text.replace('"on_violation": "null"', '"on_violation": "reject"'))
    assert again(old, {"x": 1}).hints == []
    assert "x is required" in again(old, {"x": 1}, {"y": 1}).hints[0]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({"count": 1}, {"count": 1.5}, "double"),
        ({"a": [2**60]}, {"a": [1.5]}, "array"),
        ({"a": {"count": 1}}, {"a": {"count": 1.5, "b": "x"}}, "record"),
        ({"a": 1.5}, {"a": "NA"}, "double"),
        ({"a": 1.5}, {"a": None}, "double"),
        ({"a": {"b": 1}}, {"a": {}}, "record"),
        ({"a": None}, {"a": 1}, "string"),
    ],
)
def test_what_can_be_widened_is(before: dict[str, Any], after: dict[str, Any], kind: str) -> None:
    name = next(iter(before))
    readings = [after] if after[name] != "NA" else [after, before]
    found = again(made(before), *readings)
    assert found.problems == []
    assert found.contract.field(name).kind == kind


def test_a_list_may_grow() -> None:
    old = made({"a": [1]})
    assert again(old, {"a": [1] * 100}).contract.field("a").max_items == 512
    assert again(again(old, {"a": [1] * 100}).contract, {"a": [1]}).contract.field("a").max_items == 512


def test_without_stored_readings_a_sample_settles_what_was_open() -> None:
    old = made({"update available": None, "tags": {}, "aoa": []})
    sample = {"update available": True, "tags": {"a": 1}, "aoa": [1]}
    found = again(old, sample, stored=False).contract
    assert [f.kind for f in found.fields[2:-2]] == ["boolean", "record", "array"]
    assert found.field("update_available").aliases == ("update available",)
    kept = again(old, sample)
    assert [f.kind for f in kept.contract.fields[2:-2]] == ["string", "string", "string"]
    assert len(kept.hints) == 3


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"a": 1.5}, {"a": "low"}, "a is double in the contract, and string in the sample"),
        ({"a": "x"}, {"a": 1}, "a is string in the contract, and double in the sample"),
        ({"a": {"b": True}}, {"a": {"b": {"c": 1}}}, "a.b is boolean in the contract, and an object in the sample"),
        ({"a": ["x"]}, {"a": [1]}, "a is a list of string in the contract, and of double in the sample"),
        ({"a": [1]}, {"a": 1}, "a is array in the contract, and double in the sample"),
        ({"count": 1}, {"count": 2**63}, "count is long in the contract, and decimal in the sample"),
        ({"seq": 1, "boot": 1}, {"seq": 1.5, "boot": 1}, "seq has the role sequence and is long"),
    ],
)
def test_what_would_break_is_told(before: dict[str, Any], after: dict[str, Any], words: str) -> None:
    assert words in again(made(before), after).problems[0]


def test_two_records_never_share_a_name() -> None:
    old = parse("pump", made({"a": {"b": 1}}).text.replace('"a"', '"old"'))
    found = again(old, {"a": {"b": {"c": 1}}})
    assert [f.name for f in found.contract.fields[2:-2]] == ["old", "a"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**64) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["x", "NA", "1,5"]),
    lambda v: st.lists(v, max_size=2) | st.dictionaries(st.sampled_from(["a", "B", "b", "é"]), v, max_size=2),
    max_leaves=4,
)  # fmt: skip
READINGS = st.lists(
    st.dictionaries(st.sampled_from(["a", "A", "id", "t x", "t_x", "seq", "boot"]), VALUES, max_size=4),
    min_size=1, max_size=2,
)  # fmt: skip


@examples(0.6)
@given(READINGS, READINGS)
def test_any_next_version_reads_the_one_before(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    try:
        old = made(*first)
    except ConfigError:
        return
    found = again(old, *second)
    assert not any(d.what == "removed" for d in differences(old, found.contract))
    once_more = again(found.contract, *second)
    assert once_more.contract.text == found.contract.text or found.problems
