"""Says what a change of a contract means: which old readings the new contract could not read.

BACKWARD compatibility as Avro resolves schemas (reader: the new contract, writer: the old one), and one rule more: a
timestamp must keep its unit. Avro would accept another unit, and every old reading would move in time.
"""

from typing import Any

from headrace.contracts import allowed, avro
from headrace.contracts.avro import Node
from headrace.contracts.model import Contract
from headrace.errors import ConfigError

# writer's type -> what a reader may call it instead
PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def incompatibilities(old: dict[str, Any], new: Contract) -> list[str]:
    """Why `new` can't read what was written with the schema `old`; empty when it can."""
    problems = []
    names = _last(old.get("name")), _last(new.schema.get("name"))
    if names[0] != names[1]:
        problems.append(f"the record was called {names[0]} and is now called {names[1]}. Keep the name")
    before = _types(old)
    for field, raw in zip(new.fields, new.schema["fields"], strict=True):
        was = next((before[n] for n in (field.name, *field.aliases) if n in before), None)
        if was is not None:
            problems += _changed(field.name, was, field.type)
        elif "default" not in raw:
            problems.append(
                f"field {field.name} is new and required, but older readings lack it. {_optional(field.kind)}"
            )
    return problems


def words(node: Node) -> str:
    """A type as a person says it: "optional double", "array of float", "long (timestamp-micros)"."""
    text = f"array of {node.items.kind}" if node.items is not None else node.kind
    return ("optional " if node.nullable else "") + text + (f" ({node.logical})" if node.logical else "")


def _types(schema: dict[str, Any]) -> dict[str, Node]:
    """The types of a schema's fields, except those that a contract can't have: the registry will judge them."""
    parser = avro.Parser(avro.CONTRACT)
    space = str(schema.get("name", "")).rpartition(".")[0] or str(schema.get("namespace", ""))
    out = {}
    for raw in schema.get("fields", []):
        place = f"field {raw['name']}"
        try:
            node = parser.parse(raw.get("type"), place, space)
            allowed.check_type(node, place)
        except ConfigError:
            continue
        out[raw["name"]] = node
    return out


def _changed(name: str, old: Node, new: Node) -> list[str]:
    if old.nullable and not new.nullable:
        return [f"field {name} was optional and is now required, but older readings may lack it. Keep it optional"]
    if old.kind != new.kind and new.kind not in PROMOTIONS.get(old.kind, set()):
        return [f"field {name} changed from {words(old)} to {words(new)}. Keep the type, and add a new field instead"]
    if old.logical != new.logical:
        change = f"field {name} changed from {words(old)} to {words(new)}: older values would be read as others"
        return [f"{change}. Keep the type, and add a new field instead"]
    return _same_kind(name, old, new) if old.kind == new.kind else []


def _same_kind(name: str, old: Node, new: Node) -> list[str]:
    match new.kind:
        case "array":
            a, b = (n.items.kind if n.items is not None else "" for n in (old, new))
            if a != b and b not in PROMOTIONS.get(a, set()):
                return [f"field {name} changed from an array of {a} to an array of {b}. Add a new field instead"]
        case "enum":
            gone = [s for s in old.symbols if s not in new.symbols]
            if gone and new.default is None:
                return [f"field {name} no longer has {', '.join(gone)}, but older readings may. Keep the symbols"]
        case "fixed":
            if old.size != new.size:
                return [f"field {name} changed from {old.size} to {new.size} bytes. Add a new field instead"]
        case "record":
            return _records(name, old, new)
    if (old.precision, old.scale) != (new.precision, new.scale):
        return [f"field {name} changed the precision or scale of its decimal. Add a new field instead"]
    return []


def _records(name: str, old: Node, new: Node) -> list[str]:
    problems = []
    before = {m.name: m.type for m in old.members}
    for member in new.members:
        inside = f"{name}.{member.name}"
        if member.name in before:
            problems += _changed(inside, before[member.name], member.type)
        elif "default" not in member.attributes:
            problems.append(
                f"field {inside} is new and required, but older readings lack it. {_optional(member.type.kind)}"
            )
    return problems


def _optional(kind: str) -> str:
    inner = "..." if kind in {"array", "record", "fixed", "enum"} else f'"{kind}"'
    return f'Make it optional: "type": ["null", {inner}], "default": null'


def _last(name: object) -> str:
    return str(name).rpartition(".")[2]
