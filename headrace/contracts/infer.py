"""Makes a contract from a sample: types come from the values, units and roles from names that leave no doubt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.contracts import avro, guess
from headrace.contracts.eventtime import FIRST, Time, times, unread
from headrace.contracts.kinds import kind_of
from headrace.contracts.lint import NO_UNIT, WARNING, lint
from headrace.contracts.model import Contract, parse
from headrace.contracts.naming import field_name, member_name
from headrace.contracts.sample import columns_of, kinds_of
from headrace.contracts.write import as_text
from headrace.errors import ConfigError
from headrace.protocol.names import EXTRA, OURS, QUALITY, is_device_id

_DEEPEST = avro.CONTRACT.depth - 2  # objects inside objects; a list in the innermost is two types more
_DEVICE = {
    "name": "device_id",
    "type": "string",
    "doc": "Which device took the reading: 1 to 64 letters, digits, underscores and hyphens.",
}
_EXTRA = {
    "name": EXTRA,
    "type": ["null", "string"],
    "default": None,
    "doc": "What else the payload has, as JSON text: keys that this contract lacks.",
}
_LAST = {
    "name": QUALITY,
    "type": ["null", "string"],
    "default": None,
    "doc": "Null until cleaning changed something; then field:rule:action, several joined by semicolons.",
}


@dataclass(frozen=True)
class Told:
    """What became of one key of the payload. `field`: the column, its levels joined by dots; empty when there is none.

    `open`: something that a person should look at.
    """

    key: str
    field: str
    type: str
    unit: str = ""
    why: str = ""
    open: bool = False


@dataclass(frozen=True)
class Draft:
    """A contract made from a sample, what became of each key, and what a person should know or decide about it."""

    contract: Contract
    told: tuple[Told, ...]
    hints: tuple[str, ...]
    mapping: dict[str, Any] = field(default_factory=dict)  # `fields` of the route
    device: dict[str, str] = field(default_factory=dict)  # `device` of the route
    zone: bool = False  # the times name none: the route should
    lists: dict[str, str] = field(default_factory=dict)  # of objects: their paths, and a key of those objects
    mark: str = ""  # of numbers in quotes: their decimal mark


def infer(
    name: str,
    readings: Sequence[dict[str, Any]],
    captured: Sequence[str] = (),
    where: str = "sample",
    *,
    named: Sequence[str] = (),
    values: bool = False,
) -> Draft:
    """The contract `name` that takes every one of `readings`, and what to tell about it.

    A key becomes a field of the same name, or the alias of a field when it can't name one. Every field is optional.
    Numbers are doubles, unless the name says that they count something. ConfigError, beginning with `where`, where
    nothing names the device. `named`: the paths of what names it. `values`: each reading was one plain value, so its
    time is that of its arrival.
    """
    maker = _Maker(name, list(readings), tuple(captured), where, tuple(named), values=values)
    schema = {
        "type": "record",
        "name": name,
        "namespace": "headrace",
        "doc": f"Readings of {name}, as its devices send them. Say here what they are, and of what.",
        "fields": maker.fields(),
    }
    contract = parse(name, as_text(schema), f"the contract made from {where}")
    hints = [*maker.hints, *(p.removeprefix(WARNING) for p in lint(contract) if NO_UNIT not in p)]
    without = [t.field for t in maker.told if t.type.endswith("double") and not t.unit]
    if without:
        shown = ", ".join(without[:6]) + (f" and {len(without) - 6} more" if len(without) > 6 else "")
        hints.append(f'no unit is known for {shown}: add "unit" to each, such as "Cel" or "V"')
    if maker.mark:
        hints.append(
            "numbers in quotes stay text: to have numbers, give those fields the type double in the contract, and "
            f"set text_numbers: {maker.mark!r} in the route"
        )
    told, hinted = tuple(maker.told), tuple(hints)
    return Draft(contract, told, hinted, maker.mapping, maker.device, maker.zone, maker.lists, maker.mark)


class _Maker:
    def __init__(
        self,
        name: str,
        readings: list[dict[str, Any]],
        captured: tuple[str, ...],
        where: str,
        named: tuple[str, ...],
        *,
        values: bool,
    ) -> None:
        self.told: list[Told] = []
        self.hints: list[str] = []
        self.mapping: dict[str, Any] = {}
        self.device: dict[str, str] = {}
        self.zone = False
        self.lists: dict[str, str] = {}
        self.mark = ""
        self._timed = ""  # path of a time that lies deeper than the top
        self._name, self._readings, self._captured, self._where = name, readings, captured, where
        self._named, self._values = named, values
        self._records = {name}
        self._columns = columns_of(readings)

    def fields(self) -> list[dict[str, Any]]:
        for key in sorted(OURS & self._columns.keys()):
            raise ConfigError(f"{self._where}: the key {key!r} is Headrace's own. Have the device send another name")
        device, time = self._device(), None if self._values else self._time()
        out = [_DEVICE if device in {None, "device_id"} else {**_DEVICE, "aliases": [device]}, self._event_time(time)]
        if device is not None:
            self.told.append(Told(device, "device_id", "string", why="names the device"))
        out += [{"name": c, "type": "string", "doc": f"The level {c} of the MQTT topic."} for c in self._levels()]
        taken = [str(f["name"]) for f in out]
        used = {device, time.keys[0] if time and not time.mapped else None, *taken}
        for key in self._columns:
            if key in used or (not key and self._nameless("")):
                continue
            made = self._field(key, key, field_name(key, taken, self._columns), "", self._columns[key], 0)
            out.append(made)
            taken.append(made["name"])
        _set_roles(out)
        return [*out, _EXTRA, _LAST]

    def _levels(self) -> list[str]:
        """The captures of the topic that become fields."""
        if "event_time" in self._captured:
            raise ConfigError(f"{self._where}: the topic captures 'event_time', which is a time. Rename it")
        levels = [c for c in self._captured if c != "device_id"]
        for name in levels:
            if not set(kinds_of(self._columns.get(name, []))) <= {"text"}:
                self.mapping[name] = self._from_topic(name, "not text: the topic says it")
        return levels

    def _from_topic(self, name: str, why: str) -> dict[str, str]:
        """That the topic fills the field, and not the payload's key of that name, which is kept apart."""
        self.told.append(Told(name, EXTRA, "JSON text", why=why, open=True))
        return {"topic": f"{{{name}}}"}

    def _nameless(self, path: str) -> bool:
        self.told.append(Told(f'{path}""', EXTRA, "JSON text", why="a key without a name: kept apart", open=True))
        return True

    def _device(self) -> str | None:
        """The key that names the device; None when the topic does, or what the route's paths lead to."""
        if self._named:
            why = "name the device together" if len(self._named) > 1 else "names the device"
            self.told.append(Told(", ".join(self._named), "device_id", "string", why=why))
            return None
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
        if bad and "device_id" in self._captured:
            self.device = self._from_topic("device_id", f"{bad[0]!r:.40} is no device's id: the topic says which it is")
            return None
        if bad:
            raise ConfigError(
                f"{self._where}: {key} is {bad[0]!r:.80}, which can't name a device. It must be text of 1 to 64 "
                "letters, digits, underscores and hyphens: have the device send that, or put {device_id} into the topic"
            )
        return key

    def _time(self) -> Time | None:
        found = times(self._readings)
        if "event_time" in self._columns:
            found = [t for t in found if t.keys == ("event_time",)]
            if not found and self._columns["event_time"]:
                raise ConfigError(
                    f"{self._where}: event_time is not a time: {self._columns['event_time'][0]!r:.80}. Give ISO 8601 "
                    "text, or a number of s, ms, us or ns since 1970"
                )
        if len(found) > 1:
            others = ", ".join(".".join(t.keys) for t in found[1:4])
            self.hints.append(f"{others}: may be times too; event_time is taken from {'.'.join(found[0].keys)}")
        return found[0] if found else None

    def _event_time(self, time: Time | None) -> dict[str, Any]:
        made = {
            "name": "event_time",
            "type": {"type": "long", "logicalType": "timestamp-micros"},
            "doc": "When the reading was taken, UTC.",
            "minimum": FIRST * 1_000_000,
            "max_ahead_seconds": 86_400,
            "on_violation": "reject",
        }
        if self._values:
            made["doc"] = "When the reading arrived at the bridge, UTC: a plain value carries no time."
            return made
        if time is None:
            self.hints.append("no time was found in the sample: event_time will be the time of arrival at the bridge")
            if text := unread(self._readings):
                self.hints.append(
                    f"{text[0]} may be a time, in a form of its own ({text[1]!r:.40}): say it in the route, such as "
                    f"fields: {{event_time: {{path: {text[0]}, format: '%d/%m/%Y %H:%M'}}}}"
                )
            made["doc"] = "When the reading arrived at the bridge, UTC: the payload carries no time."
            return made
        path = ".".join(time.keys)
        if time.mapped:
            self._timed = path
            self.mapping["event_time"] = time.source
        elif path != "event_time":
            made["aliases"] = [path]
        if time.unit is not None and not time.mapped:
            made["time_unit"] = time.unit
        why = (
            f"{time.unit} since 1970{', in quotes' if time.quoted else ''}"
            if time.unit
            else time.form or "ISO 8601 text"
        )
        if not time.zoned:
            self.zone = True
            why += ", names no zone: taken as UTC"
            self.hints.append(
                f"the times of {path} name no time zone, and are taken as UTC: if that is wrong, set time_zone in the "
                "route, such as Europe/Berlin"
            )
        self.told.append(Told(path, "event_time", "time", time.unit or "", why, open=not time.zoned))
        return made

    def _field(self, key: str, path: str, name: str, above: str, values: list[Any], depth: int) -> dict[str, Any]:
        """A field of the contract, or of a record in it, of the type that takes all the values.

        `path`: of the key in the payload; `above`: of the record in the contract, with a dot at the end.
        """
        kind = kind_of(key, values, top=depth == 0, deep=depth >= _DEEPEST)
        column = f"{above}{name}"
        attributes = dict(kind.attributes)
        schema = kind.schema
        if schema == "record":
            if name != key:
                self.told.append(Told(path, column, "object", why=f"{key} can't name a column", open=True))
            schema = self._record(path, column, values, depth + 1)
        unit = guess.unit(key, values) if kind.is_number and kind.schema != "long" else None
        if kind.objects:
            self.lists[path] = kind.objects
        self.mark = max(self.mark, kind.mark, key=["", ".", ","].index)
        made = {
            "name": name,
            "type": ["null", schema],
            "default": None,
            "doc": attributes.pop("doc", "") or f"{path}, as the device sends it.",
            **({"unit": unit} if unit else {}),
            **attributes,
            **({"aliases": [key]} if name != key else {}),
            **({"on_violation": "null"} if depth == 0 and kind.is_number else {}),
        }
        if kind.schema != "record" and path != self._timed:
            said = [f"{key} can't name a column"] if name != key else []
            said += [kind.why] if kind.why else []
            said += ["the name says the unit"] if unit else []
            opened = kind.open or name != key
            self.told.append(Told(path, column, kind.words, unit or "", "; ".join(said), open=opened))
        return made

    def _record(self, path: str, column: str, values: list[Any], depth: int) -> dict[str, Any]:
        inner = columns_of(values)
        fields: list[dict[str, Any]] = []
        for key, found in inner.items():
            if not key and self._nameless(f"{path}."):
                continue
            name = member_name(key, [f["name"] for f in fields], inner)
            fields.append(self._field(key, f"{path}.{key}", name, f"{column}.", found, depth))
        return {"type": "record", "name": self._record_name(column), "fields": fields}

    def _record_name(self, column: str) -> str:
        base = field_name(f"{self._name}_{column}".replace(".", "_"), [])
        name, n = base, 2
        while name in self._records:
            name, n = f"{base}_{n}", n + 1
        self._records.add(name)
        return name


def _set_roles(fields: list[dict[str, Any]]) -> None:
    """A sequence shows copies and gaps only together with a field that changes when the device starts."""
    found = {guess.role(f["name"]): f for f in reversed(fields) if guess.role(f["name"]) and _fits_role(f)}
    if len(found) == 2:
        found["sequence"].update(role="sequence", minimum=0)
        found["boot"]["role"] = "boot"


def _fits_role(made: dict[str, Any]) -> bool:
    inner = made["type"][1] if isinstance(made["type"], list) else made["type"]
    return inner == "long" or (inner == "string" and guess.role(made["name"]) == "boot" and "json" not in made)
