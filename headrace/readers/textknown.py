"""Layouts of certain loggers, of which the first lines say more than names: where time begins, and how fast it runs."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from headrace.readers.base import Column
from headrace.readers.dialects import Line

PLAIN, E4, ACTIGRAPH, PACKETS = "plain", "e4", "actigraph", "221e"
LAYOUTS = (PLAIN, E4, ACTIGRAPH, PACKETS)
PACKET_HEADER = "Mode\tFreq\tTimestamp"  # of each header in what lib221e writes
_SOME_TIME = range(946_684_800, 4_102_444_800)  # seconds: the years 2000 to 2099
_ACTIGRAPH = re.compile(r"\W*Data (?:Table )?File Created By ActiGraph\b", re.IGNORECASE)
_FORMAT = re.compile(r"date format (\S+)", re.IGNORECASE)
_RATE = re.compile(r"\bat (\d+(?:\.\d+)?) ?Hz\b", re.IGNORECASE)
_START_TIME = re.compile(r"Start Time\W+(\d+):(\d\d):(\d\d)", re.IGNORECASE)
_START_DATE = re.compile(r"Start Date\W+(\d+)\D(\d+)\D(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"Epoch (?:Period|Length) \(hh:mm:ss\) (\d+):(\d+):(\d+)", re.IGNORECASE)
_ZONE = re.compile(r"\b(?:GMT|UTC) ?[+-]\d\d?:?\d\d\b")
_ACTIGRAPH_LINES = 12


class Clock(NamedTuple):
    """When row 0 is, how many rows there are in a second, and words about it for people."""

    start: datetime | None = None
    rate: float | None = None
    notes: tuple[str, ...] = ()


class E4File(NamedTuple):
    """What the first lines of a file of Empatica's E4 are."""

    skip: int
    clock: Clock
    columns: tuple[Column, ...]


def e4_of(lines: Sequence[Line]) -> E4File | None:
    """A line with the start in Unix time, one with the rate in Hz, each the same for all columns; then rows.

    Of the times between heart beats, the first line is the start and the word IBI. None where it is no such file.
    """
    if len(lines) < 2 or lines[0].number != 1:
        return None
    first, second = lines[0].cells, lines[1].cells
    start = _unix(first[0])
    if start is None or len(first) != len(second):
        return None
    if first[1:] == ("IBI",):
        note = f"Empatica E4: the column time counts seconds from {start.isoformat()}"
        return E4File(1, Clock(notes=(note,)), (Column("time", "s"), Column("IBI", "s")))
    rate = _rate(second[0])
    if len({*first}) > 1 or len({*second}) > 1 or rate is None:
        return None
    if len(lines) > 2 and len(lines[2].cells) != len(first):
        return None
    note = f"Empatica E4: the first two lines are the start, {start.isoformat()}, and the rate, {rate:g} Hz"
    columns = tuple(Column(f"column {i + 1}") for i in range(len(first)))
    return E4File(2, Clock(start, rate, (note,)), columns)


def is_actigraph(head: Sequence[str]) -> bool:
    """Whether ActiLife wrote it."""
    return _ACTIGRAPH.match(head[0].strip('" ')) is not None


def actigraph_clock(head: Sequence[str]) -> Clock:
    """The start and the rate, or the epochs, that the ten lines before the rows tell."""
    text = "\n".join(head[:_ACTIGRAPH_LINES])
    time, date, order = _START_TIME.search(text), _START_DATE.search(text), _FORMAT.search(text)
    start = None
    if time and date and order:
        places = sorted("dMy", key=order[1].find)
        parts = dict(zip(places, (int(it) for it in date.groups()), strict=True))
        if all(it in order[1] for it in "dMy"):
            start = _datetime(parts["y"], parts["M"], parts["d"], [int(it) for it in time.groups()])
    epoch, hertz = _EPOCH.search(text), _RATE.search(text)
    seconds = sum(int(it) * unit for it, unit in zip(epoch.groups(), (3600, 60, 1), strict=True)) if epoch else 0
    rate = 1 / seconds if seconds else float(hertz[1]) if hertz else None
    begins = f"start {start.isoformat(' ')} in the time of the place" if start else "no start that can be read"
    speed = f"a row each {seconds} s" if seconds else f"{rate:g} Hz" if rate else "no rate"
    return Clock(start, rate, (f"ActiGraph: {begins}, {speed}",))


def zone_note(columns: Sequence[Column]) -> tuple[str, ...]:
    """A word about the zone that a column's name tells, as HOBO loggers write it: "Date Time, GMT+02:00"."""
    found = {it[0] for column in columns if (it := _ZONE.search(column.name))}
    return tuple(f"the times are at {it}, as a column's name says" for it in sorted(found))


def packets_clock() -> Clock:
    """The word about time in what lib221e writes."""
    note = "221e: the rows of a packet share its Timestamp; row i of a packet was measured i / Freq seconds after it"
    return Clock(notes=(note,))


def _unix(cell: str) -> datetime | None:
    try:
        seconds = float(cell)
    except ValueError:
        return None
    if not seconds >= 0 or int(min(seconds, 1e12)) not in _SOME_TIME:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(seconds * 1_000_000))


def _rate(cell: str) -> float | None:
    try:
        found = float(cell)
    except ValueError:
        return None
    return found if 0 < found <= 10_000 else None


def _datetime(year: int, month: int, day: int, time: Sequence[int]) -> datetime | None:
    try:
        date = datetime(year if year > 99 else 2000 + year, month, day)  # noqa: DTZ001 - the file says no zone
        return date.replace(hour=time[0], minute=time[1], second=time[2])
    except ValueError:
        return None
