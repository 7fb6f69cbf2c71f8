"""Packed binary payloads to an object for each sample: header, samples and trailer as the route describes them."""

import struct
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from bridge.decoders import times
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.parsed import Parser, Table
from headrace.config import packed
from headrace.config.packed import Item, Packed
from headrace.errors import PoisonError, Reason

_CODES = {("u", 1): "B", ("u", 2): "H", ("u", 4): "I", ("u", 8): "Q", ("f", 4): "f", ("f", 8): "d"}
_CODES |= {("i", size): code.lower() for (kind, size), code in _CODES.items() if kind == "u"}
_SIGNS = {"little": "<", "big": ">"}
_CORRECT = "Correct the layout in the route's packed, or see whether the device cuts its messages"
Take = Callable[[Sequence[Any]], list[Any]]


def parser(layout: Packed) -> Parser:
    """The parser of payloads with this layout."""
    table = _Payload(layout).table
    return Parser(lambda payload: table(payload).objects(), table=table)


class _Payload:
    """How the payloads of one layout are read."""

    def __init__(self, layout: Packed) -> None:
        self._layout = layout
        self._header = _Part(packed.items(layout.header, layout.order))
        self._sample = _Part(packed.items(layout.sample, layout.order))
        self._trailer = _Part(packed.items(layout.trailer, layout.order))
        self._each = layout.time in self._sample.names
        self._step, self._rate = packed.number(layout.step), packed.number(layout.rate)
        self._is_told = isinstance(layout.rate or layout.step, str) and bool(layout.rate or layout.step)
        self._always: Fraction | None = None  # the time between two samples, where no payload tells it
        self._consumed = {layout.count, layout.time} - {""}
        self._consumed |= {told for told in (layout.step, layout.rate) if told and isinstance(told, str)}

    def table(self, payload: bytes) -> Table:
        """The samples, in order, with `event_time` where the layout has a time. Raises PoisonError."""
        header, sample, trailer = self._header, self._sample, self._trailer
        least = header.size + trailer.size
        if len(payload) < least:
            words = f"{len(payload):,} bytes: header and trailer of the layout alone take {least:,}. {_CORRECT}"
            raise PoisonError(Reason.MALFORMED, words)
        end = len(payload) - trailer.size
        head, tail = header.read(payload[: header.size]), trailer.read(payload[end:])
        common = {name: column[0] for name, column in (head | tail).items()}
        count = self._count(common, end - header.size)
        samples = sample.read(payload[header.size : end])
        moments = self._moments(common, samples, count)
        left_out = self._consumed if not self._each else {*self._consumed, self._layout.time}
        columns: dict[str, Sequence[Any]] = {k: (v,) * count for k, v in common.items() if k not in left_out}
        columns |= samples
        if moments:
            columns["event_time"] = moments
        return Table(columns, count)

    def _count(self, common: dict[str, Any], size: int) -> int:
        """How many samples there are in `size` bytes. PoisonError where that is none, too many, or no whole number."""
        each = self._sample.size
        count, over = divmod(size, each) if each else (1, size)
        if over:
            words = f"{size:,} bytes of samples, and one of the layout has {each:,}" if each else f"{size:,} bytes more"
            raise PoisonError(Reason.MALFORMED, f"{words}: the payload does not fit the layout. {_CORRECT}")
        if self._layout.count and common[self._layout.count] != count:
            told = common[self._layout.count]
            words = f"{self._layout.count}: {told} samples are promised, and there are {count:,}. {_CORRECT}"
            raise PoisonError(Reason.MALFORMED, words, field=self._layout.count)
        if count > MAX_ELEMENTS:
            words = f"{count:,} samples, and a message may have {MAX_ELEMENTS:,}: send them in several"
            raise PoisonError(Reason.TOO_LARGE, words)
        return count

    def _moments(self, common: dict[str, Any], samples: dict[str, Sequence[Any]], count: int) -> list[datetime]:
        name, unit = self._layout.time, self._layout.unit
        if not name:
            return []
        if self._each:
            return times.at(times.instant(name, v, unit) for v in samples.pop(name, ()))
        between = self._always if self._always is not None else self._between(common)
        self._always = None if self._is_told else between
        return times.moments(times.instant(name, common[name], unit), between, count)

    def _between(self, common: dict[str, Any]) -> Fraction:
        layout = self._layout
        if layout.rate:
            hertz = _told(layout.rate, self._rate, common)
            if hertz <= 0:
                words = f"{layout.rate}: samples a second expected"
                raise PoisonError(Reason.OUT_OF_RANGE, words, field=str(layout.rate))
            return times.MICROSECONDS["s"] / hertz
        if layout.step:
            return _told(layout.step, self._step, common) * times.MICROSECONDS[layout.step_unit or layout.unit]
        return Fraction(0)


