"""Readings on a regular grid of time, and gaps filled and marked: `headrace.resample()` and the command."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from headrace.errors import ConfigError
from headrace.lake import remote
from headrace.lake import resamplesql as sql
from headrace.lake.sql import connect, explained, frame, run, settings
from headrace.protocol import provenance
from headrace.protocol.names import DEVICE, OURS, TIME

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from headrace.config import Config

_Word = TypeVar("_Word", bound=str)
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_UNITS = {
    "us": 1, "ms": 1000, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND, "d": _DAY, "w": 7 * _DAY,
}  # fmt: skip
_TURNS = {"deg": 360.0, "rad": 6.283185307179586}
_NUMBER = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\))\Z")
_SINGLE = re.compile(r"(VARCHAR|BOOLEAN|DATE|TIMESTAMP.*|ENUM\(.*\))\Z")  # of which the last one is taken


@dataclass(frozen=True)
class Wish:
    """What is asked for, as a person writes it: `resample` says what each means."""

    stream: str
    every: str | timedelta
    devices: tuple[str, ...] = ()
    start: str | date | None = None
    end: str | date | None = None
    fields: tuple[str, ...] = ()
    fill: str = "none"
    max_gap: str | timedelta | None = None
    aggregate: str = "mean"


def resample(  # noqa: PLR0913 - each is an argument of the notebook's door
    stream: str,
    every: str | timedelta,
    *,
    device: str | Sequence[str] = (),
    start: str | date | None = None,
    end: str | date | None = None,
    fields: str | Sequence[str] = (),
    fill: str = "none",
    max_gap: str | timedelta | None = None,
    aggregate: str = "mean",
    config: "Config | str | Path | None" = None,
    state: str | Path | None = None,
) -> "pd.DataFrame":
    """A stream's readings, a row for each device and each `every` ("1m", "10s", a timedelta), as a pandas.DataFrame.

    Columns: device_id; event_time, where the bucket begins (UTC, counted from Monday 2000-01-03T00:00Z); `fields`, by
    default all numbers, texts, booleans and times; `_readings`, how many readings stand behind the row; `_filled`, the
    fields that were filled, joined by semicolons, or None. Numbers are combined by `aggregate` (mean, min, max, sum,
    last, count), all else by the last. The mean of angles (unit deg or rad) is that of directions.

    `fill`: none, previous or linear, between a device's first and last reading of a field, where no more than `max_gap`
    lies between the readings on both sides of the gap. `start` (taken) and `end` (not taken) choose readings; they are
    UTC where they name no zone. `config` and `state` are those of `query`. Raises ConfigError for what is asked
    wrongly, TransientError while the store is away.
    """
    cfg = settings(config, state)
    devices, names = ((it,) if isinstance(it, str) else tuple(it) for it in (device, fields))
    with answered(cfg, Wish(stream, every, devices, start, end, names, fill, max_gap, aggregate)) as answer:
        return frame(answer)


@contextmanager
def answered(
    cfg: "Config", wish: Wish, *, empty: Callable[[str], None] = lambda _: None
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """The connection from which to fetch the rows. `empty` is called when the stream has none in the lake."""
    with _opened(cfg, wish, empty) as lake:
        yield run(lake, sql.statement(_plan(lake, cfg, wish)))


def statement(cfg: "Config", wish: Wish) -> str:
    """The SQL that gives the rows: for `query`, alone or in a WITH of one's own."""
    with _opened(cfg, wish, lambda _: None) as lake:
        return sql.statement(_plan(lake, cfg, wish))


@contextmanager
def _opened(cfg: "Config", wish: Wish, empty: Callable[[str], None]) -> "Iterator[duckdb.DuckDBPyConnection]":
    if wish.stream not in cfg.streams:
        raise ConfigError(f"no stream is called {wish.stream}. The streams: {', '.join(cfg.streams) or '(none)'}")
    try:
        with connect(cfg, remote.name(wish.stream), empty=empty) as lake, explained(cfg):
            yield lake
    except ConfigError as e:
        if sql.TOO_MANY in str(e):
            raise ConfigError(str(e).rpartition("Error: ")[2]) from None
        raise


