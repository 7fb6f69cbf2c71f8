"""Makes a contract from a sample: types come from the values, units and roles from names that leave no doubt."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.contracts import allowed, avro, guess
from headrace.contracts.lint import NO_UNIT, WARNING, lacks_unit, lint
from headrace.contracts.model import Contract, parse
from headrace.contracts.sample import columns_of, kinds_of
from headrace.contracts.write import as_text
from headrace.errors import ConfigError
from headrace.protocol.names import QUALITY, is_device_id

# Texts that stand for "no value" among numbers.
NO_VALUE = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "-", "--", "---", "?"})
_LARGE = 10**9  # larger whole numbers are times, counts or codes, which a double might round
_DEVICE = {
    "name": "device_id",
    "type": "string",
    "doc": "Which device took the reading: 1 to 64 letters, digits, underscores and hyphens.",
}
_WORDS = {"whole": "whole number"}
_ITEMS = {"double": {"whole", "number"}, "string": {"text"}, "boolean": {"boolean"}}
_LAST = {
    "name": QUALITY,
    "type": ["null", "string"],
    "default": None,
    "doc": "Null until cleaning changed something; then field:rule:action, several joined by semicolons.",
}


@dataclass(frozen=True)
class Draft:
    """A contract made from a sample, and what a person should know or decide about it."""

    contract: Contract
    hints: tuple[str, ...]


def infer(name: str, readings: Sequence[dict[str, Any]], captured: Sequence[str] = (), where: str = "sample") -> Draft:
    """The contract `name` that takes every one of `readings`, and its hints.

    A key becomes a field of the same name, or the alias of a field when it can't name one. A field is required only if
    there are several readings and all have it. Numbers are doubles, unless the name says that they count something.
    ConfigError, beginning with `where`, for values that a contract can't describe.
    """
    maker = _Maker(name, list(readings), tuple(captured), where)
    schema = {
        "type": "record",
        "name": name,
        "namespace": "headrace",
        "doc": f"Readings of {name}, as its devices send them. Say here what they are, and of what.",
        "fields": maker.fields(),
    }
    contract = parse(name, as_text(schema), f"the contract made from {where}")
    hints = [*maker.hints, *(p.removeprefix(WARNING) for p in lint(contract) if NO_UNIT not in p)]
    without = [f.name for f in contract.fields if lacks_unit(f)]
    if without:
        hints.append(f'no unit is known for {", ".join(without)}: add "unit" to each, such as "Cel" or "V"')
    return Draft(contract, tuple(hints))


class _Maker:
    def __init__(self, name: str, readings: list[dict[str, Any]], captured: tuple[str, ...], where: str) -> None:
        self.hints: list[str] = []
        self._name, self._readings, self._captured, self._where = name, readings, captured, where
        self._records = {name}
        self._columns = columns_of(readings)

    def fields(self) -> list[dict[str, Any]]:
        if QUALITY in self._columns:
            raise ConfigError(
                f"{self._where}: the key {QUALITY!r} is Headrace's own. Have the device send another name"
            )
        time, device = guess.time_key(self._columns), self._device()
        out = [_DEVICE if device in {None, "device_id"} else {**_DEVICE, "aliases": [device]}, self._event_time(time)]
        taken = ["device_id", "event_time"]
        for capture in self._captured:
            if capture == "event_time" or not set(kinds_of(self._columns.get(capture, []))) <= {"text"}:
                raise ConfigError(
                    f"{self._where}: the topic captures {capture!r}, which is not text in the payload. Rename it"
                )
            if capture not in {*taken, *self._columns}:
                out.append({"name": capture, "type": "string", "doc": f"The level {capture} of the MQTT topic."})
                taken.append(capture)
        used = {device, time[0] if time else None}
        for key in self._columns:
            if key in used:
                continue
            field = self._field(key, taken)
            out.append(field)
            taken.append(field["name"])
        _set_roles(out)
        return [*out, _LAST]

    def _device(self) -> str | None:
        """The key that names the device; None when the topic does."""
        if "device_id" in self._columns:
            key: str | None = "device_id"
        else:
            key = None if "device_id" in self._captured else guess.device_key(self._columns)
        if key is None and "device_id" not in self._captured:
            raise ConfigError(
                f"{self._where}: nothing says which device sent it. Put {{device_id}} into the topic, as in "
                f"--topic 'plant/{{device_id}}/{self._name}', or a key device_id into the payload"
            )
        bad = [v for v in (self._columns[key] if key else []) if not (isinstance(v, str) and is_device_id(v))]
        if bad:
            raise ConfigError(
                f"{self._where}: {key} is {bad[0]!r:.80}, which can't name a device. It must be text of 1 to 64 "
                "letters, digits, underscores and hyphens: have the device send that, or leave the key out and "
                "put {device_id} into the topic"
            )
        return key

    def _event_time(self, found: tuple[str, guess.Time] | None) -> dict[str, Any]:
        field = {
            "name": "event_time",
            "type": {"type": "long", "logicalType": "timestamp-micros"},
            "doc": "When the reading was taken, UTC.",
            "minimum": guess.FIRST * 1_000_000,
            "max_ahead_seconds": 86_400,
            "on_violation": "reject",
        }
        if found is None:
            if "event_time" in self._columns:
                raise ConfigError(
                    f"{self._where}: event_time is not a time: {self._columns['event_time'][:1]!r:.80}. Give ISO 8601 "
                    "text, or a number of s, ms, us or ns since 1970"
                )
            self.hints.append("no time was found in the sample: event_time will be the time of arrival at the bridge")
            field["doc"] = "When the reading arrived at the bridge, UTC: the payload carries no time."
            return field
        key, time = found
        if key != "event_time":
            field["aliases"] = [key]
        if time.unit is not None:
            field["time_unit"] = time.unit
        if not time.zoned:
            self.hints.append(f"the times under {key!r} name no time zone, and are taken as UTC")
        return field

    def _field(self, key: str, taken: list[str]) -> dict[str, Any]:
        if not key:
            raise ConfigError(f"{self._where}: a key is empty. Have the device send a name")
        values = self._columns[key]
        name = guess.field_name(key, taken, self._columns)
        required = len(self._readings) > 1 and len(values) == len(self._readings)
        field = self._typed(key, name, values, required)
        if name != key:
            field["aliases"] = [key]
        return field

    def _typed(self, path: str, name: str, values: list[Any], required: bool, depth: int = 0) -> dict[str, Any]:
        """A field without aliases, of the type that takes all the values."""
        kinds = set(kinds_of(values))
        extra: dict[str, Any] = {}
        if kinds <= {"whole", "number"} and kinds:
            schema: Any = _number(name, values)
        elif kinds <= {"whole", "number", "text"} and kinds & {"whole", "number"}:
            schema, extra, required = "double", self._gaps(path, values), False
        elif len(kinds) == 1:
            schema, extra = self._other(path, next(iter(kinds)), values, depth)
        elif not kinds:
            raise ConfigError(
                f"{self._where}: {path} is always null, so its type is unknown. Put a value that it may "
                "have into the sample, or take the key out if the device never sends it"
            )
        else:
            found = ", ".join(_WORDS.get(k, k) for k in sorted(kinds))
            raise ConfigError(
                f"{self._where}: {path} has values of several kinds: {found}. A field has one type: "
                "have the device send one kind, or two keys"
            )
        field: dict[str, Any] = {"name": name, "type": schema if required else ["null", schema]}
        if not required:
            field["default"] = None
        field["doc"] = f"{path}, as the device sends it."
        is_number = bool(kinds & {"whole", "number"})
        unit = guess.unit(name, values) if is_number or _is_numbers(schema) else None
        if unit is not None:
            field["unit"] = unit
        if not required and is_number:
            extra["on_violation"] = "null"
        return {**field, **extra}

    def _gaps(self, path: str, values: list[Any]) -> dict[str, Any]:
        texts = sorted({v for v in values if isinstance(v, str)})
        odd = [t for t in texts if t not in NO_VALUE]
        if odd:
            raise ConfigError(
                f"{self._where}: {path} is a number, but once the text {odd[0]!r:.60}. A field has one type: "
                "have the device send one, or two keys"
            )
        self.hints.append(f"{path}: {', '.join(map(repr, texts))} among the numbers means no value (sentinels)")
        return {"sentinels": texts}

    def _other(self, path: str, kind: str, values: list[Any], depth: int) -> tuple[Any, dict[str, Any]]:
        match kind:
            case "text":
                if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", v) for v in values):
                    self.hints.append(f"{path} is a number in quotes, and stays text. Have the device send it bare")
                return "string", {}
            case "boolean":
                return "boolean", {}
            case "list":
                return self._array(path, values)
            case _:
                return self._record(path, values, depth + 1), {}

    def _array(self, path: str, values: list[Any]) -> tuple[Any, dict[str, Any]]:
        items = [v for one in values for v in one]
        kinds = set(kinds_of([v for v in items if v is not None]))
        kind = next((name for name, of in _ITEMS.items() if kinds and kinds <= of), None)
        if not items:
            raise ConfigError(
                f"{self._where}: {path} is a list without items, so their type is unknown. Put an item that it may "
                "have into the sample, or take the key out if the device never sends it"
            )
        if kind is None or None in items:
            raise ConfigError(
                f"{self._where}: {path} must be a list of numbers, of texts or of booleans, all "
                "of one kind. Send readings as an array at the top, quantities as keys, and lists of one kind of value"
            )
        bound = 16
        while bound < 2 * max(len(one) for one in values):
            bound *= 2
        bound = min(bound, allowed.MAX_ITEMS)
        self.hints.append(f"{path}: up to {bound:,} items are taken (max_items). Raise it if there may be more")
        return {"type": "array", "items": kind}, {"max_items": bound}

    def _record(self, path: str, values: list[Any], depth: int) -> dict[str, Any]:
        if depth > avro.CONTRACT.depth:
            raise ConfigError(
                f"{self._where}: objects inside objects more than {avro.CONTRACT.depth} deep. Flatten them"
            )
        inner = columns_of(values)
        if not inner:
            raise ConfigError(f"{self._where}: {path} is an empty object. Take the key out, or give it keys")
        fields: list[dict[str, Any]] = []
        for key, found in inner.items():
            if not key:
                raise ConfigError(f"{self._where}: a key inside {path} is empty. Have the device send a name")
            taken = [f["name"] for f in fields]
            fits = avro.is_name(key) and key.lower() not in map(str.lower, taken)
            name = key if fits else guess.field_name(key, taken, inner)
            full = sum(v.get(key) is not None for v in values) == len(values) and len(values) > 1
            field = self._typed(f"{path}.{key}", name, found, full, depth)
            if name != key:
                field["aliases"] = [key]
            field.pop("on_violation", None)
            if field.pop("sentinels", None):
                raise ConfigError(
                    f"{self._where}: {path}.{key} has texts that mean no value, which is possible only at the top. "
                    "Have the device send null, or move the key to the top"
                )
            fields.append(field)
        return {"type": "record", "name": self._record_name(path), "fields": fields}

    def _record_name(self, path: str) -> str:
        base = guess.field_name(f"{self._name}.{path}", [])
        name, n = base, 2
        while name in self._records:
            name, n = f"{base}_{n}", n + 1
        self._records.add(name)
        return name


def _is_numbers(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("items") == "double"


def _number(name: str, values: list[Any]) -> str:
    whole = all(isinstance(v, int) for v in values)
    large = any(isinstance(v, int) and abs(v) > _LARGE for v in values)
    fits = all(-(2**63) <= v < 2**63 for v in values)
    return "long" if whole and fits and (large or guess.is_whole(name)) else "double"


def _set_roles(fields: list[dict[str, Any]]) -> None:
    """A sequence shows copies and gaps only together with a field that changes when the device starts."""
    found = {guess.role(f["name"]): f for f in reversed(fields) if guess.role(f["name"]) and _fits_role(f)}
    if len(found) == 2:
        found["sequence"].update(role="sequence", minimum=0)
        found["boot"]["role"] = "boot"


def _fits_role(field: dict[str, Any]) -> bool:
    inner = field["type"][1] if isinstance(field["type"], list) else field["type"]
    return inner == "long" or (inner == "string" and guess.role(field["name"]) == "boot")
