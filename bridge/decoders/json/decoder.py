"""A JSON payload, an object or an array of objects, to readings in Avro.

Two ways lead to the same bytes. The fast way decodes into a struct made for the contract (0.4 us for `imu`), and takes
only payloads that are right in every detail. All others go the exact way, field by field: it knows aliases, sentinels
in words and defaults, and finds the reason of a refusal. A property test compares the two.

If a JSON object has a key twice, the last one counts. A payload can't have `_quality`: cleaning writes it.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from bridge.decoders.base import Found, Reading, Refused, Skipped, Source
from bridge.decoders.json.elements import MAX_ELEMENTS, element, first, is_array, split, too_many
from bridge.decoders.values import Reader, missing, reader, timestamp
from bridge.decoders.wording import not_an_object, not_json
from bridge.encode import encoder
from headrace.contracts.model import Contract, Field
from headrace.errors import PoisonError, Reason
from headrace.protocol.names import QUALITY, is_device_id
from headrace.protocol.wire import frame

_MAX_DEVICES = 100_000  # device ids remembered as good
_REFUSED = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, struct.error, PoisonError)
_ANY = msgspec.json.Decoder()
_INT = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_LONG = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_STRUCT_TYPES: dict[str, Any] = {
    "double": float,
    "float": float,
    "int": _INT,
    "long": _LONG,
    "string": str,
    "boolean": bool,
}


class JsonDecoder:
    """Decodes the payloads of one contract. `captures`: the fields that the topic has, with names that are checked."""

    def __init__(self, contract: Contract, schema_id: int, captures: Sequence[str] = ()) -> None:
        self.ignored = 0
        self._fields = [f for f in contract.fields if f.name != QUALITY]
        self._known = {key for f in self._fields for key in (f.name, *f.aliases)}
        self._marks = [
            (f.name, (f.name, *f.aliases)) for f in self._fields if f.name == "event_time" or f.role is not None
        ]
        self._encode = encoder(contract, frame(schema_id, b""))
        self._rows = [_Row(f, contract) for f in self._fields]
        position = {f.name: i for i, f in enumerate(contract.fields)}
        self._device, self._time, self._quality = (position[n] for n in ("device_id", "event_time", QUALITY))
        self._width = len(position)
        time = contract.field("event_time")
        tick = 1_000_000 if time.logical == "timestamp-millis" else 1_000
        self._received_tick = tick // 1_000
        self._read_time = timestamp("event_time", time.time_unit, tick)
        roles = {f.role: i for i, f in enumerate(contract.fields)}
        both = {"sequence", "boot"} <= roles.keys()
        self._identity: tuple[int, ...] = (roles["sequence"], roles["boot"]) if both else ()
        self._captured = tuple((position[n], n) for n in captures if n != "device_id")
        made = _struct(contract, set(captures))
        self._as_struct = msgspec.json.Decoder(made | list[made]).decode  # type: ignore[valid-type]
        self._fast_reads = tuple(
            (i, r.fast) for i, r in enumerate(self._rows) if r.fast is not None and i != self._time
        )
        self._devices: set[str] = set()

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """As `Decoder` has it: an entry for the object, or for each object of the array."""
        if too_many(payload):
            why = f"an array of more than {MAX_ELEMENTS:,} elements: send them in several messages"
            return [Refused(PoisonError(Reason.TOO_LARGE, why), payload)]
        try:
            found = self._as_struct(payload)
            if type(found) is not list:
                return [self._from_struct(found, source, received)]
            return [self._from_struct(one, source, received) for one in found] or [Skipped("empty")]
        except _REFUSED:
            return self._decode_exactly(payload, source, received)

    def element(self, payload: bytes, index: int) -> bytes:
        """An element of the array, or the whole object."""
        return element(payload, index)

    def marks(self, payload: bytes) -> dict[str, Any]:
        """The time, and the fields with the roles sequence and boot, as the (first) object has them."""
        found = first(payload)
        return {name: next((found[k] for k in keys if k in found), None) for name, keys in self._marks}

    def _from_struct(self, found: msgspec.Struct, source: Source, received: int) -> Reading:
        values = list(msgspec.structs.astuple(found))
        for i, read in self._fast_reads:
            if values[i] is not None:
                values[i] = read(values[i])
        values.append(None)
        return self._finish(values, source, received)

    def _finish(self, values: list[Any], source: Source, received: int) -> Reading:
        """Fill in what topic and clock know, check the device, and encode."""
        captures = source.captures
        for i, name in self._captured:
            if values[i] is None:
                values[i] = self._rows[i].read(captures[name])
        device = values[self._device]
        expected = captures.get("device_id")
        if device is None:
            if expected is None:
                raise missing("device_id")
            device = values[self._device] = expected
        elif device != expected:
            self._check_device(device, expected)
        time = values[self._time]
        timed = time is not None
        values[self._time] = self._read_time(time) if timed else received // self._received_tick
        identity = self._identity
        identified = timed or (bool(identity) and values[identity[0]] is not None and values[identity[1]] is not None)
        return Reading(device, self._encode(values), identified)

    def _check_device(self, device: str, expected: str | None) -> None:
        if expected is not None:
            raise PoisonError(
                Reason.DEVICE_MISMATCH,
                f"device_id: the topic says {expected}, the payload {device[:80]!r}",
                field="device_id",
                value=device,
            )
        if device in self._devices:
            return
        if not is_device_id(device):
            raise PoisonError(
                Reason.BAD_NAME, f"device_id: {device[:80]!r} is not 1 to 64 letters, digits, underscores and hyphens",
                field="device_id", value=device,
            )  # fmt: skip
        if len(self._devices) >= _MAX_DEVICES:
            self._devices.clear()
        self._devices.add(device)

    def _decode_exactly(self, payload: bytes, source: Source, received: int) -> list[Found]:
        try:
            if not is_array(payload):
                return [self._one(payload, source, received)]
            elements = split(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as e:
            return [Refused(not_json(payload, e), payload)]
        return [self._one(e, source, received) for e in elements] or [Skipped("empty")]

    def _one(self, text: bytes, source: Source, received: int) -> Reading | Refused:
        try:
            return self._finish(self._from_object(_parse(text), source), source, received)
        except PoisonError as e:
            return Refused(e, text)

    def _from_object(self, found: dict[str, Any], source: Source) -> list[Any]:
        unknown = found.keys() - self._known
        if unknown:
            if source.unknown_fields == "reject":
                name = min(unknown)
                raise PoisonError(Reason.UNKNOWN_FIELD, f"{name[:80]}: the contract has no such field", field=name[:80])
            self.ignored += len(unknown)
        values: list[Any] = [None] * self._width
        notes: list[str] = []
        for i, row in enumerate(self._rows):
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
            elif not row.nullable and row.name != "device_id" and row.name not in source.captures:
                raise missing(row.name)
        values[self._quality] = ";".join(notes) or None
        return values


class _Row:
    """How one field is found in a JSON object, and read."""

    def __init__(self, field: Field, contract: Contract) -> None:
        self.name = field.name
        self.nullable = field.nullable
        self.sentinels = frozenset(s for s in field.sentinels if isinstance(s, str))
        self._keys = (field.name, *field.aliases)
        self._default = next(f.get("default") for f in contract.schema["fields"] if f["name"] == field.name)
        self.read: Reader = reader(field.name, field.type, time_unit=field.time_unit, max_items=field.max_items)
        self.fast: Reader | None = None  # what the fast way has left to do
        if _struct_type(field) is Any:
            self.fast = self.read
        elif field.kind == "string" and self.sentinels:
            self.fast = self._refuse_sentinels

    def pick(self, found: Mapping[str, Any]) -> Any:
        """The field's value, its default where it is absent; PoisonError when two of its keys are there."""
        keys = [k for k in self._keys if k in found]
        if len(keys) > 1:
            raise PoisonError(
                Reason.MALFORMED, f"{self.name}: given twice, as {' and as '.join(keys)}", field=self.name
            )
        return found[keys[0]] if keys else self._default

    def _refuse_sentinels(self, value: str) -> str:
        if value in self.sentinels:
            raise PoisonError(Reason.SENTINEL, value)  # the exact way decides
        return value


