"""A payload of a format that a parser reads whole, such as CBOR or CSV, to readings.

A format beside JSON is a file with functions that make a `Parser`; everything else is here and in `objects.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bridge.decoders.base import Found, Refused, Skipped, Source
from bridge.decoders.copies import MAX_BYTES, MAX_ELEMENTS, too_much
from bridge.decoders.objects import ObjectReader
from bridge.decoders.wording import empty
from headrace.errors import PoisonError, Reason


class Table(NamedTuple):
    """Objects that have the same keys: the values of each key, one for each object."""

    columns: Mapping[str, Sequence[Any]]
    length: int

    def objects(self) -> list[dict[str, Any]]:
        """The objects, one by one."""
        if not self.columns:
            return [{} for _ in range(self.length)]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]


class Parser(NamedTuple):
    """How a format is read. All functions are pure.

    `parse`: the objects of a payload, in their order: one for each reading, at most a little over MAX_ELEMENTS; or why
    one of them can't be read, where `split` is there. PoisonError, and no other, for bytes that are not the format. It
    takes time and memory in proportion to the bytes.

    `split`: the bytes of each object as a payload of its own, which `parse` takes. None where a payload can't be split:
    then one bad element makes the whole payload a dead letter.

    `table`: where all objects of a payload have the same keys, what `parse` gives, as a table.
    """

    parse: Callable[[bytes], Sequence[dict[str, Any] | PoisonError]]
    split: Callable[[bytes], list[bytes]] | None = None
    table: Callable[[bytes], Table] | None = None


class ParsedDecoder:
    """A `Decoder` made of a parser and of the reader of its objects."""

    def __init__(self, parser: Parser, reader: ObjectReader) -> None:
        self.ignored = 0
        self._parse, self._split, self._table = parser
        self._reader = reader

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """As `Decoder` has it: an entry for each object."""
        if not payload:
            return [Refused(empty(), payload)]
        try:
            if self._table is None:
                objects = self.objects(payload, source)
            else:
                table = self._table(payload)
                alike = self._reader.read_columns(table.columns, source, received)
                if alike and sum(len(one.value) for one in alike) <= MAX_BYTES:
                    self.ignored += self._reader.take_ignored()
                    return [*alike]
                objects = table.objects()
            if len(objects) > MAX_ELEMENTS:
                why = f"more than {MAX_ELEMENTS:,} readings in one message: send them in several"
                raise PoisonError(Reason.TOO_LARGE, why)
        except PoisonError as e:
            return [Refused(e, payload)]
        found: list[Found] = []
        parts: list[bytes] = []
        size = 0
        for index, one in enumerate(objects):
            try:
                if isinstance(one, PoisonError):
                    raise one
                reading = self._reader.read(one, source, received)
                size += len(reading.value)
                found.append(reading)
            except PoisonError as e:
                if self._split is None:
                    return [Refused(_numbered(e, index, len(objects)), payload)]
                parts = parts or self._split(payload)
                size += len(parts[index])
                found.append(Refused(e, parts[index]))
            if size > MAX_BYTES:
                return [Refused(too_much(), payload)]
        self.ignored += self._reader.take_ignored()
        return found or [Skipped("empty")]

    def objects(self, payload: bytes, source: Source) -> Sequence[dict[str, Any] | PoisonError]:  # noqa: ARG002 - others do
        """What `Parser.parse` gives."""
        return self._parse(payload)

    def element(self, payload: bytes, index: int) -> bytes:
        """One object as a payload of its own; the whole payload where the format can't be split."""
        return payload if self._split is None else self._split(payload)[index]

    def marks(self, payload: bytes) -> Mapping[str, Any]:
        """As `Decoder` has it."""
        try:
            objects = self._parse(payload)
        except PoisonError:
            objects = []
        return self._reader.marks(next((one for one in objects if isinstance(one, dict)), {}))


def _numbered(error: PoisonError, index: int, count: int) -> PoisonError:
    """The error, with the number of the reading that it is about."""
    if count == 1:
        return error
    words = f"reading {index + 1} of {count:,}: {error}"
    numbered = PoisonError(error.reason, words, field=error.field, value=error.value)
    numbered.device = error.device
    return numbered
