"""Avro schemas as trees of types, with every name resolved: the one parser, for contracts and for all who read Avro.

Avro 1.12, https://avro.apache.org/docs/1.12.0/specification/. A schema comes from a file or a registry, and neither may
exhaust the stack or the memory of the reader: depth and number of types are limited. What a contract may hold is less
than what is parsed here: `headrace.contracts.allowed` says what.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Any, NamedTuple, TypeGuard

from headrace.errors import ConfigError

NUMBERS = frozenset({"int", "long", "float", "double"})
PRIMITIVES = NUMBERS | {"string", "boolean", "bytes"}
_SIZES = {"boolean": 1, "float": 4, "double": 8}
_EXACT = Context(prec=60)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


class Limits(NamedTuple):
    """How large a schema may be."""

    depth: int  # of types inside types
    types: int  # in all; those inside a named type count each time it is used
    wrapped: bool  # take {"type": {"type": "int"}, "doc": ...}, which the specification does not allow


CONTRACT = Limits(depth=8, types=5_000, wrapped=False)
TABLE = Limits(depth=16, types=50_000, wrapped=True)  # what a table is made of, with a contract or without


@dataclass(frozen=True, slots=True)
class Node:
    """An Avro type. A union of null and one other type is that type, nullable; other unions are not taken."""

    kind: str  # Avro's name of the type
    nullable: bool = False
    null_index: int = 0  # of the null branch, where nullable
    logical: str | None = None  # as written, known or not
    size: int = 0  # bytes of a value where they are fixed, else 0
    symbols: tuple[str, ...] = ()  # of an enum
    default: str | None = None  # an enum's symbol for those that a reader does not know
    members: tuple["Member", ...] = ()  # of a record
    items: "Node | None" = None  # of an array; the values of a map
    precision: int = 0  # of a decimal, else 0
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """One field of a record."""

    name: str
    type: Node
    attributes: Mapping[str, Any]  # what the schema says beside name and type: doc, default, aliases, ...


def is_name(text: object) -> bool:
    """Whether `text` is a name in Avro, which makes it one in SQL too."""
    return isinstance(text, str) and _NAME.match(text) is not None


def read_record(schema: Mapping[str, Any], limits: Limits = TABLE) -> Node:
    """The record that a whole schema describes. ConfigError, with the place in it, for what `Parser.parse` refuses."""
    if schema.get("type") != "record":
        raise ConfigError(f"type is {schema.get('type')!r:.60}; a schema of readings must be a record")
    return Parser(limits).parse(schema, str(schema.get("name")))


class Parser:
    """Parses the types of one schema in their order, and remembers the named ones."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._named: dict[str, Node] = {}
        self._sizes: dict[str, int] = {}  # how many types are inside a named one, itself included
        self._open: list[str] = []
        self._count = 0

    def enter(self, name: str, namespace: str) -> None:
        """Begin the record `name`: a reference to it from inside is a recursion."""
        self._open.append(_full(name, namespace))

    def parse(self, schema: Any, place: str, namespace: str = "", depth: int = 0) -> Node:
        """The type `schema`, written at `place`, which begins every message.

        ConfigError for what is not Avro, unions other than of null and one type, recursion, array items that take no
        bytes, and schemas beyond the limits.
        """
        if not isinstance(schema, list):
            return self._resolve(schema, place, namespace, depth)
        node = self._resolve(_branch(schema, place), place, namespace, depth)
        if node.nullable:
            raise ConfigError(f"{place}: a union inside a union is not Avro. Write one union")
        return replace(node, nullable=True, null_index=schema.index("null"))

    def _resolve(self, schema: Any, place: str, namespace: str, depth: int) -> Node:
        self._grow(1, depth, place)
        if isinstance(schema, str):
            return self._by_name(schema, place, namespace, depth)
        if not isinstance(schema, Mapping) or "type" not in schema:
            raise ConfigError(f"{place}: a type is expected: a name such as \"double\", or an object with 'type'")
        kind = schema["type"]
        if not isinstance(kind, str):
            if not (self._limits.wrapped or (isinstance(kind, dict) and set(schema) == {"type"})):
                raise ConfigError(f"{place}: a type inside a type. Write it once, as the field's own 'type'")
            return _with_logical(self.parse(kind, place, namespace, depth + 1), schema, place)
        match kind:
            case "record":
                return self._record(schema, place, namespace, depth)
            case "enum":
                return self._enum(schema, place, namespace)
            case "fixed":
                return self._fixed(schema, place, namespace)
            case "array" | "map":
                return self._items(schema, kind, place, namespace, depth)
        return _with_logical(self._by_name(kind, place, namespace, depth), schema, place)

    def _grow(self, types: int, depth: int, place: str) -> None:
        self._count += types
        if self._count > self._limits.types:
            raise ConfigError(f"{place}: more than {self._limits.types} types in one schema. Split it into several")
        if depth > self._limits.depth:
            raise ConfigError(
                f"{place}: nested more than {self._limits.depth} deep. Flatten it: one field for each quantity"
            )

    def _by_name(self, name: str, place: str, namespace: str, depth: int) -> Node:
        if name in PRIMITIVES:
            return Node(name, size=_SIZES.get(name, 0))
        full = _full(name, namespace)
        if full in self._open:
            raise ConfigError(
                f"{place}: the record {name!r:.80} contains itself. A reading can't be recursive: flatten it"
            )
        if full not in self._named:
            raise ConfigError(
                f"{place}: unknown type {name!r:.80}. Known are {', '.join(sorted(PRIMITIVES))}, "
                "enum, array, record, fixed, and types named earlier in the contract"
            )
        node = self._named[full]
        self._grow(self._sizes.get(full, 1), depth + _height(node), place)
        return node

    def _define(self, schema: Mapping[str, Any], place: str, namespace: str) -> str:
        """The full name of a named type that begins here."""
        name, space = schema.get("name"), schema.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str) or not all(map(is_name, name.split("."))):
            raise ConfigError(f"{place}: {schema['type']} needs a name of letters, digits and underscores")
        full = _full(name, space)
        if full in self._named or full in self._open:
            raise ConfigError(f"{place}: the type {full!r:.80} is defined twice. Define it once, then use its name")
        return full

    def _fixed(self, schema: Mapping[str, Any], place: str, namespace: str) -> Node:
        full = self._define(schema, place, namespace)
        size = schema.get("size")
        if not is_whole(size, 0, 2**31 - 1):
            raise ConfigError(f"{place}: fixed needs a size, a whole number of bytes")
        self._named[full] = _with_logical(Node("fixed", size=size), schema, place)
        return self._named[full]

    def _enum(self, schema: Mapping[str, Any], place: str, namespace: str) -> Node:
        full = self._define(schema, place, namespace)
        symbols = schema.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(map(is_name, symbols)):
            raise ConfigError(f"{place}: enum needs symbols: a list of names of letters, digits and underscores")
        if len(set(symbols)) != len(symbols):
            raise ConfigError(f"{place}: a symbol occurs twice")
        if "default" in schema and schema["default"] not in symbols:
            raise ConfigError(f"{place}: the enum's default is not one of its symbols")
        self._named[full] = Node("enum", symbols=tuple(symbols), default=schema.get("default"))
        return self._named[full]

    def _items(self, schema: Mapping[str, Any], kind: str, place: str, namespace: str, depth: int) -> Node:
        key = "items" if kind == "array" else "values"
        items = self.parse(schema.get(key), f"{place}: {key}", namespace, depth + 1)
        if _takes_no_bytes(items):
            raise ConfigError(
                f"{place}: {key} of a type that takes no bytes: a small message could hold a billion. Choose another "
                "type"
            )
        return Node(kind, items=items)

    def _record(self, schema: Mapping[str, Any], place: str, namespace: str, depth: int) -> Node:
        full = self._define(schema, place, namespace)
        fields = schema.get("fields")
        if not isinstance(fields, list) or not all(isinstance(f, dict) for f in fields):
            raise ConfigError(f"{place}: a record needs fields: a list of objects with name and type")
        self._open.append(full)
        before = self._count
        members = []
        for field in fields:
            name = field.get("name")
            if not is_name(name):
                raise ConfigError(f"{place}: {name!r:.80} can't name a field. Use letters, digits and underscores")
            kind = self.parse(field.get("type"), f"{place}.{name}", full.rpartition(".")[0], depth + 1)
            members.append(Member(name, kind, {k: v for k, v in field.items() if k not in {"name", "type"}}))
        if len({m.name for m in members}) != len(members):
            raise ConfigError(f"{place}: two fields have the same name")
        self._open.pop()
        self._named[full] = Node("record", members=tuple(members))
        self._sizes[full] = self._count - before + 1
        return self._named[full]