def _plan(lake: "duckdb.DuckDBPyConnection", cfg: "Config", wish: Wish) -> sql.Plan:
    aggregate = _one_of("aggregate", wish.aggregate, sql.AGGREGATES)
    fill = _one_of("fill", wish.fill, sql.FILLS)
    if aggregate == "count" and fill != "none":
        raise ConfigError(f"fill {fill}: a count is never filled: no reading is a count of 0. Leave fill out")
    if wish.max_gap is not None and fill == "none":
        raise ConfigError("max-gap: it says which gaps are filled. Give fill too: previous or linear")
    start, end = _moment("from", wish.start), _moment("to", wish.end)
    if start is not None and end is not None and start >= end:
        raise ConfigError(f"from {wish.start} is not before to {wish.end}: no reading can be there")
    columns = dict(
        lake.execute(
            f"SELECT column_name, column_type FROM (DESCRIBE FROM {remote.name(wish.stream)})"  # noqa: S608 - quoted
        ).fetchall()
    )
    fields = tuple(_fields(cfg, wish, columns))
    if not fields and fill != "none":
        raise ConfigError(
            f"fill {fill}: {wish.stream} has no field that can be resampled, so there is nothing to fill. Leave fill "
            "out, or take its lists and groups apart in SQL"
        )
    return sql.Plan(
        stream=wish.stream,
        every=_microseconds("every", wish.every),
        fields=fields,
        aggregate=aggregate,
        fill=fill,
        most=None if wish.max_gap is None else _microseconds("max-gap", wish.max_gap),
        devices=wish.devices,
        start=start,
        end=end,
        order=", ".join([TIME, *(c.name for c in (provenance.OFFSET,) if c.name in columns)]),
    )


def _fields(cfg: "Config", wish: Wish, columns: dict[str, str]) -> Iterator[sql.Field]:
    """The fields that were named; without names those that can be resampled and tell of what was measured."""
    roles, turns = _attributes(cfg, wish.stream)
    beside = {DEVICE, TIME, *OURS, *provenance.NAMES, provenance.DATE.name}
    able = [c for c, kind in columns.items() if c not in beside and (_NUMBER.match(kind) or _SINGLE.match(kind))]
    for name in dict.fromkeys(wish.fields) or [c for c in able if c not in roles]:
        if name not in able:
            kind = columns.get(name)
            what = "is not a field that can be resampled" if kind else "is no field"
            raise ConfigError(f"fields: {name} {what} of {wish.stream}. These are: {', '.join(able) or '(none)'}")
        yield sql.Field(name, _NUMBER.match(columns[name]) is not None, turns.get(name, 0.0))


def _attributes(cfg: "Config", stream: str) -> tuple[set[str], dict[str, float]]:
    """The columns that number readings, and a whole turn in the unit of those that are angles."""
    from headrace.lake import united
    from headrace.lake.views import contract_of

    contracts = {s: contract_of(cfg, s) for s in cfg.lineage(stream)}
    names = united.renamed(contracts)
    roles, turns = set[str](), dict[str, float]()
    for s, contract in contracts.items():
        for f in contract.fields if contract is not None else ():
            column = names.get(s, {}).get(f.name, f.name)
            if f.role:
                roles.add(column)
            if f.unit in _TURNS:
                turns[column] = _TURNS[f.unit]
    return roles, turns


def _one_of(what: str, value: str, known: tuple[_Word, ...]) -> _Word:
    for one in known:
        if value == one:
            return one
    raise ConfigError(f"{what} {value}: one of {', '.join(known)}")


def _microseconds(what: str, value: str | timedelta) -> int:
    if isinstance(value, timedelta):
        number = value // timedelta(microseconds=1)
    else:
        found = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)(us|ms|[smhdw])", str(value).strip())
        number = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not 0 < number <= 3660 * _DAY:
        raise ConfigError(f"{what} {value}: write a time such as 500ms, 10s, 1m, 6h, 1d or 1w")
    return number


def _moment(what: str, value: str | date | None) -> datetime | None:
    if value is None:
        return None
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(f"{what} {value}: write a time such as 2026-01-31 or 2026-01-31T12:00:00Z (UTC)") from None