class _Part:
    """The fields of a header, of a sample or of a trailer."""

    def __init__(self, items: list[Item]) -> None:
        self.names = [item.name for item in items if item.name]
        self._musts = [(item.name, item.must) for item in items if item.must is not None]
        main = next((item.order for item in items if item.size > 1), "little")
        read = [_reader(item, main) for item in items]
        self._takes = [(item.name, take) for item, (_, take) in zip(items, read, strict=True) if item.name]
        self._struct = struct.Struct(_SIGNS[main] + "".join(code for code, _ in read))
        self.size = self._struct.size

    def read(self, payload: bytes) -> dict[str, Sequence[Any]]:
        """The values of each field, as often as the fields follow one another in `payload`."""
        if not self.size or not payload:
            return {}
        columns = zip(*self._struct.iter_unpack(payload), strict=True)
        found: dict[str, Sequence[Any]] = {
            name: column if take is None else take(column)
            for (name, take), column in zip(self._takes, columns, strict=True)
        }
        for name, must in self._musts:
            if any(value != must for value in found.pop(name)):
                words = f"{name}: the layout is for {must}, and the payload has another number there"
                raise PoisonError(Reason.MALFORMED, words, field=name)
        return found


def _reader(item: Item, main: str) -> tuple[str, Take | None]:
    """The code of a field for `struct` in the byte order `main`, and what is then to be done with its column."""
    if not item.name:
        return f"{item.bytes}x", None
    if item.kind == "char":
        return f"{item.bytes}s", lambda column: [_text(item.name, v) for v in column]
    scale = _scale(item)
    code = _CODES.get((item.kind, item.size), "")
    if code and not item.items and (item.order == main or item.size == 1):
        return code, scale
    one = _numbers(item, code)
    read = one if scale is None else lambda column: scale(one(column))
    if not item.items:
        return f"{item.bytes}s", read
    size = item.size
    return f"{item.bytes}s", lambda column: [read([v[i : i + size] for i in range(0, len(v), size)]) for v in column]


def _numbers(item: Item, code: str) -> Take:
    order, signed = item.order, item.kind == "i"
    if item.kind == "f":
        unpack = struct.Struct(_SIGNS[order] + code).unpack
        return lambda column: [unpack(v)[0] for v in column]
    return lambda column: [int.from_bytes(v, order, signed=signed) for v in column]


def _scale(item: Item) -> Take | None:
    factor, divisor, offset = item.factor, item.divisor, item.offset
    if factor == divisor == 1:
        if not offset:
            return None
        if offset.is_integer() and item.kind != "f":  # exact, where a float would round microseconds
            whole = int(offset)
            return lambda column: [v + whole for v in column]
    return lambda column: [v * factor / divisor + offset for v in column]


def _text(name: str, value: bytes) -> str:
    try:
        return value.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise PoisonError(Reason.WRONG_TYPE, f"{name}: text in UTF-8 expected", field=name) from None


def _told(name: str | float, number: Decimal | None, common: dict[str, Any]) -> Fraction:
    return times.exact(str(name), common[str(name)] if number is None else number)
