"""The attributes of a contract's fields, beyond Avro's own: what the bridge and cleaning act on."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from headrace.contracts.avro import NUMBERS, Shape
from headrace.errors import ConfigError

Violation = Literal["reject", "null", "clamp"]
Role = Literal["sequence", "boot"]
TimeUnit = Literal["s", "ms", "us", "ns"]

ATTRIBUTES = frozenset({
    "unit", "minimum", "maximum", "sentinels", "on_violation", "role", "time_unit", "max_ahead_seconds", "max_items",
    "aliases",
})  # fmt: skip
MAX_SENTINELS = 32
MAX_ALIASES = 32
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rules:
    """As the attributes of the same names in `headrace.contracts.model.Field`."""

    unit: str | None
    minimum: float | None
    maximum: float | None
    sentinels: tuple[float | int | str, ...]
    on_violation: Violation
    role: Role | None
    time_unit: TimeUnit
    max_ahead_seconds: float | None
    aliases: tuple[str, ...]


def read_rules(raw: dict[str, Any], shape: Shape, place: str) -> Rules:
    """The rules of the field `raw`; ConfigError, beginning with `place`, for one that can't be kept."""
    unit = raw.get("unit")
    if unit is not None and (not isinstance(unit, str) or not unit):
        raise ConfigError(f'{place}: unit must be text such as "m/s2", not {unit!r:.60}')
    minimum, maximum = _bounds(raw, shape, place)
    action: Violation = _choice(raw, "on_violation", get_args(Violation), place) or "reject"
    if action == "null" and not shape.nullable:
        raise ConfigError(
            f'{place}: on_violation null needs an optional field. Write its type as ["null", ...], default null'
        )
    if action == "clamp" and minimum is None and maximum is None:
        raise ConfigError(f"{place}: on_violation clamp needs a minimum or a maximum on a number")
    ahead = _number(raw, "max_ahead_seconds", place)
    if ahead is not None and (not _is_time(shape) or ahead < 0):
        raise ConfigError(f"{place}: max_ahead_seconds must be a number of seconds, 0 or more, on a timestamp")
    if ahead is None and raw.get("name") == "event_time":
        ahead = DAY
    if "time_unit" in raw and not _is_time(shape):
        raise ConfigError(
            f"{place}: time_unit belongs on timestamps (logicalType timestamp-micros or timestamp-millis)"
        )
    _check_members(shape.schema, place)
    return Rules(
        unit=unit, minimum=minimum, maximum=maximum, sentinels=_sentinels(raw, shape, place), on_violation=action,
        role=_role(raw, shape, place), time_unit=_choice(raw, "time_unit", get_args(TimeUnit), place) or "us",
        max_ahead_seconds=ahead, aliases=_aliases(raw, place),
    )  # fmt: skip


def _bounds(raw: dict[str, Any], shape: Shape, place: str) -> tuple[float | None, float | None]:
    low, high = _number(raw, "minimum", place), _number(raw, "maximum", place)
    if low is None and high is None:
        return None, None
    of = shape.items if shape.kind == "array" else shape.kind
    if of not in NUMBERS:
        raise ConfigError(
            f"{place}: minimum and maximum are for numbers, not for {shape.logical or of}. Leave them out"
        )
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"{place}: minimum {low} is not below maximum {high}")
    return low, high


def _sentinels(raw: dict[str, Any], shape: Shape, place: str) -> tuple[float | int | str, ...]:
    values = raw.get("sentinels", [])
    if not isinstance(values, list) or len(values) > MAX_SENTINELS:
        raise ConfigError(f'{place}: sentinels must be a list of at most {MAX_SENTINELS} values, such as [-999, "NA"]')
    for v in values:
        if isinstance(v, bool) or not isinstance(v, int | float | str):
            raise ConfigError(f"{place}: a sentinel is a number or a text, not {v!r:.60}")
    if values and shape.kind not in NUMBERS | {"string"}:
        raise ConfigError(f"{place}: sentinels are for numbers and strings, not for {shape.kind}. Leave them out")
    return tuple(values)


def _role(raw: dict[str, Any], shape: Shape, place: str) -> Role | None:
    role: Role | None = _choice(raw, "role", get_args(Role), place)
    if role == "sequence" and (shape.kind not in {"int", "long"} or shape.logical):
        raise ConfigError(f"{place}: the role sequence belongs on a long that counts the device's readings")
    if role == "boot" and shape.kind not in {"string", "int", "long"}:
        raise ConfigError(f"{place}: the role boot belongs on a string or long that changes when the device starts")
    return role


def _check_members(schema: Any, place: str) -> None:
    """ConfigError unless each JSON key feeds one field, in a record's fields and in those of the records inside."""
    schema = schema[1] if isinstance(schema, list) else schema
    if isinstance(schema, str) or schema["type"] != "record":
        return
    keys = {f["name"]: f["name"] for f in schema["fields"]}
    for f in schema["fields"]:
        inside = f"{place}.{f['name']}"
        for alias in _aliases(f, inside):
            other = keys.setdefault(alias, f["name"])
            if other != f["name"]:
                raise ConfigError(f"{inside}: the alias {alias!r:.80} already feeds {other}. Leave it out of one")
        _check_members(f["type"], inside)


def _aliases(raw: dict[str, Any], place: str) -> tuple[str, ...]:
    values = raw.get("aliases", [])
    if not isinstance(values, list) or len(values) > MAX_ALIASES or not all(isinstance(v, str) and v for v in values):
        raise ConfigError(f"{place}: aliases must be a list of at most {MAX_ALIASES} JSON keys")
    return tuple(values)


def _number(raw: dict[str, Any], key: str, place: str) -> float | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place}: {key} must be a number, not {value!r:.60}")
    return value


def _choice(raw: dict[str, Any], key: str, choices: tuple[str, ...], place: str) -> Any:
    value = raw.get(key)
    if value is not None and value not in choices:
        raise ConfigError(f"{place}: {key} is {value!r:.60}; it must be one of {', '.join(choices)}")
    return value


def _is_time(shape: Shape) -> bool:
    return (shape.logical or "").startswith("timestamp-")
