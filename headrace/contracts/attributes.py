"""The attributes of a contract's fields, beyond Avro's own: what decoding and cleaning act on.

`Attributes`, at the end, is the one table of them. A new attribute is a line there, a function that reads it, and a
line in docs/contract-reference.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

from headrace.contracts import enumerated
from headrace.contracts.avro import NUMBERS, Node, is_whole
from headrace.contracts.violations import Violation, on_violation
from headrace.contracts.written import Raw, choice, is_time, number, number_kind
from headrace.errors import ConfigError
from headrace.protocol.names import TIME

Monotonic = Literal["increasing", "not_decreasing"]
Role = Literal["sequence", "boot"]
TimeUnit = Literal["s", "ms", "us", "ns"]
Reader = Callable[[Raw, Node, str], Any]  # gets the field, its type and its place; ConfigError if the value is wrong

MAX_STUCK = 1_000_000
MAX_SENTINELS = 32
MAX_ALIASES = 32
DAY = 86_400.0
_LARGEST = {"int": 2**31 - 1, "long": 2**63 - 1}


def _unit(raw: Raw, _: Node, place: str) -> str | None:
    unit = raw.get("unit")
    if unit is not None and (not isinstance(unit, str) or not unit):
        raise ConfigError(f'{place}: unit must be text such as "m/s2", not {unit!r:.60}')
    return unit


def _minimum(raw: Raw, node: Node, place: str) -> float | None:
    low = _bound("minimum", raw, node, place)
    top = _LARGEST.get(number_kind(node))
    if low is not None and top is not None and low > top:
        raise ConfigError(f"{place}: no {number_kind(node)} is as large as the minimum {low}. Lower it")
    return low


def _maximum(raw: Raw, node: Node, place: str) -> float | None:
    low, high = number("minimum", raw, place), _bound("maximum", raw, node, place)
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"{place}: minimum {low} is not below maximum {high}")
    top = _LARGEST.get(number_kind(node))
    if high is not None and top is not None and high < -top - 1:
        raise ConfigError(f"{place}: no {number_kind(node)} is as small as the maximum {high}. Raise it")
    return high


def _sentinels(raw: Raw, node: Node, place: str) -> tuple[float | int | str, ...]:
    values = raw.get("sentinels", [])
    if not isinstance(values, list) or len(values) > MAX_SENTINELS:
        raise ConfigError(f'{place}: sentinels must be a list of at most {MAX_SENTINELS} values, such as [-999, "NA"]')
    for v in values:
        if isinstance(v, bool) or not isinstance(v, int | float | str):
            raise ConfigError(f"{place}: a sentinel is a number or a text, not {v!r:.60}")
    if values and node.kind not in NUMBERS | {"string"}:
        raise ConfigError(f"{place}: sentinels are for numbers and strings, not for {node.kind}. Leave them out")
    return tuple(values)


def _role(raw: Raw, node: Node, place: str) -> Role | None:
    role: Role | None = choice("role", get_args(Role), raw, place)
    if role == "sequence" and (node.kind not in {"int", "long"} or node.logical):
        raise ConfigError(f"{place}: the role sequence belongs on a long that counts the device's readings")
    if role == "boot" and node.kind not in {"string", "int", "long"}:
        raise ConfigError(f"{place}: the role boot belongs on a string or long that changes when the device starts")
    return role


def _time_unit(raw: Raw, node: Node, place: str) -> TimeUnit:
    if "time_unit" in raw and not is_time(node):
        raise ConfigError(
            f"{place}: time_unit belongs on timestamps (logicalType timestamp-micros or timestamp-millis)"
        )
    return choice("time_unit", get_args(TimeUnit), raw, place) or "us"


def _max_ahead_seconds(raw: Raw, node: Node, place: str) -> float | None:
    ahead = number("max_ahead_seconds", raw, place)
    if ahead is not None and (not is_time(node) or ahead < 0):
        raise ConfigError(f"{place}: max_ahead_seconds must be a number of seconds, 0 or more, on a timestamp")
    return DAY if ahead is None and raw.get("name") == TIME else ahead


def _max_behind_seconds(raw: Raw, node: Node, place: str) -> float | None:
    behind = number("max_behind_seconds", raw, place)
    if behind is not None and (not is_time(node) or behind <= 0):
        raise ConfigError(f"{place}: max_behind_seconds must be a number of seconds above 0, on a timestamp")
    return behind


def _max_gap_seconds(raw: Raw, _: Node, place: str) -> float | None:
    gap = number("max_gap_seconds", raw, place)
    if gap is not None and (raw.get("name") != TIME or gap <= 0):
        raise ConfigError(f"{place}: max_gap_seconds must be a number of seconds above 0, on event_time")
    return gap


def _max_step(raw: Raw, node: Node, place: str) -> float | None:
    step = number("max_step", raw, place)
    if step is None:
        return None
    if node.kind not in NUMBERS or node.logical:
        raise ConfigError(f"{place}: max_step is for single numbers, not for {node.logical or node.kind}. Leave it out")
    if step <= 0:
        raise ConfigError(f"{place}: max_step {step} must be above 0: how far a value may be from the one before it")
    return step


def _monotonic(raw: Raw, node: Node, place: str) -> Monotonic | None:
    way: Monotonic | None = choice("monotonic", get_args(Monotonic), raw, place)
    if way is not None and (node.kind not in NUMBERS or (node.logical and not is_time(node))):
        what = node.logical or node.kind
        raise ConfigError(f"{place}: monotonic is for single numbers and timestamps, not for {what}. Leave it out")
    return way


def _max_stuck(raw: Raw, node: Node, place: str) -> int | None:
    most = raw.get("max_stuck")
    if most is None:
        return None
    _check_stuck("max_stuck", node, place)
    if not is_whole(most, 1, MAX_STUCK):
        raise ConfigError(
            f"{place}: max_stuck must be a whole number from 1 to {MAX_STUCK:,}: how many readings in a row may have "
            "the same value"
        )
    return int(most)


def _max_stuck_seconds(raw: Raw, node: Node, place: str) -> float | None:
    seconds = number("max_stuck_seconds", raw, place)
    if seconds is None:
        return None
    _check_stuck("max_stuck_seconds", node, place)
    if seconds <= 0:
        raise ConfigError(f"{place}: max_stuck_seconds must be above 0: for how long a value may stay the same")
    return seconds


def _check_stuck(key: str, node: Node, place: str) -> None:
    if node.kind not in NUMBERS or node.logical:
        raise ConfigError(f"{place}: {key} is for single numbers, not for {node.logical or node.kind}. Leave it out")


def _max_items(raw: Raw, node: Node, _: str) -> int | None:
    return raw["max_items"] if node.kind == "array" else None  # `allowed.check_field` has checked it


def _json(raw: Raw, node: Node, place: str) -> bool:
    for member in node.members:
        _json(member.attributes, member.type, f"{place}.{member.name}")
    value = raw.get("json", False)
    if not isinstance(value, bool) or (value and node.kind != "string"):
        raise ConfigError(f'{place}: json is true or false, and belongs on a string: "json": true')
    return value


def _aliases(raw: Raw, node: Node, place: str) -> tuple[str, ...]:
    """Each JSON key must feed one field, in a record's fields and in those of the records inside."""
    keys = {m.name: m.name for m in node.members}
    for member in node.members:
        inside = f"{place}.{member.name}"
        for alias in _aliases(member.attributes, member.type, inside):
            other = keys.setdefault(alias, member.name)
            if other != member.name:
                raise ConfigError(f"{inside}: the alias {alias!r:.80} already feeds {other}. Leave it out of one")
    values = raw.get("aliases", [])
    if not isinstance(values, list) or len(values) > MAX_ALIASES or not all(isinstance(v, str) and v for v in values):
        raise ConfigError(f"{place}: aliases must be a list of at most {MAX_ALIASES} JSON keys")
    return tuple(values)


