"""A payload that is one plain value, such as `21.5`, `true` or `some text`, to a reading with one field of it.

The topic says the rest: which device, and which field unless the route does. The reading's time is when the payload
came. A copy of a message looks like a second reading of the same value, so these readings are not identified.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, NamedTuple, NoReturn

import msgspec

from bridge.decoders import numbers
from bridge.decoders.base import Found, Reading, Refused, Skipped, Source
from bridge.decoders.unknown import json_text
from bridge.decoders.values import Reader, Texts, field_reader
from bridge.decoders.wording import missing, number_hint
from bridge.encode import encoder
from headrace.contracts.avro import NUMBERS
from headrace.contracts.model import Contract, Field
from headrace.contracts.onevalue import FIELD, fillable
from headrace.errors import PoisonError, Reason
from headrace.protocol.names import EXTRA, QUALITY
from headrace.protocol.wire import frame

MAX_BYTES = 4096  # of a payload
_MARK = b"\xef\xbb\xbf"  # a byte-order mark
_AROUND = " \t\r\n\0"
_TRUTH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


class _Slot(NamedTuple):
    """A field that a value can fill."""

    field: Field
    position: int
    kind: str  # which grammar the text has: "number", "boolean", "time" or "text"
    read: Reader
    sentinels: frozenset[str]


class ValueDecoder:
    """Decodes the values of one contract.

    `captures`: the levels of the topic that fill fields, each with a name that has been checked. `field`: the field to
    fill; when it is empty, the level that the route's filter calls {field} names it, or an alias of it.
    `zone`: of times that name none.
    """

    def __init__(
        self,
        contract: Contract,
        schema_id: int,
        captures: Sequence[str] = (),
        field: str = "",
        zone: tzinfo = UTC,
    ) -> None:
        self.ignored = 0
        self._encode = encoder(contract, frame(schema_id, b""))
        self._contract = contract.name
        self._position = {f.name: i for i, f in enumerate(contract.fields)}
        self._notes: list[str] = []  # of the reading at hand
        self._slots: dict[str, _Slot] = {}
        for f in fillable(contract):
            slot = _slot(f, self._position[f.name], self._notes, zone)
            self._slots.update(dict.fromkeys((f.name, *f.aliases), slot))
        self._slot = self._slots[field] if field else None
        self._captured = [(self._position[n], field_reader(contract.field(n)), n) for n in captures]
        raw = {f["name"]: f.get("default") for f in contract.schema["fields"]}
        self._defaults = [
            (i, raw[f.name], field_reader(f)) for i, f in enumerate(contract.fields) if raw[f.name] is not None
        ]
        millis = contract.field("event_time").logical == "timestamp-millis"
        self._tick = 1000 if millis else 1  # microseconds

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """As `Decoder` has it: one entry."""
        slot = self._slot or self._slots.get(source.captures[FIELD])
        if slot is None and source.unknown_fields != "keep":
            return [self._unknown(payload, source)]
        try:
            return [self._reading(slot, payload, source.captures, received)]
        except PoisonError as e:
            return [Refused(e, payload)]

    def element(self, payload: bytes, index: int) -> bytes:  # noqa: ARG002 - there is one
        """The whole payload."""
        return payload

    def marks(self, payload: bytes) -> dict[str, Any]:  # noqa: ARG002 - nothing in a value identifies it
        """Nothing."""
        return {}

    def _unknown(self, payload: bytes, source: Source) -> Found:
        if source.unknown_fields == "ignore":
            self.ignored += 1
            return Skipped("ignored")
        name = source.captures[FIELD][:80]
        words = f"{name}: the topic names a field that one value of the contract {self._contract} can't fill"
        return Refused(PoisonError(Reason.UNKNOWN_FIELD, words, field=name), payload)

    def _reading(self, slot: _Slot | None, payload: bytes, captures: Mapping[str, str], received: int) -> Reading:
        """The reading of a value for `slot`; None: the topic names no field of the contract, and the value is kept."""
        values: list[Any] = [None] * len(self._position)
        for i, default, read in self._defaults:
            values[i] = read(default)
        for i, read, name in self._captured:
            values[i] = read(captures[name])
        values[self._position["event_time"]] = received // self._tick
        text = _text(payload)
        self._notes.clear()
        if slot is None:
            values[self._position[EXTRA]] = json_text({captures[FIELD]: _as_json(text)})
        elif text in slot.sentinels:
            if not slot.field.nullable:
                words = f"{slot.field.name}: {text!r} means no value, and the field must have one"
                raise PoisonError(Reason.SENTINEL, words, field=slot.field.name, value=text)
            self._notes.append(f"{slot.field.name}:sentinel:null")
            values[slot.position] = None
        else:
            values[slot.position] = slot.read(_value(slot, text))
        values[self._position[QUALITY]] = ";".join(self._notes) or None
        device: str = values[self._position["device_id"]]
        return Reading(device, self._encode(values), identified=False)


def from_text(field: Field, *, comma: bool = False) -> Reader:
    """The function from a value of `field` as text to what its reader takes. `comma`: numbers are written as 21,5."""
    slot = _slot(field, 0, [])

    def value(text: str) -> Any:
        if comma and slot.kind in {"number", "time"}:
            text = numbers.with_point(text)
        if slot.kind == "number" and numbers.is_not_finite(text):
            return math.nan  # the reader decides
        return _value(slot, text)

    return value


def _slot(field: Field, position: int, notes: list[str], zone: tzinfo = UTC) -> _Slot:
    if field.logical == "decimal" or (field.kind in NUMBERS and field.logical is None):
        kind = "number"
    elif field.logical is not None:
        kind = "time"
    else:
        kind = "boolean" if field.kind == "boolean" else "text"
    sentinels = frozenset(s for s in field.sentinels if isinstance(s, str))
    return _Slot(field, position, kind, field_reader(field, notes, Texts(zone)), sentinels)


def _text(payload: bytes) -> str:
    """The payload's text, without what devices put around it: blanks, line ends, NULs, a byte-order mark, quotes."""
    if len(payload) > MAX_BYTES:
        words = f"{len(payload):,} bytes: a plain value has up to {MAX_BYTES:,}. Is it another format?"
        raise PoisonError(Reason.TOO_LARGE, words)
    try:
        text = payload.removeprefix(_MARK).decode().strip(_AROUND)
    except UnicodeDecodeError:
        words = "a plain value is text in UTF-8, such as 21.5, and these bytes are not"
        raise PoisonError(Reason.MALFORMED, words) from None
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return msgspec.json.decode(text, type=str)
        except msgspec.MsgspecError:  # quotes that belong to the text
            return text
    return text