def _struct(contract: Contract, captures: set[str]) -> type[msgspec.Struct]:
    """The struct of the fast way: a field each, `_quality` left out, None where the payload may leave it to us."""
    fields: list[tuple[str, Any, Any] | tuple[str, Any]] = []
    for f in contract.fields:
        if f.name == QUALITY:
            continue
        kind = _struct_type(f)
        if f.name == "event_time":
            fields.append((f.name, int | float | str | None, None))
        elif f.nullable or f.name == "device_id" or f.name in captures:
            fields.append((f.name, kind | None if kind is not Any else Any, None))
        else:
            fields.append((f.name, _SOMETHING if kind is Any else kind))
    return msgspec.defstruct(contract.name, fields, forbid_unknown_fields=True, kw_only=True, gc=False)


_SOMETHING = int | float | str | bool | list[Any] | dict[str, Any]  # anything but null


def _struct_type(field: Field) -> Any:
    if field.kind == "array":
        items = field.type.items
        if items is None or items.logical is not None or items.kind not in _STRUCT_TYPES:
            return Any
        item: Any = _STRUCT_TYPES[items.kind]
        return Annotated[list[item], msgspec.Meta(max_length=field.max_items)]
    if field.logical is None and field.kind in _STRUCT_TYPES:
        return _STRUCT_TYPES[field.kind]
    return Any


def _parse(text: bytes) -> dict[str, Any]:
    try:
        found = _ANY.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise not_json(text, e) from None
    if type(found) is not dict:
        raise not_an_object(found)
    return found
