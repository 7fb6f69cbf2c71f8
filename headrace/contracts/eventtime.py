"""Finds which key of a payload, at any depth, says when a reading was taken, and how the times there are written."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.attributes import TimeUnit
from headrace.contracts.naming import snake

# The years 2000 to 2100, in seconds. A number in this range, in one of the units, is taken as a time.
FIRST, LAST = 946_684_800, 4_102_444_800
MAX_DEPTH = 4  # keys that lead to a time
_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_KEYS = (
    "event_time", "timestamp", "ts", "time", "datetime", "date_time", "time_stamp", "measured_at", "recorded_at",
    "sampled_at", "observed_at", "measurement_time", "reading_time", "sample_time", "gps_time", "tst", "created_at",
    "sent_at", "event_timestamp", "sample_timestamp", "source_timestamp", "device_timestamp", "device_time",
    "time_of_sample", "event_ts", "time_utc", "utc", "epoch", "unix_time", "unixtime", "t", "dt", "last_seen",
    "last_updated", "reported_at", "published_at", "updated_at", "received_at", "server_timestamp", "server_time",
)  # fmt: skip
_QUOTED = re.compile(r"\d{10,19}(?:\.\d{1,9})?", re.ASCII)  # "1795428011": a date of ISO 8601 has 8 digits
# Forms in which day and month can't be confused, of strptime.
_FORMS = ("%Y.%m.%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S UTC")
_DIGITS, _DATE_DIGITS = re.compile("[0-9]"), 6
_SUFFIXES = ("", "_s", "_sec", "_ms", "_us", "_ns", "_millis", "_micros", "_nanos", "_utc")
_RANK = {f"{k}{suffix}": i for i, k in enumerate(_KEYS) for suffix in _SUFFIXES}


@dataclass(frozen=True)
class Time:
    """Where the time is, and how it is written. `unit` is None when all are text."""

    keys: tuple[str, ...]  # that lead to it from the top
    unit: TimeUnit | None
    zoned: bool  # every text names its zone
    quoted: bool = False  # numbers of that unit, in quotes
    form: str = ""  # of texts that are not ISO 8601: as strptime has it

    @property
    def mapped(self) -> bool:
        """Whether the route has to say where and what it is; else an alias in the contract does."""
        return len(self.keys) > 1 or self.quoted or self.form != ""

    @property
    def source(self) -> str | dict[str, str]:
        """What the route says."""
        how = {"format": self.form} if self.form else {"unit": self.unit} if self.unit is not None else {}
        return {"path": self.path, **how} if how else self.path

    @property
    def path(self) -> str:
        """The keys as a route's path has them."""
        return "".join(map(_step, self.keys)).removeprefix(".")


def times(readings: Sequence[dict[str, Any]]) -> list[Time]:
    """Every key that may hold the time of a reading, the likeliest first: those at the top, then by their names."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for reading in readings:
        for keys, value in _leaves(reading, ()):
            found.setdefault(keys, []).append(value)
    likely = sorted(found, key=lambda keys: (len(keys), _RANK[snake(keys[-1])]))
    return [time for keys in likely if (time := _time(keys, found[keys])) is not None]


def unread(readings: Sequence[dict[str, Any]]) -> tuple[str, str] | None:
    """The path of a text that may be a time in a form of its own, and the text: for a payload without other times."""
    for reading in readings:
        for keys, value in _leaves(reading, ()):
            if isinstance(value, str) and len(_DIGITS.findall(value)) >= _DATE_DIGITS:
                return Time(keys, None, zoned=False).path, value
    return None


def _step(key: str) -> str:
    if not set(".[]") & set(key):
        return f".{key}"
    return f"['{key}']" if '"' in key else f'["{key}"]'


def _leaves(reading: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in reading.items():
        keys = (*above, key)
        if isinstance(value, dict):
            if len(keys) < MAX_DEPTH:
                yield from _leaves(value, keys)
        elif value is not None and snake(key) in _RANK:
            yield keys, value


def _time(keys: tuple[str, ...], values: Sequence[Any]) -> Time | None:
    form = next((f for f in _FORMS if all(isinstance(v, str) and _in_form(v, f) for v in values)), "")
    if form:
        return Time(keys, None, zoned=form.endswith("UTC"), form=form)
    units: set[TimeUnit] = set()
    zoned, quoted, texts = True, False, False
    for value in values:
        v = float(value) if isinstance(value, str) and _QUOTED.fullmatch(value) else value
        quoted = quoted or v is not value
        if isinstance(v, str):
            when = _iso(v)
            if when is None:
                return None
            zoned, texts = zoned and when.tzinfo is not None, True
        elif isinstance(v, int | float) and not isinstance(v, bool):
            fitting = [u for u, per in _PER_SECOND.items() if FIRST <= v / per <= LAST]
            if not fitting:
                return None
            units.add(fitting[0])
        else:
            return None
    if len(units) > 1 or (texts and quoted):
        return None
    return Time(keys, units.pop() if units else None, zoned, quoted)


def _in_form(text: str, form: str) -> bool:
    try:
        when = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return False
    return FIRST <= when.timestamp() <= LAST


def _iso(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    try:
        return when if FIRST <= aware.timestamp() <= LAST else None
    except (OverflowError, ValueError):
        return None
