"""One field of a contract: where it is in an object, and how it is read."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from bridge.decoders.numbers import of_text
from bridge.decoders.plan import Plan
from bridge.decoders.times import timestamp
from bridge.decoders.values import Reader, Texts, field_reader, nulled
from headrace.config.fields import FieldSource
from headrace.contracts import conversion
from headrace.contracts.model import Contract, Field
from headrace.errors import PoisonError, Reason
from headrace.protocol import paths
from headrace.protocol.names import DEVICE

FromText = Callable[[Field], Reader]
Pick = Callable[[Mapping[str, Any]], tuple[Any, bool]]
_NOTHING = FieldSource(path="none")


class Row:
    """How one field is found in an object, and read. `notes`: where its reader writes what it changed."""

    def __init__(
        self, field: Field, contract: Contract, notes: list[str], plan: Plan, from_text: FromText | None = None
    ) -> None:
        self.name = field.name
        self.nullable = field.nullable
        source = plan.sources.get(field.name)
        unit = source.unit if source is not None and not _is_time(field) else ""
        # In the contract's unit clean judges numbers; a sentinel would be none after a conversion.
        self.sentinels = frozenset(s for s in field.sentinels if isinstance(s, str) or unit)
        self.default = default(field, contract)
        self._source = source
        self.path = source.path if source is not None else ""
        self.property = source.property if source is not None else ""  # of the message, which has the value
        self._keys = (field.name, *field.aliases)
        # Whether a finite float is a value as it is: then nobody needs to read it.
        self.plain = field.kind == "double" and not unit
        self._path = paths.parse(source.path, "path") if source is not None and source.path else ()
        self._explode = plan.explode
        self._parts = plan.device if field.name == DEVICE else ()
        self.pick: Pick = self._of_parts if self._parts else self._pick()
        self.keys = self._keys if self.pick == self._of_names else ()  # it is at one of these, and nowhere else
        read = _reader(field, notes, source, plan.texts)
        if unit:
            read = _converted(read, unit, field.unit or "", plan.texts.mark)
        read = nulled(field.name, read, notes) if field.nullable else read
        read = of_texts(read, field, source, from_text)
        self.read = read if field.name != DEVICE else lambda v: read(as_name(v))

    def _pick(self) -> Pick:
        """(the field's value, whether it is the payload's): its default where it is absent.

        PoisonError when two of its keys are there.
        """
        source = self._source
        if source is None:
            return self._of_names if not self._explode else self._of_element
        if source.value is not None:
            return lambda _: (source.value, False)
        return self._of_path if source.path else lambda _: (None, False)

    def _of_names(self, found: Mapping[str, Any]) -> tuple[Any, bool]:
        keys = [k for k in self._keys if k in found]
        if len(keys) > 1:
            raise PoisonError(
                Reason.MALFORMED, f"{self.name}: given twice, as {' and as '.join(keys)}", field=self.name
            )
        return (found[keys[0]], True) if keys else (self.default, False)

    def _of_element(self, found: Mapping[str, Any]) -> tuple[Any, bool]:
        element = paths.find(self._explode, found)
        value, given = self._of_names(element) if isinstance(element, dict) else (None, False)
        return (value, given) if given else self._of_names(found)

    def _of_parts(self, found: Mapping[str, Any]) -> tuple[Any, bool]:
        parts = [as_name(paths.find(path, found)) for path in self._parts]
        if len(parts) == 1 or not any(part is not None for part in parts):
            return parts[0], parts[0] is not None
        for part in parts:
            if part is not None and (not isinstance(part, str) or "/" in part):
                words = (
                    f"{self.name}: {part!r:.80} can't be a part of the device's name: text without slashes, or a whole "
                    "number. Name it by one path in device.path, or have the device send another name"
                )
                raise PoisonError(Reason.BAD_NAME, words, field=self.name, value=f"{part!r:.80}")
        return "/".join(part or "" for part in parts), True

    def _of_path(self, found: Mapping[str, Any]) -> tuple[Any, bool]:
        value = paths.find(self._path, found)
        return (value, True) if value is not None else (self.default, False)


def as_name(value: Any) -> Any:
    """A whole number that names a device, as text; anything else as it is."""
    return str(value) if type(value) is int else value


def default(field: Field, contract: Contract) -> Any:
    """The default that the contract gives a field, None where it gives none."""
    return next(f.get("default") for f in contract.schema["fields"] if f["name"] == field.name)


def of_texts(read: Reader, field: Field, source: FieldSource | None, from_text: FromText | None) -> Reader:
    """The same reader, of text too where `from_text` is there: of a time with a format it is its reader's already."""
    if from_text is None or (source is not None and source.format):
        return read
    value = from_text(field)
    return lambda v: read(value(v) if type(v) is str else v)


def time_reader(field: Field, source: FieldSource | None, zone: tzinfo, first: float | None = None) -> Reader:
    """The reader of a time of a contract, as a route says. `first`: the earliest that can be, in the field's ticks."""
    it = source or _NOTHING
    tick = 1_000_000 if field.logical == "timestamp-millis" else 1_000
    unit = it.unit or field.time_unit
    return timestamp(field.name, unit, tick, first, zone=zone, form=it.format, digits=bool(it.unit))


def _reader(field: Field, notes: list[str], source: FieldSource | None, texts: Texts) -> Reader:
    return time_reader(field, source, texts.zone) if _is_time(field) else field_reader(field, notes, texts)


def _is_time(field: Field) -> bool:
    return (field.logical or "").startswith("timestamp-")


def _converted(read: Reader, source: str, target: str, mark: str) -> Reader:
    convert = conversion.convert(source, target)
    assert convert is not None  # the configuration has been checked

    def one(v: Any) -> Any:
        if mark and type(v) is str:
            v = of_text(v, mark)
        try:
            return convert(v) if type(v) is float or type(v) is int else v
        except OverflowError:
            return v  # the reader refuses it

    return lambda v: read([one(x) for x in v] if type(v) is list else one(v))
