"""A contract: an Avro record whose fields also say what their values mean and which of them are valid."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from headrace.contracts import avro
from headrace.contracts.rules import read_rules
from headrace.errors import ConfigError

MAX_TEXT = 1024 * 1024
MAX_PROBLEMS = 20
QUALITY = "_quality"
# What Headrace adds to each row in the lake, and the folder its rows are filed under: no field may be called so.
PROVENANCE = (
    "_topic", "_partition", "_offset", "_kafka_time", "_src_epoch", "_src_offset", "_src_index", "_event_id",
    "_received_at", "date",
)  # fmt: skip
REMEDY = {
    "device_id": '{"name": "device_id", "type": "string"}',
    "event_time": '{"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}}',
    QUALITY: '{"name": "_quality", "type": ["null", "string"], "default": null}',
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a contract. Bounds and sentinels are in `unit`; those of an array hold for each of its items.

    A nested record's own fields have types, docs and aliases, but no rules: rules act on the contract's own fields.
    """

    name: str
    kind: str  # the Avro type without null: "double", "string", "enum", "array", "record", ...; a timestamp is a "long"
    logical: str | None  # "timestamp-micros", "timestamp-millis" or "decimal"
    nullable: bool
    items: str | None  # what an array holds
    unit: str | None
    doc: str
    minimum: float | None
    maximum: float | None
    sentinels: tuple[float | int | str, ...]
    on_violation: Literal["reject", "null", "clamp"]
    role: Literal["sequence", "boot"] | None
    time_unit: Literal["s", "ms", "us", "ns"]  # of numbers in JSON payloads, for timestamps
    max_ahead_seconds: float | None  # event_time: reject what is further ahead of its arrival in Kafka
    aliases: tuple[str, ...]  # further JSON keys that feed the field
    schema: Any  # the Avro type as parsed JSON, with references to named types replaced by their definitions
    max_items: int | None = None  # of an array; never None there


@dataclass(frozen=True)
class Contract:
    """A contract that services can run on: `parse` made sure of it."""

    name: str
    text: str  # the JSON text, exactly as it is registered
    schema: dict[str, Any]
    fields: tuple[Field, ...]
    _by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {f.name: f for f in self.fields})

    def field(self, name: str) -> Field:
        """The field called `name`; KeyError where there is none."""
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name


def parse(name: str, text: str, where: str = "") -> Contract:
    """The contract `name` from the text of its .avsc. `where` (a path, a schema id) begins every message.

    Raises ConfigError with every problem that keeps services from running on it, each with place and remedy. What only
    a person minds (unknown units, missing docs) is `headrace.contracts.lint.lint`'s. Bounded for any text whatever.
    """
    where = where or f"contract {name}"
    schema = _json(text, where)
    problems: list[str] = []
    fields: tuple[Field, ...] = tuple(_read_fields(schema, problems)) if _is_record(schema, problems) else ()
    if not problems:
        problems += _of_the_whole(fields)
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise ConfigError("\n".join(f"{where}: {p}" for p in [*problems[:MAX_PROBLEMS], *more]))
    return Contract(name, text, schema, fields)


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
        problems.append("name and namespace must consist of letters, digits and underscores, parted by dots")
    fields = schema.get("fields")
    if not isinstance(fields, list) or not fields or not all(isinstance(f, dict) for f in fields):
        problems.append("fields must be a list of objects, each with name and type")
    return not problems


def _read_fields(schema: dict[str, Any], problems: list[str]) -> Iterator[Field]:
    types = avro.Types()
    full = str(schema["name"])
    namespace = full.rpartition(".")[0] or str(schema.get("namespace", ""))
    types.enter(full, namespace)
    for raw in schema["fields"]:
        try:
            _check_name(raw)
            yield _read_field(raw, types, namespace)
        except ConfigError as e:
            problems.append(str(e))


def _check_name(raw: dict[str, Any]) -> None:
    name = raw.get("name")
    if not avro.is_name(name):
        raise ConfigError(f"{name!r:.80} can't name a field. Use letters, digits and underscores; not a digit first")
    if name in PROVENANCE:
        raise ConfigError(f"field {name}: the lake has a column of that name already. Choose another name")
    if str(name).startswith("_") and name != QUALITY:
        raise ConfigError(f"field {name}: names with a leading underscore are kept for Headrace. Leave it out")


def _read_field(raw: dict[str, Any], types: avro.Types, namespace: str) -> Field:
    name, place = raw["name"], f"field {raw['name']}"
    shape = types.shape(raw.get("type"), place, namespace)
    max_items = avro.check_max_items(raw, place) if shape.kind == "array" else None
    avro.check_default(raw, shape, place)
    rules = read_rules(raw, shape, place)
    doc = raw.get("doc", "")
    return Field(
        name=name, kind=shape.kind, logical=shape.logical, nullable=shape.nullable, items=shape.items, unit=rules.unit,
        doc=doc if isinstance(doc, str) else "", minimum=rules.minimum, maximum=rules.maximum,
        sentinels=rules.sentinels, on_violation=rules.on_violation, role=rules.role, time_unit=rules.time_unit,
        max_ahead_seconds=rules.max_ahead_seconds, aliases=rules.aliases, schema=shape.schema, max_items=max_items,
    )  # fmt: skip


def _of_the_whole(fields: tuple[Field, ...]) -> Iterator[str]:
    by_name = {f.name: f for f in fields}
    for name, want in (("device_id", ("string", None)), ("event_time", ("long", "timestamp-micros"))):
        f = by_name.get(name)
        if f is None or (f.kind, f.logical) != want or f.nullable:
            yield f"every contract has the required field {name}. Write it as {REMEDY[name]}"
    if "event_time" in by_name and by_name["event_time"].on_violation != "reject":
        yield "field event_time: on_violation must be reject: a reading without its true time has no place"
    last = fields[-1]
    if last.name != QUALITY or last.schema != ["null", "string"]:
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