def _bound(key: str, raw: Raw, node: Node, place: str) -> float | None:
    value = number(key, raw, place)
    if value is not None and number_kind(node) not in NUMBERS:
        what = node.logical or (node.items.kind if node.items is not None else node.kind)
        raise ConfigError(f"{place}: minimum and maximum are for numbers, not for {what}. Leave them out")
    return value


class Read(NamedTuple):
    """How an attribute is read."""

    call: Reader
    nested: bool = False  # fields of a record inside the contract may have it too


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Every attribute of a field, read and checked. Bounds and sentinels are in `unit`; of an array, for each item."""

    unit: Annotated[str | None, Read(_unit, nested=True)]
    minimum: Annotated[float | None, Read(_minimum)]
    maximum: Annotated[float | None, Read(_maximum)]
    sentinels: Annotated[tuple[float | int | str, ...], Read(_sentinels)]
    allowed: Annotated[tuple[int | str, ...], Read(enumerated.allowed)]  # the only values; empty: any
    pattern: Annotated[str | None, Read(enumerated.pattern)]  # of a text as a whole, in the syntax of Rust's regex
    on_violation: Annotated[Mapping[str, Violation], Read(on_violation)]  # by rule: see `violations.RULES`
    role: Annotated[Role | None, Read(_role)]
    time_unit: Annotated[TimeUnit, Read(_time_unit, nested=True)]  # what a number in a payload counts, of a timestamp
    max_ahead_seconds: Annotated[float | None, Read(_max_ahead_seconds)]  # of a timestamp, ahead of its arrival
    max_behind_seconds: Annotated[float | None, Read(_max_behind_seconds)]  # of a timestamp, behind its arrival
    max_items: Annotated[int | None, Read(_max_items, nested=True)]  # of an array; never None there
    max_step: Annotated[float | None, Read(_max_step)]  # of a number, away from the device's reading before
    monotonic: Annotated[Monotonic | None, Read(_monotonic)]  # against the device's reading that arrived before
    max_stuck: Annotated[int | None, Read(_max_stuck)]  # readings in a row with the same number
    max_stuck_seconds: Annotated[float | None, Read(_max_stuck_seconds)]  # from the first of them
    json: Annotated[bool, Read(_json, nested=True)]  # the text is JSON, of whatever the payload has there
    max_gap_seconds: Annotated[float | None, Read(_max_gap_seconds)]  # of event_time, from the device's reading before
    aliases: Annotated[tuple[str, ...], Read(_aliases, nested=True)]  # further JSON keys that feed the field


_TABLE: dict[str, Read] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Attributes, include_extras=True).items()
}
ATTRIBUTES = tuple(_TABLE)
TOP_ONLY = frozenset(name for name, read in _TABLE.items() if not read.nested)  # on a contract's own fields only


def read_attributes(raw: Raw, node: Node, place: str) -> dict[str, Any]:
    """The attributes of the field `raw`, of type `node`, by name. ConfigError, beginning with `place`, for a wrong one.

    `headrace.contracts.allowed.check_field` has passed the field.
    """
    return {name: read.call(raw, node, place) for name, read in _TABLE.items()}
