"""A contract: an Avro record whose fields also say what their values mean and which of them are valid."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from headrace.contracts import allowed, avro
from headrace.contracts.attributes import Attributes, read_attributes
from headrace.contracts.crossrules import CrossRule, read_rules
from headrace.contracts.violations import check_event_time
from headrace.errors import ConfigError
from headrace.protocol import provenance
from headrace.protocol.names import DEVICE, EXTRA, OURS, QUALITY, TIME

MAX_TEXT = 1024 * 1024
MAX_PROBLEMS = 20
REMEDY = {
    DEVICE: '{"name": "device_id", "type": "string"}',
    TIME: '{"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}}',
    QUALITY: '{"name": "_quality", "type": ["null", "string"], "default": null}',
    EXTRA: '{"name": "_extra", "type": ["null", "string"], "default": null}',
}

_TEXT = avro.Node("string", nullable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field(Attributes):
    """One field of a contract: its name, type and doc beside its attributes.

    A nested record's own fields have types, docs and aliases, but no rules: rules act on the contract's own fields.
    """

    name: str
    type: avro.Node
    doc: str

    @property
    def kind(self) -> str:
        """The Avro type without null: "double", "string", "enum", "array", "record", ...; a timestamp is a "long"."""
        return self.type.kind

    @property
    def logical(self) -> str | None:
        """None, or "timestamp-micros", "timestamp-millis" or "decimal"."""
        return self.type.logical

    @property
    def nullable(self) -> bool:
        """Whether the field is optional: its type a union with null."""
        return self.type.nullable

    @property
    def items(self) -> str | None:
        """What an array holds: the kind of its items."""
        return self.type.items.kind if self.type.items is not None else None


@dataclass(frozen=True)
class Contract:
    """A contract that services can use: `parse` has checked it."""

    name: str
    text: str  # the JSON text, exactly as it is registered
    schema: dict[str, Any]
    fields: tuple[Field, ...]
    rules: tuple[CrossRule, ...]  # across fields
    _by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {f.name: f for f in self.fields})

    def field(self, name: str) -> Field:
        """The field called `name`; KeyError when there is none."""
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name


def parse(name: str, text: str, where: str = "") -> Contract:
    """The contract `name` from the text of its .avsc. `where` (a path, a schema id) begins every message.

    ConfigError with every problem that keeps services from using it, each with place and remedy. Problems that only a
    person can judge (unknown units, missing docs) are for `headrace.contracts.lint.lint`. Bounded in time and memory.
    """
    where = where or f"contract {name}"
    schema = _json(text, where)
    problems: list[str] = []
    fields: tuple[Field, ...] = tuple(_read_fields(schema, problems)) if _is_record(schema, problems) else ()
    if not problems:
        problems += _of_the_whole(fields)
    rules: tuple[CrossRule, ...] = ()
    if not problems:
        try:
            rules = read_rules(schema.get("rules"), {f.name: f for f in fields})
        except ConfigError as e:
            problems.append(str(e))
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise ConfigError("\n".join(f"{where}: {p}" for p in [*problems[:MAX_PROBLEMS], *more]))
    return Contract(name, text, schema, fields, rules)


def _json(text: str, where: str) -> dict[str, Any]:
    if len(text) > MAX_TEXT:
        raise ConfigError(f"{where}: {len(text):,} characters are too many for a contract (at most {MAX_TEXT:,})")
    try:
        schema = orjson.loads(text)  # unlike json, bounded in depth, and without NaN
    except ValueError as e:
        if "depth limit" in str(e):
            raise ConfigError(
                f"{where}: nested too deeply for a contract. Flatten it: one field for each quantity"
            ) from None
        raise ConfigError(f"{where}: not JSON: {e}. A contract is one JSON object, an Avro record") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{where}: not an Avro record. A contract is one JSON object with type, name and fields")
    return schema


def _is_record(schema: dict[str, Any], problems: list[str]) -> bool:
    if schema.get("type") != "record":
        problems.append(f'type is {schema.get("type")!r:.60}; a contract\'s must be "record"')
    names = str(schema.get("name", "")).split(".") + [p for p in str(schema.get("namespace", "")).split(".") if p]
    if not all(map(avro.is_name, names)):
        problems.append("name and namespace must consist of letters, digits and underscores, separated by dots")
    fields = schema.get("fields")
    if not isinstance(fields, list) or not fields or not all(isinstance(f, dict) for f in fields):
        problems.append("fields must be a list of objects, each with name and type")
    return not problems


def _read_fields(schema: dict[str, Any], problems: list[str]) -> Iterator[Field]:
    parser = avro.Parser(avro.CONTRACT)
    full = str(schema["name"])
    namespace = full.rpartition(".")[0] or str(schema.get("namespace", ""))
    parser.enter(full, namespace)
    for raw in schema["fields"]:
        try:
            _check_name(raw)
            yield _read_field(raw, parser, namespace)
        except ConfigError as e:
            problems.append(str(e))


def _check_name(raw: dict[str, Any]) -> None:
    name = raw.get("name")
    if not avro.is_name(name):
        raise ConfigError(f"{name!r:.80} can't name a field. Use letters, digits and underscores; not a digit first")
    if name in provenance.RESERVED:
        raise ConfigError(f"field {name}: the lake has a column of that name already. Choose another name")
    if str(name).startswith("_") and name not in OURS:
        raise ConfigError(f"field {name}: names with a leading underscore are kept for Headrace. Leave it out")


def _read_field(raw: dict[str, Any], parser: avro.Parser, namespace: str) -> Field:
    name, place = raw["name"], f"field {raw['name']}"
    node = parser.parse(raw.get("type"), place, namespace)
    allowed.check_field(node, raw, place)
    doc = raw.get("doc", "")
    attributes = read_attributes(raw, node, place)
    return Field(name=name, type=node, doc=doc if isinstance(doc, str) else "", **attributes)


def _of_the_whole(fields: tuple[Field, ...]) -> Iterator[str]:
    by_name = {f.name: f for f in fields}
    for name, want in ((DEVICE, ("string", None)), (TIME, ("long", "timestamp-micros"))):
        f = by_name.get(name)
        if f is None or (f.kind, f.logical) != want or f.nullable:
            yield f"every contract has the required field {name}. Write it as {REMEDY[name]}"
    problem = check_event_time(by_name[TIME].on_violation) if TIME in by_name else None
    if problem is not None:
        yield problem
    if EXTRA in by_name and (fields[-2:-1] != (by_name[EXTRA],) or by_name[EXTRA].type != _TEXT):
        yield f"the field {EXTRA}, for what else payloads have, stands just before {QUALITY}, as {REMEDY[EXTRA]}"
    last = fields[-1]
    if last.name != QUALITY or last.type != _TEXT:
        yield f"the last field must be {QUALITY}, where cleaning notes what it did. Add {REMEDY[QUALITY]} at the end"
    columns: dict[str, str] = {}
    for f in fields:
        if f.name.lower() in columns:
            other = columns[f.name.lower()]
            yield f"field {f.name}: another is {other}, and SQL does not tell small letters from capitals. Rename one"
        columns[f.name.lower()] = f.name
    keys = {f.name: f.name for f in fields}
    for f in fields:
        for alias in f.aliases:
            other = keys.setdefault(alias, f.name)
            if other != f.name:
                yield f"field {f.name}: the alias {alias!r:.80} already feeds the field {other}. Leave it out of one"
