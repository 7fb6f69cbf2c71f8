"""The one Avro parser, with the limits of a table: schemas that no contract of ours made are read too, or refused."""

import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.avro import CONTRACT, TABLE, Member, Node, Parser, read_record
from headrace.errors import ConfigError


def record(*types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(types)]}


ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"], "default": "B"}


@pytest.mark.parametrize(
    ("schema", "node"),
    [
        ("double", Node("double", size=8)),
        (["null", "int"], Node("int", nullable=True)),
        (["int", "null"], Node("int", nullable=True, null_index=1)),
        (["null", ENUM], Node("enum", nullable=True, symbols=("A", "B"), default="B")),
        ({"type": "map", "values": ["null", "int"]}, Node("map", items=Node("int", nullable=True))),
        (
            {"type": "array", "items": {"type": "array", "items": "int"}},
            Node("array", items=Node("array", items=Node("int"))),
        ),
        ({"type": "int", "logicalType": "date"}, Node("int", logical="date")),
        ({"type": "string", "logicalType": "uuid"}, Node("string", logical="uuid")),
        ({"type": {"type": "int", "logicalType": "date"}, "doc": "x"}, Node("int", logical="date")),
        ({"type": ["null", "int"]}, Node("int", nullable=True)),
        (
            {"type": "fixed", "name": "f", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2},
            Node("fixed", size=4, logical="decimal", precision=9, scale=2),
        ),
        ({"type": "record", "name": "s", "fields": []}, Node("record")),
    ],
)
def test_a_table_takes_more_than_a_contract(schema: Any, node: Node) -> None:
    assert read_record(record(schema)) == Node("record", members=(Member("f0", node, {}),))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "must be a record"),
        ({"type": "record", "fields": []}, "needs a name"),
        (record("nowhere"), "r.f0: unknown type 'nowhere'"),
        (record(["null", {"type": ["null", "int"]}]), "r.f0: a union inside a union"),
        (record({"type": "array", "items": {"type": "fixed", "name": "e", "size": 0}}), "r.f0: items of a type"),
        (record({"type": "map", "values": {"type": "record", "name": "e", "fields": []}}), "r.f0: values of a type"),
        ({**record("int"), "fields": [{"name": "a", "type": "int"}] * 2}, "two fields have the same name"),
    ],
)
def test_refusals_name_the_place(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as e:
        read_record(schema)
    assert words in str(e.value)


def test_a_name_is_looked_up_in_its_own_namespace_as_the_specification_says() -> None:
    axis = {"type": "record", "name": "acme.axis", "fields": [{"name": "kind", "type": ENUM}]}
    found = read_record(record(axis, "acme.axis", {"type": "array", "items": "acme.e"}))
    fastavro.parse_schema(record(axis, "acme.axis", {"type": "array", "items": "acme.e"}))
    assert found.members[0].type == found.members[1].type
    with pytest.raises(ConfigError, match="unknown type 'axis'"):
        read_record(record(axis, "axis"))


@pytest.mark.parametrize("limits", [CONTRACT, TABLE])
def test_named_types_that_use_each_other_do_not_explode(limits: Any) -> None:
    fields: list[Any] = [{"type": "record", "name": "R0", "fields": [{"name": "a", "type": "int"}]}]
    for i in range(1, 8):
        inner = [{"name": f"a{j}", "type": f"R{i - 1}"} for j in range(30)]
        fields.append({"type": "record", "name": f"R{i}", "fields": inner})
    with pytest.raises(ConfigError, match=f"more than {limits.types} types"):
        read_record(record(*fields), limits)


LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(
    ["int", "double", "null", "record", "array", "enum", "fixed", "map", "x", "r", "", "a.b", "decimal"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["type", "name", "items", "fields", "symbols", "size", "logicalType", "precision", "scale", "default", "namespace",
     "values"]
)  # fmt: skip
JSON = st.recursive(LEAVES, lambda j: st.lists(j, max_size=3) | st.dictionaries(KEYS, j, max_size=5), max_leaves=20)


@given(JSON)
def test_any_type_is_read_or_a_config_error(schema: Any) -> None:
    try:
        node = read_record(record(schema)).members[0].type
    except ConfigError:
        return
    assert node.kind


@given(JSON)
def test_what_a_contract_takes_a_table_takes_alike(schema: Any) -> None:
    try:
        node = Parser(CONTRACT).parse(schema, "x")
    except ConfigError:
        return
    assert Parser(TABLE).parse(json.loads(json.dumps(schema)), "x") == node
