"""Times in words, for refusals: the number with its unit, the date that it is, and which unit was probably meant."""

from datetime import UTC, datetime, timedelta

NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
TICKS = {"timestamp-millis": 1_000_000, "timestamp-micros": 1_000}  # nanoseconds of a logical type's unit

_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIKELY = range(2000, 2100)  # years in which a reading was probably taken


def stored(ticks: int, logical: str, unit: str) -> str:
    """A stored time, as the payload had it: "1795428000 us, 1970-01-01T00:29:55Z (did you mean seconds, ...?)".

    `ticks`: since 1970 UTC, in the unit of the `logical` type. `unit`: the contract's `time_unit`.
    """
    nanoseconds = ticks * TICKS[logical]
    number = nanoseconds // NANOSECONDS[unit]
    return f"{number} {unit}, {date(nanoseconds)}{meant(number, unit)}"


def bound(ticks: float, logical: str) -> str:
    """A minimum or maximum of a time, as a date."""
    return date(int(ticks) * TICKS[logical])


def date(nanoseconds: int) -> str:
    """Nanoseconds since 1970 UTC in ISO 8601, without a fraction; in words where the calendar does not reach."""
    try:
        return (_EPOCH + timedelta(seconds=nanoseconds // NANOSECONDS["s"])).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return "after the year 9999" if nanoseconds > 0 else "before the year 1"


def meant(number: int, unit: str, key: str = '"time_unit"', place: str = "the contract") -> str:
    """A question, with the remedy, where `number` in another unit than `unit` is a likely date; else nothing.

    `key`: what says the unit, in `place`.
    """
    for other, name in _NAMES.items():
        try:
            when = _EPOCH + timedelta(seconds=number * NANOSECONDS[other] // NANOSECONDS["s"])
        except OverflowError:
            continue
        if other != unit and when.year in _LIKELY:
            return f' (did you mean {name}, {when:%Y-%m-%d}? Then set {key}: "{other}" in {place})'
    return ""
