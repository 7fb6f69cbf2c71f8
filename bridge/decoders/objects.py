"""Objects, as every format has them, to readings in Avro: what a field is called, what is left out, who and when.

An object is a dict of text, numbers, booleans, lists, dicts and None, as JSON gives it; where the format has them, of
bytes and of times with a zone too.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bridge.decoders import unknown
from bridge.decoders.base import Reading, Source
from bridge.decoders.plan import Plan, known
from bridge.decoders.row import FromText, Row, as_name, default, of_texts, time_reader
from bridge.decoders.shapes import Shapes
from bridge.decoders.wording import missing
from bridge.encode import encoder
from headrace.contracts.model import Contract
from headrace.errors import PoisonError, Reason
from headrace.protocol.devicenames import AS_WRITTEN, Naming
from headrace.protocol.names import DEVICE, EXTRA, OURS, QUALITY, TIME
from headrace.protocol.wire import frame

_MICROSECOND = timedelta(microseconds=1)
PLAIN = Plan()
_SCALARS = frozenset({str, int, float})
_MAX_DEVICES = 100_000  # device ids remembered
_NULL = "is null. If it may be, make it optional in the contract"
_MISSING = (
    "is missing. If it may be, make it optional in the contract. If the payload has it elsewhere, say where in the "
    "route's fields"
)
_NAMELESS = "is missing, in the topic and in the payload. Say where its name is in the route's device"
_UNKNOWN = (
    "the contract has no such field. Add it there, or as an alias, or name it in the route's fields; or set "
    "unknown_fields there to keep or ignore"
)


class ObjectReader:
    """Makes readings of one contract. `captures`: the fields that the topic has, with names that are checked.

    `name`: what makes the id of the device that a payload names. `plan`: where fields are, as the route says.
    `from_text`: where values are text, what makes of a field's text what its reader takes.
    """

    def __init__(
        self,
        contract: Contract,
        schema_id: int,
        captures: Sequence[str] = (),
        name: Naming = AS_WRITTEN,
        plan: Plan = PLAIN,
        from_text: FromText | None = None,
    ) -> None:
        self._name = name
        self._ignored = 0
        self._notes: list[str] = []  # of the reading at hand
        fields = [f for f in contract.fields if f.name not in OURS]
        self.rows = [Row(f, contract, self._notes, plan, from_text) for f in fields]  # in the contract's order
        self._known = known(fields, plan, unknown.known(contract))
        self._marks = [row for f, row in zip(fields, self.rows, strict=True) if f.name == TIME or f.role is not None]
        self._encode = encoder(contract, frame(schema_id, b""))
        position = {f.name: i for i, f in enumerate(contract.fields)}
        self._device, self._time, self._quality = (position[n] for n in (DEVICE, TIME, QUALITY))
        self._extra = position.get(EXTRA)
        self._width = len(position)
        time = contract.field(TIME)
        tick = 1_000_000 if time.logical == "timestamp-millis" else 1_000
        self._received_tick = tick // 1_000
        read = time_reader(time, plan.sources.get(TIME), plan.texts.zone, time.minimum)
        self._read_time = of_texts(read, time, plan.sources.get(TIME), from_text)
        roles = {f.role: i for i, f in enumerate(contract.fields)}
        both = {"sequence", "boot"} <= roles.keys()
        self._identity: tuple[int, ...] = (roles["sequence"], roles["boot"]) if both else ()
        self._captured = tuple((position[n], n) for n in captures if n != DEVICE)
        given = {DEVICE, TIME, *captures, *(n for n, s in plan.sources.items() if not s.path)}
        own = [f for f in fields if f.name not in given]
        self.may_be_blank = bool(own) and all(f.nullable or default(f, contract) is not None for f in own)
        self._own = tuple(i for i, f in enumerate(fields) if f.name not in given)
        self._told = self._own[0] if own else self._time  # which field had a value last: it will have one again
        self._ids: dict[str, str] = {}  # of devices, by what payloads call them
        self._shapes = Shapes(self.rows, self._known, self._own, self._time, frozenset({DEVICE, TIME, *captures}))

    def read(self, found: Mapping[str, Any], source: Source, received: int) -> Reading:
        """The reading of an object. PoisonError: there is none, with the field, why, and the device if it is named."""
        try:
            values = self._alike(found, source) or self._values(found, source)
            if type(values[self._time]) is timedelta:  # of a format whose times may count from now
                received += values[self._time] // _MICROSECOND
                values[self._time] = None
            return self.finish(values, source, received)
        except PoisonError as e:
            e.device = self._named(found)
            raise

    def read_columns(self, columns: Mapping[str, Sequence[Any]], source: Source, received: int) -> list[Reading]:
        """The readings of objects with the same keys, of each key the values; none where one of them is odd."""
        shape = self._shapes.of(columns)
        if shape is None or (shape.more and source.unknown_fields != "ignore") or self._captured:
            return []
        self._notes.clear()
        try:
            found = self._shapes.columns(columns, shape, self._width)
            if found is None or self._notes:
                return []
            readings = self.finish_all(map(list, zip(*found)), source, received)  # noqa: B905 - None has no end
        except PoisonError:
            return []
        self._ignored += len(shape.more) * len(readings)
        return readings

    def finish(self, values: list[Any], source: Source, received: int) -> Reading:
        """The reading of these values, in the contract's order, as `values.reader` makes them; the time as it came.

        Fills in what topic and clock know, and checks the device. PoisonError as above.
        """
        captures = source.captures
        for i, name in self._captured:
            if values[i] is None:
                values[i] = self.rows[i].read(captures[name])
        device = values[self._device]
        expected = captures.get(DEVICE)
        if device is None:
            if expected is None:
                raise missing(DEVICE, _NAMELESS)
            device = values[self._device] = expected
        elif device != expected:
            device = values[self._device] = self._id(device, expected)
        time = values[self._time]
        if time is not None:
            values[self._time] = self._read_time(time)
            identified = True
        else:
            values[self._time] = received // self._received_tick
            identified = bool(self._identity) and all(values[i] is not None for i in self._identity)
        return Reading(device, self._encode(values), identified)

    def finish_all(self, rows: Iterable[list[Any]], source: Source, received: int) -> list[Reading]:
        """As `finish`, for the values of many readings."""
        at, when = self._device, self._time
        read_time, encode = self._read_time, self._encode
        expected = None if self._captured else source.captures.get(DEVICE)
        readings = []
        for values in rows:
            device = values[at]
            if expected is None or values[when] is None or (device is not None and device != expected):
                readings.append(self.finish(values, source, received))
                continue
            values[at], values[when] = expected, read_time(values[when])
            readings.append(Reading(expected, encode(values), True))
        return readings

    def marks(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The time, and the fields with the roles sequence and boot, as an object has them."""
        marks = {row.name: _picked(row, found) for row in self._marks}
        return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in marks.items()}

    def take_ignored(self) -> int:
        """How many fields were left out since the last call, as the contract does not have them."""
        count, self._ignored = self._ignored, 0
        return count

    def _named(self, found: Mapping[str, Any]) -> str:
        """The id of the device that an object names; empty where it names none, or that has no id."""
        name = as_name(_picked(self.rows[self._device], found))
        try:
            return self._name(name) if isinstance(name, str) else ""
        except PoisonError:
            return ""

    def _id(self, name: str, expected: str | None) -> str:
        found = self._ids.get(name)
        if found is None:
            found = self._name(name)
            if len(self._ids) >= _MAX_DEVICES:
                self._ids.clear()
            self._ids[name] = found
        if expected is None or found == expected:
            return found
        words = f"{DEVICE}: the topic says {expected}, the payload {name[:80]!r}. A device publishes under its own id"
        raise PoisonError(Reason.DEVICE_MISMATCH, words, field=DEVICE, value=name)

    def is_blank(self, values: Sequence[Any]) -> bool:
        """Whether a payload that gives these values says nothing: all is null but device, time and captures.

        To be asked where `may_be_blank`: it costs time for each reading.
        """
        if values[self._told] is not None:
            return False
        told = next((i for i in self._own if values[i] is not None), None)
        if told is None:
            return True
        self._told = told
        return False

    def _alike(self, found: Mapping[str, Any], source: Source) -> list[Any] | None:
        """What `_values` gives, in a fraction of its time; None where something is odd."""
        shape = self._shapes.of(found)
        if shape is None or not all(name in source.captures for _, name in self._captured):
            return None
        values: list[Any] = [None] * self._width
        notes = self._notes
        notes.clear()
        said = not self._own
        try:
            if shape.more and source.unknown_fields != "ignore":
                if source.unknown_fields == "refuse" or self._extra is None:
                    return None
                values[self._extra], said = unknown.json_text({key: found[key] for key in shape.more}), True
            if not self._shapes.fill(values, found, shape, source, said=said):
                return None
        except (PoisonError, RecursionError):
            return None
        if source.unknown_fields == "ignore":
            self._ignored += len(shape.more)
        if notes:
            values[self._quality] = ";".join(dict.fromkeys(notes))
        return values

    def _values(self, found: Mapping[str, Any], source: Source) -> list[Any]:
        values: list[Any] = [None] * self._width
        notes = self._notes
        notes.clear()
        said = not self._own
        left = self._leave_out(found, source)
        if left is not None and self._extra is not None:
            values[self._extra], said = left, True
        for i, row in enumerate(self.rows):
            value, given = row.pick(found)
            if row.property:
                value = source.properties.get(row.property)
            if row.sentinels and type(value) in _SCALARS and value in row.sentinels:
                if not row.nullable:
                    why = f"{row.name}: {value!r} means no value, and the field must have one"
                    raise PoisonError(Reason.SENTINEL, why, field=row.name, value=value)
                notes.append(f"{row.name}:sentinel:null")
            elif i == self._time:
                values[i] = value
                continue
            elif value is not None:
                values[i] = row.read(value)
            elif not row.nullable and row.name != DEVICE and row.name not in source.captures:
                raise _lacking(row, given=given)
            said = said or (given and value is not None and i in self._own)
        if not said:
            raise self._says_nothing(found)
        values[self._quality] = ";".join(dict.fromkeys(notes)) or None
        return values

    def _leave_out(self, found: Mapping[str, Any], source: Source) -> str | None:
        """What the contract does not have, as JSON text; None where there is nothing, or the route drops it."""
        left = unknown.unknown(found, self._known)
        if not left:
            return None
        if source.unknown_fields == "keep":
            try:
                return unknown.json_text(left)
            except RecursionError:
                raise PoisonError(Reason.MALFORMED, "nested too deeply to be kept. Send flatter objects") from None
        names = unknown.paths(left, self._known)
        if source.unknown_fields == "refuse":
            name = names[0][:80]
            raise PoisonError(Reason.UNKNOWN_FIELD, f"{name}: {_UNKNOWN}", field=name)
        self._ignored += len(names)
        return None

    def _says_nothing(self, found: Mapping[str, Any]) -> PoisonError:
        own = [self.rows[i].name for i in self._own]
        words = f"no field of the contract has a value but device and time. It has {', '.join(own)[:200]}"
        names = unknown.paths(unknown.unknown(found, self._known), self._known)
        if names:
            words += f"; the message has {', '.join(names)[:200]}, which the route ignores"
        return PoisonError(Reason.MISSING_FIELD, words)


def _lacking(row: Row, *, given: bool) -> PoisonError:
    if not row.path:
        return missing(row.name, _NULL if given else _MISSING)
    words = f"{row.name}: nothing at {row.path}. If it may be absent, make it optional in the contract. If it is "
    return PoisonError(
        Reason.MISSING_FIELD, words + "elsewhere, correct the path in the route's fields", field=row.name
    )


def _picked(row: Row, found: Mapping[str, Any]) -> Any:
    try:
        return row.pick(found)[0]
    except PoisonError:
        return None
