"""What a change of a contract means, in words: which old readings the new contract could not read.

BACKWARD compatibility as Avro resolves schemas (reader: the new contract, writer: the old one), and one rule more: a
timestamp keeps its unit, which Avro would let slip and which would move every old reading in time.
"""

from typing import Any

from headrace.contracts.avro import Shape, Types, shape_of
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
_RULES = (
    "unit",
    "minimum",
    "maximum",
    "sentinels",
    "on_violation",
    "role",
    "time_unit",
    "max_ahead_seconds",
    "aliases",
    "doc",
)


def incompatibilities(old: dict[str, Any], new: Contract) -> list[str]:
    """Why `new` can't read what was written with the schema `old`; empty when it can."""
    problems = []
    names = _last(old.get("name")), _last(new.schema.get("name"))
    if names[0] != names[1]:
        problems.append(f"the record was called {names[0]} and is now called {names[1]}. Keep the name")
    before = _shapes(old)
    for field, raw in zip(new.fields, new.schema["fields"], strict=True):
        was = next((before[n] for n in (field.name, *field.aliases) if n in before), None)
        if was is not None:
            problems += _changed(field.name, was, shape_of(field.schema))
        elif "default" not in raw:
            problems.append(
                f"field {field.name} is new and required, but older readings lack it. {_optional(field.kind)}"
            )
    return problems


def differences(old: Contract, new: Contract) -> list[str]:
    """Everything that differs between two contracts, a line each: fields, types, and what their values mean."""
    lines = [f"field {f.name} removed" for f in old.fields if f.name not in new]
    for f in new.fields:
        if f.name not in old:
            lines.append(f"field {f.name} added: {words(shape_of(f.schema))}")
            continue
        was = old.field(f.name)
        if was.schema != f.schema:
            lines.append(f"field {f.name}: type was {words(shape_of(was.schema))}, is {words(shape_of(f.schema))}")
        lines += [
            f"field {f.name}: {rule} was {getattr(was, rule)!r}, is {getattr(f, rule)!r}"
            for rule in (*_RULES, "max_items")
            if getattr(was, rule) != getattr(f, rule)
        ]
    kept = [f.name for f in old.fields if f.name in new]
    if kept != [f.name for f in new.fields if f.name in old]:
        lines.append("the order of the fields changed")
    return lines


def words(shape: Shape) -> str:
    """A type as a person says it: "optional double", "array of float", "long (timestamp-micros)"."""
    text = f"array of {shape.items}" if shape.kind == "array" else shape.kind
    return ("optional " if shape.nullable else "") + text + (f" ({shape.logical})" if shape.logical else "")


def _shapes(schema: dict[str, Any]) -> dict[str, Shape]:
    types = Types()
    space = str(schema.get("name", "")).rpartition(".")[0] or str(schema.get("namespace", ""))
    out = {}
    for raw in schema.get("fields", []):
        try:
            out[raw["name"]] = types.shape(raw.get("type"), f"field {raw['name']}", space)
        except ConfigError:
            continue  # not a type of ours: the registry itself will judge it
    return out


def _changed(name: str, old: Shape, new: Shape) -> list[str]:
    if old.nullable and not new.nullable:
        return [f"field {name} was optional and is now required, but older readings may lack it. Keep it optional"]
    if old.kind != new.kind and new.kind not in PROMOTIONS.get(old.kind, set()):
        return [f"field {name} changed from {words(old)} to {words(new)}. Keep the type, and add a new field instead"]
    if old.logical != new.logical:
        change = f"field {name} changed from {words(old)} to {words(new)}: older values would be read as others"
        return [f"{change}. Keep the type, and add a new field instead"]
    a, b = _inner(old.schema), _inner(new.schema)
    if not isinstance(a, dict) or not isinstance(b, dict):
        return []
    return _same_kind(name, new.kind, a, b)


def _same_kind(name: str, kind: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    match kind:
        case "array":
            a, b = _kind(old["items"]), _kind(new["items"])
            if a != b and b not in PROMOTIONS.get(a, set()):
                return [f"field {name} changed from an array of {a} to an array of {b}. Add a new field instead"]
        case "enum":
            gone = [s for s in old["symbols"] if s not in new["symbols"]]
            if gone and "default" not in new:
                return [f"field {name} no longer has {', '.join(gone)}, but older readings may. Keep the symbols"]
        case "fixed":
            if old["size"] != new["size"]:
                return [f"field {name} changed from {old['size']} to {new['size']} bytes. Add a new field instead"]
        case "record":
            return _records(name, old, new)
    if new.get("logicalType") == "decimal" and any(old.get(k, 0) != new.get(k, 0) for k in ("precision", "scale")):
        return [f"field {name} changed the precision or scale of its decimal. Add a new field instead"]
    return []


def _records(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    problems = []
    before, after = ({f["name"]: shape_of(f["type"]) for f in s["fields"]} for s in (old, new))
    for raw in new["fields"]:
        inside = f"{name}.{raw['name']}"
        if raw["name"] in before:
            problems += _changed(inside, before[raw["name"]], after[raw["name"]])
        elif "default" not in raw:
            problems.append(
                f"field {inside} is new and required, but older readings lack it. {_optional(after[raw['name']].kind)}"
            )
    return problems


def _optional(kind: str) -> str:
    inner = "..." if kind in {"array", "record", "fixed", "enum"} else f'"{kind}"'
    return f'Make it optional: "type": ["null", {inner}], "default": null'


def _inner(schema: Any) -> Any:
    return schema[1] if isinstance(schema, list) else schema


def _kind(schema: Any) -> str:
    return str(schema if isinstance(schema, str) else schema["type"])


def _last(name: object) -> str:
    return str(name).rpartition(".")[2]
