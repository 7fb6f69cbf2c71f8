"""Avro types as far as contracts use them: what every reader, the columnar one included, takes.

Avro 1.12, https://avro.apache.org/docs/1.12.0/specification/. Bounded on purpose: a schema comes from a file or a
registry, and neither may exhaust the stack or the memory of who reads it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.errors import ConfigError

NUMBERS = frozenset({"int", "long", "float", "double"})
PRIMITIVES = NUMBERS | {"string", "boolean", "bytes"}
LOGICAL = {
    "timestamp-micros": {"long"},
    "timestamp-millis": {"long"},
    "decimal": {"bytes", "fixed"},
}
MAX_DEPTH = 8
MAX_TYPES = 5_000
MAX_ITEMS = 1_000_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Shape:
    """One field's type without its null: as `headrace.contracts.model.Field` has it."""

    kind: str
    logical: str | None
    nullable: bool
    items: str | None
    schema: Any  # with every reference to a named type replaced by its definition


def is_name(text: object) -> bool:
    """Whether `text` is a name in Avro, which makes it one in SQL too."""
    return isinstance(text, str) and _NAME.match(text) is not None


class Types:
    """Reads the types of one schema in their order, and remembers the named ones.

    ConfigError, beginning with the place, for what contracts don't take.
    """

    def __init__(self) -> None:
        self._named: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._open: list[str] = []
        self._count = 0

    def enter(self, name: str, namespace: str) -> None:
        """Begin the record `name`: a reference to it from inside is a recursion."""
        self._open.append(_full(name, namespace))

    def shape(self, schema: Any, place: str, namespace: str = "", depth: int = 0) -> Shape:
        """The type `schema` of the field at `place`."""
        nullable = isinstance(schema, list)
        resolved = self._resolve(self._branch(schema, place) if nullable else schema, place, namespace, depth)
        shape = shape_of(["null", resolved] if nullable else resolved)
        if nullable and shape.kind == "enum":
            raise ConfigError(
                f"{place}: an optional enum is not supported: the columnar reader can't take it. "
                "Use an optional string, or an enum with a symbol for unknown"
            )
        return shape

    def _branch(self, union: list[Any], place: str) -> Any:
        others = [t for t in union if t != "null"]
        if len(union) == 2 and len(others) == 1:
            if union[0] != "null":
                raise ConfigError(f'{place}: write the union with null first, ["null", ...], and the default null')
            if isinstance(others[0], list):
                raise ConfigError(f"{place}: a union inside a union is no Avro")
            return others[0]
        if len(others) > 1:
            raise ConfigError(
                f"{place}: a union of several types is not supported. Choose one type (double takes whole numbers "
                'too), or ["null", one type] for an optional field'
            )
        raise ConfigError(f'{place}: a union must be ["null", one type]; for a required field write the type alone')

    def _resolve(self, schema: Any, place: str, namespace: str, depth: int) -> Any:
        self._grow(1, depth, place)
        if isinstance(schema, str):
            return self._by_name(schema, place, namespace, depth)
        if not isinstance(schema, dict) or "type" not in schema:
            raise ConfigError(f"{place}: a type is expected: a name such as \"double\", or an object with 'type'")
        kind = schema["type"]
        if isinstance(kind, dict) and set(schema) == {"type"}:
            return self._resolve(kind, place, namespace, depth + 1)
        if not isinstance(kind, str):
            raise ConfigError(f"{place}: a type inside a type. Write it once, as the field's own 'type'")
        if kind in PRIMITIVES or kind == "fixed":
            return self._leaf(schema, kind, place, namespace)
        if kind == "enum":
            return self._enum(schema, place, namespace)
        if kind == "array":
            return {**schema, "items": self._items(schema.get("items"), place, namespace, depth)}
        if kind == "record":
            return self._record(schema, place, namespace, depth)
        return self._by_name(kind, place, namespace, depth)

    def _grow(self, types: int, depth: int, place: str) -> None:
        self._count += types
        if self._count > MAX_TYPES:
            raise ConfigError(f"{place}: more than {MAX_TYPES} types in one contract. Split it into several")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{place}: nested more than {MAX_DEPTH} deep. Flatten it: one field for each quantity")

    def _by_name(self, name: str, place: str, namespace: str, depth: int) -> Any:
        if name in PRIMITIVES:
            return name
        if name == "map":
            raise ConfigError(f"{place}: a map is not supported. Use a record that names its fields, or an array")
        full = _full(name, namespace)
        for candidate in (full, name):
            if candidate in self._open:
                raise ConfigError(
                    f"{place}: the record {name!r:.80} contains itself. A reading can't be recursive: flatten it"
                )
            if candidate in self._named:
                self._grow(self._sizes.get(candidate, 1), depth + _height(self._named[candidate]), place)
                return self._named[candidate]
        raise ConfigError(
            f"{place}: unknown type {name!r:.80}. Known are {', '.join(sorted(PRIMITIVES))}, "
            "enum, array, record, fixed, and types named earlier in the contract"
        )

    def _define(self, schema: dict[str, Any], place: str, namespace: str) -> tuple[str, str]:
        name, space = schema.get("name"), schema.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str) or not all(map(is_name, name.split("."))):
            raise ConfigError(f"{place}: {schema['type']} needs a name of letters, digits and underscores")
        full = _full(name, space)
        if full in self._named or full in self._open:
            raise ConfigError(f"{place}: the type {full!r:.80} is defined twice. Define it once, then use its name")
        return full, full.rpartition(".")[0]

    def _leaf(self, schema: dict[str, Any], kind: str, place: str, namespace: str) -> dict[str, Any]:
        logical = schema.get("logicalType")
        if logical is not None and kind not in LOGICAL.get(str(logical), set()):
            raise ConfigError(
                f"{place}: logicalType {logical!r:.60} on {kind} is not supported. Use timestamp-micros or "
                "timestamp-millis on long, decimal on bytes or fixed, or none"
            )
        if logical == "decimal":
            precision, scale = schema.get("precision"), schema.get("scale", 0)
            if not (_whole(precision, 1, 38) and _whole(scale, 0, precision)):
                raise ConfigError(
                    f"{place}: decimal needs a precision from 1 to 38 and a scale from 0 to the precision"
                )
        if kind == "fixed":
            full, _ = self._define(schema, place, namespace)
            if not _whole(schema.get("size"), 1, 65_536):
                raise ConfigError(f"{place}: fixed needs a size from 1 to 65536 bytes")
            self._named[full] = schema
        return schema

    def _enum(self, schema: dict[str, Any], place: str, namespace: str) -> dict[str, Any]:
        full, _ = self._define(schema, place, namespace)
        symbols = schema.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(map(is_name, symbols)):
            raise ConfigError(f"{place}: enum needs symbols: a list of names of letters, digits and underscores")
        if len(set(symbols)) != len(symbols):
            raise ConfigError(f"{place}: a symbol occurs twice")
        if "default" in schema and schema["default"] not in symbols:
            raise ConfigError(f"{place}: the enum's default is none of its symbols")
        self._named[full] = schema
        return schema

    def _items(self, items: Any, place: str, namespace: str, depth: int) -> Any:
        if isinstance(items, list):
            raise ConfigError(
                f"{place}: the items of an array can't be null. Leave missing items out, or make the array optional"
            )
        item = self._resolve(items, f"{place}: items", namespace, depth + 1)
        if (item if isinstance(item, str) else item["type"]) not in PRIMITIVES:
            raise ConfigError(
                f"{place}: an array holds numbers, strings, booleans or bytes. Use an array for each quantity instead"
            )
        return item

    def _record(self, schema: dict[str, Any], place: str, namespace: str, depth: int) -> dict[str, Any]:
        full, space = self._define(schema, place, namespace)
        fields = schema.get("fields")
        if not isinstance(fields, list) or not fields or not all(isinstance(f, dict) for f in fields):
            raise ConfigError(f"{place}: a record needs fields: a list of objects with name and type")
        self._open.append(full)
        before = self._count
        out = []
        for field in fields:
            name = field.get("name")
            if not is_name(name):
                raise ConfigError(f"{place}: {name!r} can't name a field. Use letters, digits and underscores")
            inside = f"{place}.{name}"
            shape = self.shape(field.get("type"), inside, space, depth + 1)
            if shape.kind == "array":
                check_max_items(field, inside)
            check_default(field, shape, inside)
            out.append({**field, "type": shape.schema})
        names = [f["name"].lower() for f in out]
        if len(set(names)) != len(names):
            raise ConfigError(f"{place}: two fields have the same name (SQL does not tell small letters from capitals)")
        self._open.pop()
        resolved = {**schema, "fields": out}
        self._named[full] = resolved
        self._sizes[full] = self._count - before + 1
        return resolved


