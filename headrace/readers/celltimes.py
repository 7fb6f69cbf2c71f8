"""One cell of text as a time, exactly: numbers since 1970, and formats of strptime."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds; nanoseconds are cut off
_FACTORS = {**{unit: Decimal(n) for unit, n in PER_UNIT.items()}, "ns": Decimal("0.001")}
_MICROSECOND = timedelta(microseconds=1)


def scaled(text: str, unit: str, below: int = 2**63) -> int:
    """Microseconds of a number in s, ms, us or ns, rounded down. ValueError: it is none, or too far from 0."""
    try:
        value = Decimal(text) * _FACTORS[unit]
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or abs(value) >= below:
        raise ValueError(text)
    return int(value.to_integral_value(rounding="ROUND_FLOOR"))


def micros(when: datetime, zone: tzinfo = UTC) -> int:
    """Microseconds since 1970 UTC, exactly. `zone`: of a time without one."""
    aware = when if when.tzinfo is not None else when.replace(tzinfo=zone)
    return (aware - EPOCH) // _MICROSECOND


def check_format(form: str) -> None:
    """ValueError, with the words of strptime, where it does not know the format."""
    try:
        datetime.strptime(datetime.now(UTC).strftime(form), form)  # noqa: DTZ007 - only the format is tried
    except re.error as e:
        raise ValueError(str(e)) from None
