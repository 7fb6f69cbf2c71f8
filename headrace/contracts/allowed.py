"""What of Avro a field of a contract may hold: what every reader of it takes, the columnar one and SQL included."""

from collections.abc import Mapping
from typing import Any

from headrace.contracts.avro import PRIMITIVES, Member, Node, is_whole
from headrace.errors import ConfigError

MAX_ITEMS = 1_000_000
_MAX_FIXED = 65_536
_LOGICAL = {"timestamp-micros": {"long"}, "timestamp-millis": {"long"}, "decimal": {"bytes", "fixed"}}


def check_field(node: Node, attributes: Mapping[str, Any], place: str) -> None:
    """Pass where a contract may have a field of the type `node` with these attributes (max_items, default).

    ConfigError, beginning with `place`, with the remedy, where it may not.
    """
    check_type(node, place)
    if node.kind == "array" and not is_whole(attributes.get("max_items"), 1, MAX_ITEMS):
        raise ConfigError(f'{place}: an array needs a bound. Add "max_items": a whole number from 1 to {MAX_ITEMS:,}')
    if "default" in attributes and not fits(attributes["default"], node):
        want = "null (the first type of the union)" if node.nullable else f"a value of {node.kind}"
        raise ConfigError(f"{place}: the default {attributes['default']!r:.80} must be {want}")


def check_type(node: Node, place: str) -> None:
    """The same for the type alone."""
    if node.nullable and node.null_index != 0:
        raise ConfigError(f'{place}: write the union with null first, ["null", ...], and the default null')
    if node.logical is not None and node.kind not in _LOGICAL.get(node.logical, ()):
        raise ConfigError(
            f"{place}: logicalType {node.logical!r:.60} on {node.kind} is not supported. Use timestamp-micros or "
            "timestamp-millis on long, decimal on bytes or fixed, or none"
        )
    match node.kind:
        case "map":
            raise ConfigError(f"{place}: a map is not supported. Use a record that names its fields, or an array")
        case "enum" if node.nullable:
            raise ConfigError(
                f"{place}: an optional enum is not supported: the columnar reader can't take it. "
                "Use an optional string, or an enum with a symbol for unknown"
            )
        case "fixed" if not 1 <= node.size <= _MAX_FIXED:
            raise ConfigError(f"{place}: fixed needs a size from 1 to {_MAX_FIXED} bytes")
        case "array":
            _check_items(node, place)
        case "record":
            _check_members(node.members, place)


def _check_items(node: Node, place: str) -> None:
    assert node.items is not None
    if node.items.nullable:
        raise ConfigError(
            f"{place}: the items of an array can't be null. Leave missing items out, or make the array optional"
        )
    if node.items.kind not in PRIMITIVES:
        raise ConfigError(
            f"{place}: an array holds numbers, strings, booleans or bytes. Use an array for each quantity instead"
        )
    check_type(node.items, f"{place}: items")


def _check_members(members: tuple[Member, ...], place: str) -> None:
    if not members:
        raise ConfigError(f"{place}: a record needs fields: a list of objects with name and type")
    for m in members:
        check_field(m.type, m.attributes, f"{place}.{m.name}")
    if len({m.name.lower() for m in members}) != len(members):
        raise ConfigError(f"{place}: two fields have the same name (SQL does not tell small letters from capitals)")


def fits(value: Any, node: Node) -> bool:
    """Whether a default, as JSON has it, is a value of the type; of a union, of its first branch."""
    if node.nullable:
        return value is None
    match node.kind:
        case "boolean":
            return isinstance(value, bool)
        case "int":
            return is_whole(value, -(2**31), 2**31 - 1)
        case "long":
            return is_whole(value, -(2**63), 2**63 - 1)
        case "float" | "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            assert node.items is not None
            items = node.items
            return isinstance(value, list) and all(fits(v, items) for v in value)
        case "record":
            return isinstance(value, dict) and all(_member_fits(value, m) for m in node.members)
        case "enum":
            return value in node.symbols
        case "fixed":
            return isinstance(value, str) and len(value) == node.size
        case _:
            return isinstance(value, str)


def _member_fits(value: dict[str, Any], member: Member) -> bool:
    if member.name not in value:
        return "default" in member.attributes
    return fits(value[member.name], member.type)
