"""Objects, as every format has them, to readings in Avro: what a field is called, what is left out, who and when.

An object is a dict of text, numbers, booleans, lists, dicts and None, as JSON gives it; where the format has them, of
bytes and of times with a zone too.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bridge.decoders.base import Reading, Source
from bridge.decoders.values import Reader, missing, reader, timestamp
from bridge.encode import encoder
from headrace.contracts.model import Contract, Field
from headrace.errors import PoisonError, Reason
from headrace.protocol.devicenames import AS_WRITTEN, Naming
from headrace.protocol.names import DEVICE, QUALITY, TIME
from headrace.protocol.wire import frame

_MAX_DEVICES = 100_000  # device ids remembered


class ObjectReader:
    """Makes readings of one contract. `captures`: the fields that the topic has, with names that are checked.

    `name`: what makes the id of the device that a payload names.
    """

    def __init__(
        self, contract: Contract, schema_id: int, captures: Sequence[str] = (), name: Naming = AS_WRITTEN
    ) -> None:
        self._name = name
        self._ignored = 0
        fields = [f for f in contract.fields if f.name != QUALITY]
        self.rows = [Row(f, contract) for f in fields]  # in the contract's order
        self._known = {key for f in fields for key in (f.name, *f.aliases)}
        self._marks = [(f.name, (f.name, *f.aliases)) for f in fields if f.name == TIME or f.role is not None]
        self._encode = encoder(contract, frame(schema_id, b""))
        position = {f.name: i for i, f in enumerate(contract.fields)}
        self._device, self._time, self._quality = (position[n] for n in (DEVICE, TIME, QUALITY))
        self._width = len(position)
        time = contract.field(TIME)
        tick = 1_000_000 if time.logical == "timestamp-millis" else 1_000
        self._received_tick = tick // 1_000
        self._read_time = timestamp(TIME, time.time_unit, tick)
        roles = {f.role: i for i, f in enumerate(contract.fields)}
        both = {"sequence", "boot"} <= roles.keys()
        self._identity: tuple[int, ...] = (roles["sequence"], roles["boot"]) if both else ()
        self._captured = tuple((position[n], n) for n in captures if n != DEVICE)
        self._ids: dict[str, str] = {}  # of devices, by what payloads call them

    def read(self, found: Mapping[str, Any], source: Source, received: int) -> Reading:
        """The reading of an object. PoisonError: there is none, with the field and why."""
        return self.finish(self._values(found, source), source, received)

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
                raise missing(DEVICE)
            device = values[self._device] = expected
        elif device != expected:
            device = values[self._device] = self._id(device, expected)
        time = values[self._time]
        timed = time is not None
        values[self._time] = self._read_time(time) if timed else received // self._received_tick
        identity = self._identity
        identified = timed or (bool(identity) and values[identity[0]] is not None and values[identity[1]] is not None)
        return Reading(device, self._encode(values), identified)

    def marks(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The time, and the fields with the roles sequence and boot, as an object has them."""
        marks = {name: next((found[k] for k in keys if k in found), None) for name, keys in self._marks}
        return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in marks.items()}

    def take_ignored(self) -> int:
        """How many fields were left out since the last call, as the contract does not have them."""
        count, self._ignored = self._ignored, 0
        return count

    def _id(self, name: str, expected: str | None) -> str:
        found = self._ids.get(name)
        if found is None:
            found = self._name(name)
            if len(self._ids) >= _MAX_DEVICES:
                self._ids.clear()
            self._ids[name] = found
        if expected is None or found == expected:
            return found
        words = f"{DEVICE}: the topic says {expected}, the payload {name[:80]!r}"
        raise PoisonError(Reason.DEVICE_MISMATCH, words, field=DEVICE, value=name)

    def _values(self, found: Mapping[str, Any], source: Source) -> list[Any]:
        unknown = found.keys() - self._known
        if unknown:
            self._leave_out(unknown, source)
        values: list[Any] = [None] * self._width
        notes: list[str] = []
        for i, row in enumerate(self.rows):
            value = row.pick(found)
            if type(value) is str and value in row.sentinels:
                if not row.nullable:
                    why = f"{row.name}: {value!r} means no value, and the field must have one"
                    raise PoisonError(Reason.SENTINEL, why, field=row.name, value=value)
                notes.append(f"{row.name}:sentinel:null")
            elif i == self._time:
                values[i] = value
            elif value is not None:
                values[i] = row.read(value)
            elif not row.nullable and row.name != DEVICE and row.name not in source.captures:
                raise missing(row.name)
        values[self._quality] = ";".join(notes) or None
        return values

    def _leave_out(self, unknown: Iterable[str], source: Source) -> None:
        names = sorted(unknown)
        if source.unknown_fields == "reject":
            name = names[0][:80]
            raise PoisonError(Reason.UNKNOWN_FIELD, f"{name}: the contract has no such field", field=name)
        self._ignored += len(names)


class Row:
    """How one field is found in an object, and read."""

    def __init__(self, field: Field, contract: Contract) -> None:
        self.name = field.name
        self.nullable = field.nullable
        self.sentinels = frozenset(s for s in field.sentinels if isinstance(s, str))
        self._keys = (field.name, *field.aliases)
        self._default = next(f.get("default") for f in contract.schema["fields"] if f["name"] == field.name)
        self.read: Reader = reader(field.name, field.type, time_unit=field.time_unit, max_items=field.max_items)

    def pick(self, found: Mapping[str, Any]) -> Any:
        """The field's value, its default where it is absent; PoisonError when two of its keys are there."""
        keys = [k for k in self._keys if k in found]
        if len(keys) > 1:
            raise PoisonError(
                Reason.MALFORMED, f"{self.name}: given twice, as {' and as '.join(keys)}", field=self.name
            )
        return found[keys[0]] if keys else self._default