def _as_json(text: str) -> Any:
    """The number or the boolean that the text is, else the text."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
    return found if isinstance(found, bool | int | float) else text


def _value(slot: _Slot, text: str) -> Any:
    """What the slot's reader takes: a number, a boolean or text."""
    name = slot.field.name
    if not text:
        raise missing(name, "is empty: a value is expected, such as 21.5 or true")
    if slot.kind == "text":
        return text
    if slot.kind == "boolean":
        found = _TRUTH.get(text.lower())
        return found if found is not None else _wrong(name, "true or false, on or off, 1 or 0", text)
    if slot.kind == "time" and not numbers.is_number(text):
        return text
    return _number(name, text, exact=slot.field.logical == "decimal")


def _number(name: str, text: str, *, exact: bool) -> int | float | str:
    if not numbers.is_number(text):
        _not_a_number(name, text)
    if len(text) > numbers.MAX_DIGITS:
        _wrong(name, f"a number of up to {numbers.MAX_DIGITS} digits", text)
    if exact:
        return text
    number = numbers.number(text)
    holds = type(number) is int or math.isfinite(number)  # isfinite can't take whole numbers of 400 digits
    return number if holds else _wrong(name, "a number that a double holds", text)


def _not_a_number(name: str, text: str) -> NoReturn:
    if numbers.is_not_finite(text):
        words = f"{name}: {text} is not a value. If the device means that it has none, add it to the field's sentinels"
        raise PoisonError(Reason.NOT_FINITE, words, field=name, value=text)
    _wrong(name, "a number", text, number_hint(text, quotes=""))


def _wrong(name: str, wanted: str, text: str, hint: str = "") -> NoReturn:
    words = f"{name}: {wanted} expected, not {text[:80]!r}{hint}"
    raise PoisonError(Reason.WRONG_TYPE, words, field=name, value=text)