def shape_of(resolved: Any) -> Shape:
    """The shape of a type that `Types.shape` has resolved."""
    nullable = isinstance(resolved, list)
    inner = resolved[1] if nullable else resolved
    if isinstance(inner, str):
        return Shape(inner, None, nullable, None, resolved)
    item = inner.get("items")
    items = item["type"] if isinstance(item, dict) else item
    return Shape(inner["type"], inner.get("logicalType"), nullable, items, resolved)


def check_max_items(field: dict[str, Any], place: str) -> int:
    """The bound of an array field; ConfigError where it has none."""
    bound = field.get("max_items")
    if not isinstance(bound, int) or not _whole(bound, 1, MAX_ITEMS):
        raise ConfigError(f'{place}: an array needs a bound. Add "max_items": a whole number from 1 to {MAX_ITEMS:,}')
    return bound


def check_default(field: dict[str, Any], shape: Shape, place: str) -> None:
    """ConfigError unless the field's default, where it has one, is a value of its type."""
    if "default" in field and not fits(field["default"], shape.schema):
        want = "null (the first type of the union)" if shape.nullable else f"a value of {shape.kind}"
        raise ConfigError(f"{place}: the default {field['default']!r:.80} must be {want}")


def fits(value: Any, schema: Any) -> bool:
    """Whether a default, as JSON has it, is a value of the resolved type `schema` (of a union: of its first branch)."""
    if isinstance(schema, list):
        return value is None
    kind = schema if isinstance(schema, str) else schema["type"]
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "int":
            return _whole(value, -(2**31), 2**31 - 1)
        case "long":
            return _whole(value, -(2**63), 2**63 - 1)
        case "float" | "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list) and all(fits(v, schema["items"]) for v in value)
        case "record":
            return isinstance(value, dict) and all(_member_fits(value, f) for f in schema["fields"])
        case "enum":
            return value in schema["symbols"]
        case "fixed":
            return isinstance(value, str) and len(value) == schema["size"]
        case _:
            return isinstance(value, str)


def inner_fields(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field inside the records of a resolved type, with its dotted path."""
    if isinstance(schema, list):
        schema = schema[1]
    if isinstance(schema, dict) and schema["type"] == "record":
        for field in schema["fields"]:
            inside = f"{path}.{field['name']}"
            yield inside, field
            yield from inner_fields(field["type"], inside)


def _member_fits(value: dict[str, Any], field: dict[str, Any]) -> bool:
    if field["name"] not in value:
        return "default" in field
    return fits(value[field["name"]], field["type"])


def _height(schema: Any) -> int:
    inner = schema[1] if isinstance(schema, list) else schema
    if not isinstance(inner, dict) or inner["type"] != "record":
        return 0
    return 1 + max(_height(f["type"]) for f in inner["fields"])


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _whole(value: object, low: int, high: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= int(high)
