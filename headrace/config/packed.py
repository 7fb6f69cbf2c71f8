"""The little language for packed binary payloads: what a line such as `i16 ax * 0.001` says, and what can't be."""

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from headrace.config.base import Section, Unit

Step = Annotated[float, Field(gt=0, lt=1e12)]
Order = Literal["little", "big"]
MAX_BYTES = 65_536  # of a header, of a sample, of a trailer
_LINE = re.compile(
    r"(?P<type>[a-z]+[0-9]*(?:le|be)?)(?:\[(?P<items>[0-9]{1,5})\])?"
    r"\s+(?P<name>[A-Za-z_][A-Za-z0-9_.]{0,63})"
    r"(?:\s*=\s*(?P<must>[-+]?[0-9]{1,20}|0x[0-9a-fA-F]{1,16}))?"
    r"(?:\s*\*\s*(?P<factor>[-+]?[0-9.]{1,30}(?:[eE][-+]?[0-9]{1,3})?))?"
    r"(?:\s*/\s*(?P<divisor>[-+]?[0-9.]{1,30}(?:[eE][-+]?[0-9]{1,3})?))?"
    r"(?:\s*(?P<sign>[-+])\s*(?P<offset>[0-9.]{1,30}(?:[eE][-+]?[0-9]{1,3})?))?",
    re.ASCII,
)
_TYPE = re.compile(r"([uif])(8|16|24|32|64)(le|be)?|char")
_ORDERS: dict[str, Order] = {"le": "little", "be": "big"}
TYPES = "u8, i8, u16, i16, u24, i24, u32, i32, u64, i64, f32, f64 or char[N]"


class Item(NamedTuple):
    """A field of a packed payload. `name` is empty for bytes that say nothing."""

    name: str
    kind: str  # "u", "i", "f" or "char"
    size: int  # bytes of one
    items: int  # how many; 0: one, which is no list
    order: Order
    must: int | None  # the value that it must have
    factor: float
    divisor: float  # a division by 100 gives the nearest float; a multiplication with 0.01 does not
    offset: float

    @property
    def bytes(self) -> int:
        """How many it takes."""
        return self.size * (self.items or 1)


class Packed(Section):
    """Binary fields one behind the other: a header, then samples, then a trailer. A line is a field of it.

    `i16 ax * 9.80665 / 16384`: type, name, then what the number is multiplied with and divided by, and what is added
    (`+ 5`, `- 40`). Types: u8, i8, u16, i16, u24, i24, u32, i32, u64, i64, f32, f64 (le or be behind one goes before
    `order`), and char[N], text of N bytes; u8[3] is a list. `u8 version = 2` must have that value, and `_` is a name
    for bytes that say nothing.
    """

    order: Order = Field("little", description="of the bytes of a number")
    header: tuple[str, ...] = Field((), description="fields at the beginning; each sample has them")
    sample: tuple[str, ...] = Field((), description="fields of one sample; without, the message is one reading")
    trailer: tuple[str, ...] = Field((), description="fields at the end; each sample has them")
    count: str = Field("", description="header field with the number of samples; without, as many as there are bytes")
    time: str = Field("", description="field with the time: of the first sample in the header, or of each sample")
    unit: Unit = Field("s", description="of the time, since 1970 UTC")
    step: str | Step = Field("", description="time from one sample to the next: a header field, or a number")
    rate: str | Step = Field("", description="samples a second, in place of a step: a header field, or a number")
    step_unit: Unit | None = Field(None, description="of the step; that of the time when left out")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problem := next(_problems(self), None):
            raise ValueError(problem)
        return self


def items(lines: Sequence[str], order: Order) -> list[Item]:
    """The fields that these lines describe. ValueError: which line is wrong, and what it may be."""
    return [_item(line, order) for line in lines]


def number(told: str | float) -> Decimal | None:
    """A step or rate that is a number; None where it is the name of a field."""
    return None if isinstance(told, str) else Decimal(repr(told))


def _problems(layout: Packed) -> Iterator[str]:
    """What is wrong with a layout, each in words."""
    try:
        header, sample, trailer = (items(x, layout.order) for x in (layout.header, layout.sample, layout.trailer))
    except ValueError as e:
        yield str(e)
        return
    for part, found in (("header", header), ("sample", sample), ("trailer", trailer)):
        if sum(item.bytes for item in found) > MAX_BYTES:
            yield f"{part}: it may have up to {MAX_BYTES:,} bytes"
    if not [*header, *sample]:
        yield "nothing is described. Give header, sample, or both: a line a field, such as `i16 ax / 1000`"
    names = [item.name for item in (*header, *sample, *trailer) if item.name]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        yield f"{name} is there twice. Rename one of them"
    whole = {item.name for item in header if item.kind in {"u", "i"} and not item.items}
    numbers = {item.name for item in header if item.kind != "char" and not item.items}
    timed = numbers | {item.name for item in sample if item.kind != "char" and not item.items}
    if layout.count and layout.count not in whole:
        yield f"count: {layout.count} is no whole number of the header"
    if layout.time and layout.time not in timed:
        yield f"time: {layout.time} is no number of the header or the sample"
    for key, text in (("step", layout.step), ("rate", layout.rate)):
        if text and isinstance(text, str) and text not in numbers:
            yield f"{key}: {text} is neither a number nor a number of the header"
    yield from _time_problems(layout, {item.name for item in sample})


def _time_problems(layout: Packed, sample: set[str]) -> Iterator[str]:
    between = bool(layout.step) + bool(layout.rate)
    if layout.count and not layout.sample:
        yield "count: there are no samples. Describe one in `sample`, or remove this key"
    if between == 2:
        yield "step and rate say the same. Remove one of them"
    if between and (not layout.time or layout.time in sample):
        yield "step or rate: it needs `time`, the header's field with the time of the first sample"
    if layout.sample and layout.time and layout.time not in sample and not between:
        yield "time: it is the first sample's. Give `step` or `rate` too, for the others"


def _item(line: str, order: Order) -> Item:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ValueError(f"{line!r}: a field is written as `i16 ax`, `u16 temperature / 100 - 40` or `u8 version = 2`")
    kind = _TYPE.fullmatch(found["type"])
    if kind is None or (kind[1] == "f" and kind[2] in {"8", "16", "24"}):
        raise ValueError(f"{line!r}: {found['type']} is no type. Use {TYPES}")
    text = found["type"] == "char"
    name = "" if found["name"] == "_" else found["name"]
    count = int(found["items"] or 0)
    if (found["items"] and not count) or (text and not count):
        raise ValueError(f"{line!r}: say how many in brackets, at least one, such as char[8]")
    scaled = found["factor"] or found["divisor"] or found["sign"]
    if (scaled or found["must"]) and (text or not name):
        raise ValueError(f"{line!r}: only a number with a name has a value, a scale or an offset")
    if found["must"] and (kind[1] == "f" or count or scaled):
        raise ValueError(f"{line!r}: only one whole number without scale and offset can be asked to have a value")
    factor, divisor = (_float(line, found[key] or "1") for key in ("factor", "divisor"))
    offset = _float(line, found["offset"] or "0")
    if factor == 0 or divisor == 0:
        raise ValueError(f"{line!r}: a scale of 0 leaves nothing")
    return Item(
        name=name,
        kind="char" if text else kind[1],
        size=1 if text else int(kind[2]) // 8,
        items=count,
        order=_ORDERS.get(kind[3] or "", order),
        must=int(found["must"], 0) if found["must"] else None,
        factor=factor,
        divisor=divisor,
        offset=-offset if found["sign"] == "-" else offset,
    )


def _float(line: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{line!r}: {text} is no number")
    return value