def inner_members(node: Node, path: str) -> Iterator[tuple[str, Member]]:
    """Every field of the records inside a type, with its dotted path, which begins with `path`."""
    for member in node.members:
        inside = f"{path}.{member.name}"
        yield inside, member
        yield from inner_members(member.type, inside)


def decimal_of(node: Node, data: bytes) -> Decimal:
    """The number that the bytes of a decimal of the type `node` are, exactly."""
    return Decimal(int.from_bytes(data, signed=True)).scaleb(-node.scale, _EXACT)


def is_whole(value: object, low: int, high: int) -> TypeGuard[int]:
    """Whether `value` is a whole number from `low` to `high`. True and False are not numbers."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _branch(union: list[Any], place: str) -> Any:
    """The one type that a union has beside null."""
    others = [t for t in union if t != "null"]
    if len(union) == 2 and len(others) == 1:
        if isinstance(others[0], list):
            raise ConfigError(f"{place}: a union inside a union is not Avro. Write one union")
        return others[0]
    if len(others) > 1:
        raise ConfigError(
            f"{place}: a union of several types is not supported. Choose one type (double takes whole numbers "
            'too), or ["null", one type] for an optional field'
        )
    raise ConfigError(f'{place}: a union must be ["null", one type]; for a required field write the type alone')


def _with_logical(node: Node, schema: Mapping[str, Any], place: str) -> Node:
    logical = schema.get("logicalType")
    if logical is None:
        return node
    if not isinstance(logical, str):
        raise ConfigError(f"{place}: logicalType {logical!r:.60} is not text. Leave it out, or write a name")
    if logical != "decimal" or node.kind not in {"bytes", "fixed"}:
        return replace(node, logical=logical)
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not is_whole(precision, 1, 38) or not is_whole(scale, 0, precision):
        raise ConfigError(f"{place}: decimal needs a precision from 1 to 38 and a scale from 0 to the precision")
    return replace(node, logical=logical, precision=precision, scale=scale)


def _takes_no_bytes(node: Node) -> bool:
    """Whether a value is encoded as nothing at all."""
    if node.nullable:
        return False
    return (node.kind == "fixed" and node.size == 0) or (
        node.kind == "record" and all(_takes_no_bytes(m.type) for m in node.members)
    )


def _height(node: Node) -> int:
    """How many types stand inside each other in `node`, itself not counted."""
    inner = [m.type for m in node.members] + ([node.items] if node.items is not None else [])
    return 1 + max(map(_height, inner)) if inner else 0


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"
