"""What of Avro a batch of readings may hold: types with their references resolved, and the head of a container."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.errors import ConfigError

_SIZES = {"boolean": 1, "float": 4, "double": 8}
_VARIABLE = frozenset({"int", "long", "string", "bytes"})
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Node:
    """An Avro type, its references resolved: what a column, or a part of one, holds."""

    kind: str  # Avro's name of the type, of a union's branch that isn't null
    nullable: bool = False
    null_index: int = 0  # of the null branch, where nullable
    logical: str = ""
    size: int = 0  # bytes of a value where they are fixed, else 0
    symbols: tuple[str, ...] = ()
    fields: tuple[tuple[str, "Node"], ...] = ()
    items: "Node | None" = None  # of an array, or a map's values
    precision: int = 0
    scale: int = 0


def parse(schema: Mapping[str, Any]) -> Node:
    """The record that a schema describes. ConfigError for what no contract may hold.

    That is: unions of other than null and one type, recursion, nesting deeper than 16, items that take no bytes.
    """
    node = _parse(schema, "", {}, (), 0)
    if node.kind != "record":
        raise ConfigError(f"a schema of readings is a record, not {node.kind}")
    return node


def plain(node: Node) -> dict[str, Any]:
    """The Avro schema of a record without logical types, attributes and references: values as they are stored."""
    out: dict[str, Any] = _plain(node, [0])
    return out


def _parse(schema: Any, space: str, names: dict[str, Node], inside: tuple[str, ...], depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"types are nested deeper than {_MAX_DEPTH}")
    if isinstance(schema, list):
        return _union(schema, space, names, inside, depth)
    if isinstance(schema, str):
        if schema in _SIZES or schema in _VARIABLE:
            return Node(schema, size=_SIZES.get(schema, 0))
        full = schema if "." in schema or not space else f"{space}.{schema}"
        if full in inside:
            raise ConfigError(f"type {schema} holds itself: no table has a column for that")
        if full not in names:
            raise ConfigError(f"no such type: {schema}")
        return names[full]
    if not isinstance(schema, Mapping):
        raise ConfigError(f"not an Avro type: {schema!r}")
    kind = schema.get("type")
    if kind in {"record", "enum", "fixed"}:
        return _named(schema, space, names, inside, depth)
    if kind in {"array", "map"}:
        items = _parse(schema["items" if kind == "array" else "values"], space, names, inside, depth + 1)
        if _empty(items):
            raise ConfigError("items without fields take no bytes: five bytes could claim a billion of them")
        return Node(kind, items=items)
    inner = _parse(kind, space, names, inside, depth + 1)
    return _with_logical(inner, schema)


def _union(schema: list[Any], space: str, names: dict[str, Node], inside: tuple[str, ...], depth: int) -> Node:
    others = [s for s in schema if s != "null"]
    if len(schema) != 2 or len(others) != 1:
        raise ConfigError(f"a union is of null and one other type, not {schema}")
    node = _parse(others[0], space, names, inside, depth + 1)
    if node.nullable:
        raise ConfigError("a union stands directly in a union")
    return _replace(node, nullable=True, null_index=schema.index("null"))


def _named(schema: Mapping[str, Any], space: str, names: dict[str, Node], inside: tuple[str, ...], depth: int) -> Node:
    name, kind = str(schema.get("name", "")), schema["type"]
    space = name.rpartition(".")[0] if "." in name else schema.get("namespace", space) or ""
    full = name if "." in name or not space else f"{space}.{name}"
    if full in names or full in inside:
        raise ConfigError(f"type {name} is defined twice")
    if kind == "record":
        fields = tuple(
            (str(f["name"]), _parse(f["type"], space, names, (*inside, full), depth + 1)) for f in schema["fields"]
        )
        node = Node("record", fields=fields)
    elif kind == "enum":
        node = Node("enum", symbols=tuple(schema["symbols"]))
    else:
        node = _with_logical(Node("fixed", size=int(schema["size"])), schema)
    names[full] = node
    return node


def _with_logical(node: Node, schema: Mapping[str, Any]) -> Node:
    logical = str(schema.get("logicalType", ""))
    if logical != "decimal" or node.kind not in {"bytes", "fixed"}:
        return _replace(node, logical=logical) if logical else node
    precision, scale = int(schema.get("precision", 0)), int(schema.get("scale", 0))
    if not (0 < precision <= 38 and 0 <= scale <= precision):
        raise ConfigError(f"a decimal of precision {precision} and scale {scale}: 38 digits at most")
    return _replace(node, logical=logical, precision=precision, scale=scale)


def _empty(node: Node) -> bool:
    """Whether a value takes no bytes at all."""
    fixed = node.kind == "fixed" and node.size == 0
    return not node.nullable and (fixed or (node.kind == "record" and all(_empty(t) for _, t in node.fields)))


def _replace(node: Node, **changes: Any) -> Node:
    return Node(**{**{f: getattr(node, f) for f in Node.__slots__}, **changes})


def _plain(node: Node, count: list[int]) -> Any:
    count[0] += 1
    name = f"t{count[0]}"  # a type used twice is written out twice: the fast reader takes no references
    out: Any
    match node.kind:
        case "record":
            fields = [{"name": n, "type": _plain(t, count)} for n, t in node.fields]
            out = {"type": "record", "name": name, "fields": fields}
        case "enum":
            out = {"type": "enum", "name": name, "symbols": list(node.symbols)}
        case "fixed":
            out = {"type": "fixed", "name": name, "size": node.size}
        case "array" | "map":
            assert node.items is not None
            out = {"type": node.kind, "items" if node.kind == "array" else "values": _plain(node.items, count)}
        case _:
            out = node.kind
    if node.nullable:
        return ["null", out] if node.null_index == 0 else [out, "null"]
    return out


def long_bytes(n: int) -> bytes:
    """`n` as Avro's zigzag variable-length long."""
    z = (n << 1) ^ (n >> 63)
    out = bytearray()
    while z > 0x7F:
        out.append((z & 0x7F) | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


def container(schema_json: bytes, sync: bytes) -> bytes:
    """The head of an Avro object container whose one block follows: count, size, bodies, sync marker."""
    name = b"avro.schema"
    meta = long_bytes(1) + long_bytes(len(name)) + name + long_bytes(len(schema_json)) + schema_json + b"\0"
    return b"Obj\x01" + meta + sync
