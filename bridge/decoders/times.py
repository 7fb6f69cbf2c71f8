"""The times of samples, computed without loss: a sum of floats drifts by microseconds within a minute."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from bridge.decoders.values import zoned
from headrace.errors import PoisonError, Reason

MICROSECONDS = {"s": Fraction(1_000_000), "ms": Fraction(1_000), "us": Fraction(1), "ns": Fraction(1, 1_000)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = 40  # before and after the point: 1e999999999 as an exact number would fill the memory


def exact(name: str, value: Any) -> Fraction:
    """A number as it is written: 0.1 is a tenth. PoisonError for what is no number, or has hundreds of digits.

    `value`: a whole number, a decimal or a float, which stands for the shortest text that it is the nearest float to.
    """
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
    return Fraction((zoned(name, value, zone) - _EPOCH) // timedelta(microseconds=1))


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
