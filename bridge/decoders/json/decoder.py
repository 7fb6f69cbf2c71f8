"""A JSON payload, an object or an array of objects, to readings in Avro.

Two ways lead to the same bytes. The fast way decodes into a struct made for the contract (0.4 us for `imu`), and takes
only payloads that are right in every detail. All others go the exact way, field by field: it knows aliases, sentinels
in words and defaults, and finds the reason of a refusal. A property test compares the two. A payload after one with
keys that the contract does not have goes the exact way at once, where objects with the same keys are read alike.

If a JSON object has a key twice, the last one counts. NaN and the infinities, which are no JSON, are taken.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec.structs import astuple

from bridge.decoders.base import Found, Reading, Refused, Skipped, Source
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.json.elements import element, first, is_array, parse, split, too_many, trimmed
from bridge.decoders.objects import PLAIN, ObjectReader
from bridge.decoders.plan import Plan
from bridge.decoders.synced import reader
from bridge.decoders.values import Reader, field_reader
from bridge.decoders.wording import not_json
from bridge.starts import Starts
from headrace.contracts.model import Contract, Field
from headrace.errors import PoisonError, Reason
from headrace.protocol.devicenames import AS_WRITTEN, Naming
from headrace.protocol.names import OURS, TIME

_REFUSED = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, struct.error, PoisonError)
TOO_MANY = PoisonError(
    Reason.TOO_LARGE, f"an array of more than {MAX_ELEMENTS:,} elements: send them in several messages"
)
_BLANK = PoisonError(Reason.MISSING_FIELD, "blank")  # the exact way finds the words
_INT = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_LONG = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_DOUBLE = Annotated[float, msgspec.Meta(gt=-(2**53), lt=2**53)]  # the exact way looks for digits that would be lost
_STRUCT_TYPES: dict[str, Any] = {
    "double": _DOUBLE,
    "float": float,
    "int": _INT,
    "long": _LONG,
    "string": str,
    "boolean": bool,
}


class JsonDecoder:
    """Decodes the payloads of one contract. All arguments: as `synced.reader` has them."""

    def __init__(
        self,
        contract: Contract,
        schema_id: int,
        captures: Sequence[str] = (),
        name: Naming = AS_WRITTEN,
        plan: Plan = PLAIN,
        starts: Starts | None = None,
    ) -> None:
        self.ignored = 0
        self._objects = reader(contract, schema_id, captures, name, plan, starts=starts)
        self._is_blank, self._finish = self._objects.is_blank, self._objects.finish
        self._may_be_blank = self._objects.may_be_blank
        made = _struct(contract, set(captures), set(plan.sources))
        self._as_struct = msgspec.json.Decoder(made | list[made]).decode  # type: ignore[valid-type]
        if plan.maps:
            self._as_struct = _no_struct
        self._fast_reads = tuple(_fast_reads(contract, self._objects, plan))
        self._left_out = 0  # fields of the last payload: where it had such, the struct does not take the next one
        self._ours = [None] * len(OURS.intersection(f.name for f in contract.fields))

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """As `Decoder` has it: an entry for the object, or for each object of the array."""
        if too_many(payload):
            return [Refused(TOO_MANY, payload)]
        if not self._left_out:
            try:
                found = self._as_struct(payload)
                if type(found) is not list:
                    return [self._finish(self._values(found), source, received)]
                return [*self._objects.finish_all(map(self._values, found), source, received)] or [Skipped("empty")]
            except _REFUSED:
                pass
        out = self._decode_exactly(payload, source, received)
        self._left_out = self._objects.take_ignored()
        self.ignored += self._left_out
        return out

    def element(self, payload: bytes, index: int) -> bytes:
        """An element of the array, or the whole object."""
        return element(payload, index)

    def marks(self, payload: bytes) -> dict[str, Any]:
        """The time, and the fields with the roles sequence and boot, as the (first) object has them."""
        return self._objects.marks(first(payload))

    def _values(self, found: msgspec.Struct) -> list[Any]:
        values = [*astuple(found), *self._ours]
        for i, read in self._fast_reads:
            if values[i] is not None:
                values[i] = read(values[i])
        if self._may_be_blank and self._is_blank(values):
            raise _BLANK
        return values

    def _decode_exactly(self, payload: bytes, source: Source, received: int) -> list[Found]:
        text = trimmed(payload)
        if text is not payload and too_many(text):
            return [Refused(TOO_MANY, payload)]
        try:
            if not is_array(text):
                return [self._one(text, payload, source, received)]
            elements = split(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as e:
            return [Refused(not_json(payload, e), payload)]
        return [self._one(e, e, source, received) for e in elements] or [Skipped("empty")]

    def _one(self, text: bytes, original: bytes, source: Source, received: int) -> Reading | Refused:
        try:
            return self._objects.read(parse(text), source, received)
        except PoisonError as e:
            return Refused(e, original)


def _no_struct(_: object) -> NoReturn:
    """In place of the fast way, where fields are not at the keys with their names."""
    raise _BLANK


def _fast_reads(contract: Contract, objects: ObjectReader, plan: Plan) -> Iterator[tuple[int, Reader]]:
    """What the fast way has left to do: the position of a field, and how to read what the struct has there."""
    for i, row in enumerate(objects.rows):
        field = contract.field(row.name)
        if field.name != TIME and _struct_type(field) is Any:
            yield i, field_reader(field, texts=plan.texts)
        elif field.kind == "string" and row.sentinels:
            yield i, _no_sentinel(row.sentinels)


def _no_sentinel(sentinels: frozenset[Any]) -> Reader:
    def read(value: str) -> str:
        if value in sentinels:
            raise PoisonError(Reason.SENTINEL, value)  # the exact way decides
        return value

    return read


def _struct(contract: Contract, captures: set[str], topics: set[str]) -> type[msgspec.Struct]:
    """The struct of the fast way: a field each, Headrace's own left out, None where the payload may leave it to us.

    `topics`: fields that the topic alone fills. A payload with their keys goes the exact way.
    """
    fields: list[tuple[str, Any, Any] | tuple[str, Any]] = []
    for f in contract.fields:
        if f.name in OURS:
            continue
        kind = _struct_type(f)
        if f.name in topics:
            fields.append((f.name, _NEVER, None))
        elif f.name == "event_time":
            fields.append((f.name, int | float | str | None, None))
        elif f.nullable or f.name == "device_id" or f.name in captures:
            fields.append((f.name, kind | None if kind is not Any else Any, None))
        else:
            fields.append((f.name, _SOMETHING if kind is Any else kind))
    return msgspec.defstruct(contract.name, fields, forbid_unknown_fields=True, kw_only=True, gc=False)


_NEVER = Annotated[str, msgspec.Meta(min_length=1, max_length=0)]
_SOMETHING = int | float | str | bool | list[Any] | dict[str, Any]  # anything but null


def _struct_type(field: Field) -> Any:
    if field.kind == "array":
        items = field.type.items
        if items is None or items.logical is not None or items.kind not in _STRUCT_TYPES:
            return Any
        item: Any = _STRUCT_TYPES[items.kind]
        return Annotated[list[item], msgspec.Meta(max_length=field.max_items)]
    if field.logical is None and field.kind in _STRUCT_TYPES and not field.json:
        return _STRUCT_TYPES[field.kind]
    return Any
