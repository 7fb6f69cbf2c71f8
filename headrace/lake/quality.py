"""What the rules did, by stream, device and day: from `_quality` of the rows in the lake, and from the dead letters."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.config import Config
from headrace.errors import ConfigError, TransientError
from headrace.lake.sql import connect, explained, run
from headrace.protocol.names import LETTERS_TABLE

REJECT = "reject"
# The version of a calibration or a transform: nothing that a rule did, and in each reading of many a stream.
_MADE_BY = ":(calibration|transform):[0-9a-f]{8}$"


class Scope(NamedTuple):
    """What is asked for. Days are UTC, both ends taken; None: from the first, to the last."""

    streams: tuple[str, ...]
    device: str = ""
    since: dt.date | None = None
    until: dt.date | None = None

    def where(self, day: str, device: str) -> str:
        """A condition of SQL on these two expressions."""
        parts = [f"{day} >= DATE '{self.since}'"] if self.since else []
        parts += [f"{day} <= DATE '{self.until}'"] if self.until else []
        parts += [f"{device} = '{self.device.replace(chr(39), 2 * chr(39))}'"] if self.device else []
        return " AND ".join(parts) or "true"


class Deed(NamedTuple):
    """One rule's action on one field. `rule` of a reading that the bridge or the archive refused: the reason."""

    stream: str
    device: str
    day: dt.date  # of the reading; of a rejected one, on which it was refused
    field: str
    rule: str
    action: str  # reject, null, clamp, flag


class Group(NamedTuple):
    """Readings of one device on one day."""

    stream: str
    device: str
    day: dt.date


@dataclass
class Quality:
    """How many readings each rule acted on, of how many that there are in the lake and among the dead letters."""

    deeds: Counter[Deed] = field(default_factory=Counter)
    readings: Counter[Group] = field(default_factory=Counter)
    problem: str = ""  # why the dead letters are not in it; empty when they are

    def share(self, deed: Deed) -> float:
        """The part of the device's readings on that day that the rule acted on, 0 to 1."""
        return self.deeds[deed] / max(self.readings[Group(*deed[:3])], self.deeds[deed])


def quality(cfg: Config, scope: Scope) -> Quality:
    """What the rules did within `scope`. TransientError while the store is away; without Kafka, `problem` says so.

    ConfigError for a stream that the configuration does not have.
    """
    out = Quality()
    for stream in scope.streams:
        if stream not in cfg.streams:
            raise ConfigError(f"no stream is called {stream}. The streams: {', '.join(cfg.streams) or '(none)'}")
        _of_rows(cfg, scope, stream, out)
    try:
        _of_letters(cfg, scope, out)
    except TransientError as e:
        out.problem = str(e)
    return out


def deed_of(stream: str, device: str, day: dt.date, note: str) -> Deed:
    """What a note in `_quality` says: field:rule:action. Another text is taken for a rule, and left whole."""
    parts = note.split(":")
    where, rule, action = parts if len(parts) == 3 else ("", note, "")
    return Deed(stream, device, day, where, rule, action)


def _of_rows(cfg: Config, scope: Scope, stream: str, out: Quality) -> None:
    where = scope.where("date", "device_id")
    each = f'SELECT device_id, date, count(*) FROM "{stream}" WHERE {where} GROUP BY ALL'  # noqa: S608 - quoted
    notes = (
        "SELECT device_id, date, note, count(*) FROM "  # noqa: S608 - quoted
        f"(SELECT device_id, date, unnest(string_split(_quality, ';')) AS note FROM \"{stream}\" "
        f"WHERE _quality IS NOT NULL AND {where}) WHERE NOT regexp_matches(note, '{_MADE_BY}') GROUP BY ALL"
    )
    with connect(cfg, stream) as lake, explained(cfg):
        for device, day, count in run(lake, each).fetchall():
            out.readings[Group(stream, device, day)] += count
        for device, day, note, count in run(lake, notes).fetchall():
            out.deeds[deed_of(stream, device, day, note)] += count


def _of_letters(cfg: Config, scope: Scope, out: Quality) -> None:
    day = "CAST(timezone('UTC', time) AS DATE)"
    sql = (
        f"SELECT stream, coalesce(device, ''), {day}, coalesce(field, ''), coalesce(rule, reason, ''), count(*) "  # noqa: S608 - quoted
        f"FROM {LETTERS_TABLE} WHERE {scope.where(day, 'device')} GROUP BY ALL"
    )
    with connect(cfg, LETTERS_TABLE) as lake, explained(cfg):
        for stream, device, when, name, rule, count in run(lake, sql).fetchall():
            if stream in scope.streams:
                out.deeds[Deed(stream, device, when, name, rule, REJECT)] += count
                out.readings[Group(stream, device, when)] += count


def by_day(found: Quality) -> dict[str, dict[str, dict[dt.date, tuple[int, int]]]]:
    """By stream, then by "field:rule:action", then by day: (readings acted on, readings), over all devices.

    The rules that acted most come first.
    """
    readings: Counter[tuple[str, dt.date]] = Counter()
    for group, count in found.readings.items():
        readings[group.stream, group.day] += count
    acted: Counter[tuple[str, str, dt.date]] = Counter()
    for deed, count in found.deeds.items():
        acted[deed.stream, _label(deed[3:]), deed.day] += count
    totals: Counter[tuple[str, str]] = Counter()
    for (stream, label, _), count in acted.items():
        totals[stream, label] += count
    out: dict[str, dict[str, dict[dt.date, tuple[int, int]]]] = {}
    for stream, label in sorted(totals, key=lambda it: (it[0], -totals[it], it[1])):
        out.setdefault(stream, {})[label] = {}
    for (stream, label, day), count in sorted(acted.items()):
        out[stream][label][day] = (count, readings[stream, day])
    return out


def _label(parts: Iterable[str]) -> str:
    return ":".join(part for part in parts if part)
