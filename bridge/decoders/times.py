"""Times as payloads have them; those of samples without loss, as a sum of floats drifts by microseconds in a minute."""

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NoReturn

from bridge.decoders.wording import short, wrong
from headrace.contracts.times import NANOSECONDS, date, meant
from headrace.errors import PoisonError, Reason

MICROSECONDS = {"s": Fraction(1_000_000), "ms": Fraction(1_000), "us": Fraction(1), "ns": Fraction(1, 1_000)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_YEAR_10000 = 253_402_300_800  # its first second, since 1970 UTC
_NUMBER = re.compile(r"-?\d{1,19}(?:\.\d{0,19})?", re.ASCII)
_MOST = 10**39  # whole numbers below it have fewer digits than these:
_DIGITS = 40  # before and after the point: 1e999999999 as an exact number would fill the memory


def timestamp(
    name: str,
    unit: str,
    tick: int,
    first: float | None = None,
    *,
    zone: tzinfo = UTC,
    form: str = "",
    digits: bool = False,
) -> Callable[[Any], int]:
    """A reader of times: ISO 8601 text (of `zone` where it names none), a number of `unit`s since 1970, or a datetime.

    `form`: text is in this format of strptime instead. `digits`: the route says the unit, and text may be such a number
    too.

    The answer is in ticks of `tick` nanoseconds; what is finer is cut off, and a float goes to the nearest tick.
    Times before `first` (in ticks) or after the year 9999 can't be: refused here, and not by clean, their dead letters
    have the payload, so that it can be read again with the right unit.
    """
    scale = NANOSECONDS[unit]
    low, high = -(2**63) if first is None else first, _YEAR_10000 * 1_000_000_000 // tick

    def read(v: Any) -> int:
        if type(v) is int:
            ticks = v if scale == tick else v * scale // tick
        elif type(v) is float and math.isfinite(v):
            ticks = _from_float(v, scale, tick)
        elif type(v) is datetime:  # of a parser that knows unit and zone
            ticks = (v - _EPOCH) // _MICROSECOND * 1_000 // tick
        elif type(v) is str:
            if digits and _NUMBER.fullmatch(v):
                return read(int(v) if v.isdecimal() else float(v))
            when = zoned(name, v, zone, form)
            ticks = (when - _EPOCH) // _MICROSECOND * 1_000 // tick
        else:
            wrong(name, "a time as ISO 8601 text or a number", v)
        if not low <= ticks < high:
            hint = meant(ticks * tick // scale, unit, *((f"fields.{name}.unit", "the route") if digits else ()))
            _impossible(name, v, ticks * tick, unit, hint, None if first is None else int(first) * tick)
        return ticks

    return read


def zoned(name: str, v: str, zone: tzinfo, form: str = "") -> datetime:
    """The time that text says, in ISO 8601 or in the format `form` of strptime; in `zone` where it names none.

    Of a local time that came twice, as the clocks went back, the first; PoisonError for one that never came.
    """
    try:
        when = datetime.strptime(v, form) if form else datetime.fromisoformat(v)  # noqa: DTZ007 - the zone follows
    except ValueError:
        wrong(name, f"a time as {form} has it" if form else "a time as ISO 8601 text or a number", v)
    if when.tzinfo is not None:
        return when
    there = when.replace(tzinfo=zone)
    if zone is UTC:
        return there
    try:
        came = there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == when
    except OverflowError:
        came = False
    if not came:
        words = f"{name}: {short(v)} never came in {zone}: the clocks went forward over it. Is the time zone right?"
        raise PoisonError(Reason.OUT_OF_RANGE, words, field=name, value=v)
    return there


def _impossible(name: str, v: Any, nanoseconds: int, unit: str, hint: str, first: int | None) -> NoReturn:
    when = date(nanoseconds)
    what = f"{short(v)} {unit}, {when}{hint}," if type(v) in {int, float} else short(v)
    bound = "no date of the calendar" if first is None or nanoseconds > first else f"before {date(first)}"
    raise PoisonError(Reason.OUT_OF_RANGE, f"{name}: {what} is {bound}", field=name, value=short(v))


def _from_float(v: float, scale: int, tick: int) -> int:
    """The nearest tick: cutting off would lose one where a float lies just below what was meant."""
    whole = int(v)
    nanoseconds = whole * scale + round((v - whole) * scale)
    return (nanoseconds + tick // 2) // tick


def exact(name: str, value: Any) -> Fraction:
    """A number as it is written: 0.1 is a tenth. PoisonError for what is no number, or has hundreds of digits.

    `value`: a whole number, a decimal or a float, which stands for the shortest text that it is the nearest float to.
    """
    if type(value) is int and abs(value) < _MOST:
        return Fraction(value)
    if type(value) in {int, float, Decimal}:
        try:
            number = Decimal(repr(value) if type(value) is float else value)
        except InvalidOperation:
            number = Decimal("nan")
        if number.is_finite() and abs(number.adjusted()) < _DIGITS and len(number.as_tuple().digits) < _DIGITS:
            return Fraction(number)
        raise PoisonError(Reason.WRONG_TYPE, f"{name}: a number of fewer digits expected", field=name)
    raise PoisonError(Reason.WRONG_TYPE, f"{name}: a number expected", field=name)


def instant(name: str, value: Any, unit: str, zone: tzinfo = UTC) -> Fraction:
    """Microseconds since 1970 UTC: of a number of `unit`s (s, ms, us, ns), or of text in ISO 8601.

    `zone`: of text that names none.
    """
    if type(value) is not str:
        return exact(name, value) * MICROSECONDS[unit]
    return Fraction((zoned(name, value, zone) - _EPOCH) // _MICROSECOND)


def moments(start: Fraction, step: Fraction, count: int) -> list[datetime]:
    """The times of `count` samples: `start` and each `step` later. Both in microseconds; what is finer is cut off."""
    below = math.lcm(start.denominator, step.denominator)
    first, more = int(start * below), int(step * below)
    return at([(first + more * i) // below for i in range(count)])


def at(microseconds: Iterable[Fraction | int]) -> list[datetime]:
    """The times of these microseconds since 1970 UTC. PoisonError where one is outside the years 1 to 9999."""
    try:
        return [_EPOCH + timedelta(microseconds=n if type(n) is int else math.floor(n)) for n in microseconds]
    except OverflowError:
        words = "event_time: outside the years 1 to 9999. Is the unit of the route right?"
        raise PoisonError(Reason.OUT_OF_RANGE, words, field="event_time") from None
