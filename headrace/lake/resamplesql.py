"""The SQL that resamples a stream: buckets of time, what stands in each, and what fills those between.

One statement, one pass over the readings. It gives a row for each device and bucket that has readings, or a filled
value. In it, `_v0` is the value of field 0 in a bucket, `_p0` what was known of the field last (up to that bucket),
`_n0` what comes next, each as {v: value, b: bucket, t: time of the reading}. Buckets are microseconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from headrace.lake.remote import literal, name

Aggregate = Literal["mean", "min", "max", "sum", "last", "count"]
Fill = Literal["none", "previous", "linear"]
AGGREGATES: tuple[Aggregate, ...] = ("mean", "min", "max", "sum", "last", "count")
FILLS: tuple[Fill, ...] = ("none", "previous", "linear")
READINGS, FILLED = "_readings", "_filled"
TOO_MANY = " buckets, too many to fill. Give --max-gap (max_gap), or a longer --every (every)"
MOST = 10_000_000  # buckets of one gap that are filled; more is a device's clock gone wrong, or a slip of the pen

_ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)  # a Monday: that of DuckDB's time_bucket
_NONE = 1e-9  # a mean direction shorter than this is none: readings that point opposite ways


@dataclass(frozen=True)
class Field:
    """A column to resample. `turn`: of an angle, a whole turn in its unit (360, or 2 pi); else 0."""

    name: str
    number: bool
    turn: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What to resample, checked. Times in microseconds; `most`: the longest gap that is filled, None for any."""

    stream: str
    every: int
    fields: tuple[Field, ...]
    aggregate: Aggregate = "mean"
    fill: Fill = "none"
    most: int | None = None
    devices: tuple[str, ...] = ()
    start: datetime | None = None  # UTC, taken
    end: datetime | None = None  # UTC, not taken
    order: str = "event_time"  # by which the last of readings is known


def statement(plan: Plan) -> str:
    """The SELECT. Its columns: device_id, event_time (where the bucket begins), the fields, _readings, _filled."""
    buckets = _buckets(plan)
    values = [f"_v{i} AS {name(f.name)}" for i, f in enumerate(plan.fields)]
    if plan.fill == "none":
        columns = ["device_id", "make_timestamptz(_b) AS event_time", *values, READINGS, f"NULL::VARCHAR AS {FILLED}"]
        return f"WITH buckets AS (\n{buckets}\n)\n{_select(columns)}\nFROM buckets\nORDER BY device_id, event_time"
    return (
        f"WITH buckets AS (\n{buckets}\n),\nknown AS (\n{_known(plan)}\n),\n"
        f"gaps AS (\n{_gaps(plan)}\n),\ngrid AS (\n{_grid(plan)}\n)\n"
        f"{_filled(plan)}\nORDER BY device_id, event_time"
    )


def _select(columns: Sequence[str]) -> str:
    return "SELECT\n    " + ",\n    ".join(columns)


def _buckets(plan: Plan) -> str:
    us, width = "epoch_us(event_time)", plan.every
    shift = int((_ORIGIN - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000 % width
    columns = [
        "device_id",
        f"{us} - (({us} - {shift}) % {width} + {width}) % {width} AS _b",
        f"count(*) AS {READINGS}",
    ]
    for i, f in enumerate(plan.fields):
        columns.append(f"{_value(f, plan)} AS _v{i}")
        if plan.fill != "none":
            columns += [f"{end}(event_time) FILTER ({name(f.name)} IS NOT NULL) AS _{end}{i}" for end in ("min", "max")]
    return f"{_select(columns)}\nFROM {name(plan.stream)}{_where(plan)}\nGROUP BY device_id, _b"


def _where(plan: Plan) -> str:
    parts = []
    if plan.devices:
        parts.append(f"device_id IN ({', '.join(map(literal, plan.devices))})")
    for moment, sign, day in ((plan.start, ">=", ">="), (plan.end, "<", "<=")):
        if moment is not None:
            # `date` is a partition: files of other days are not read.
            parts.append(f"event_time {sign} TIMESTAMPTZ '{moment.isoformat()}' AND date {day} DATE '{moment.date()}'")
    return "\nWHERE " + " AND ".join(parts) if parts else ""


def _value(f: Field, plan: Plan) -> str:
    column = name(f.name)
    if not f.number or plan.aggregate == "last":
        return f"last({column} ORDER BY {plan.order}) FILTER ({column} IS NOT NULL)"
    if plan.aggregate == "mean" and f.turn:
        return _direction(column, f.turn)
    return {
        "mean": f"avg({column})",
        "sum": f"sum({column})::DOUBLE",
        "min": f"min({column})",
        "max": f"max({column})",
        "count": f"count({column})",
    }[plan.aggregate]


def _direction(column: str, turn: float) -> str:
    """The mean of angles: the direction of the sum of their unit vectors; null where they cancel out."""
    # DuckDB refuses the cosine of infinity; like NaN, it makes its bucket NaN.
    unit = f"(CASE WHEN isinf({column}::DOUBLE) THEN 'NaN' ELSE {column}::DOUBLE END * 2 * pi() / {turn!r})"
    x, y = f"avg(cos{unit})", f"avg(sin{unit})"
    angle = f"atan2({y}, {x}) * {turn!r} / (2 * pi())"
    return f"CASE WHEN {x} ** 2 + {y} ** 2 > {_NONE**2} THEN {_wrapped(angle, turn, f'min({column}) < 0')} END"


def _wrapped(angle: str, turn: float, signed: str) -> str:
    """The angle as its device writes angles: from -turn/2 to turn/2 where `signed`, else from 0 to turn."""
    positive = f"(({angle}) % {turn!r} + {turn!r}) % {turn!r}"
    return f"CASE WHEN {signed} AND {positive} > {turn / 2!r} THEN {positive} - {turn!r} ELSE {positive} END"


def _known(plan: Plan) -> str:
    columns = ["*", "lead(_b) OVER w AS _next"]
    for i in range(len(plan.fields)):
        known = "CASE WHEN _v{0} IS NOT NULL THEN {{'v': _v{0}, 'b': _b, 't': _{1}{0}}} END"
        past = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        coming = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
        columns += [
            f"last_value({known.format(i, 'max')} IGNORE NULLS) OVER (w {past}) AS _p{i}",
            f"first_value({known.format(i, 'min')} IGNORE NULLS) OVER (w {coming}) AS _n{i}",
        ]
    return f"{_select(columns)}\nFROM buckets\nWINDOW w AS (PARTITION BY device_id ORDER BY _b)"


def _gaps(plan: Plan) -> str:
    """Whether what lies between the known values of each field is filled."""
    columns = ["*"]
    for i in range(len(plan.fields)):
        short = f" AND epoch_us(_n{i}.t) - epoch_us(_p{i}.t) <= {plan.most}" if plan.most is not None else ""
        columns.append(f"_p{i} IS NOT NULL AND _n{i} IS NOT NULL{short} AS _f{i}")
    return f"{_select(columns)}\nFROM known"


def _grid(plan: Plan) -> str:
    count = f"(_next - _b) // {plan.every}"
    words = f"device_id || ': the gap after ' || make_timestamptz(_b) || ' has ' || {count} || '{TOO_MANY}'"
    end = (
        f"CASE WHEN NOT ({' OR '.join(f'_f{i}' for i in range(len(plan.fields)))}) OR _next IS NULL "
        f"THEN _b + 1 WHEN {count} > {MOST} THEN error({words})::BIGINT ELSE _next END"
    )
    return f"SELECT *, unnest(range(_b, {end}, {plan.every})) AS _at\nFROM gaps"


def _filled(plan: Plan) -> str:
    values, marks = [], []
    for i, f in enumerate(plan.fields):
        own = f"_at = _b AND _v{i} IS NOT NULL"
        values.append(f"CASE WHEN {own} THEN _v{i} WHEN _f{i} THEN {_between(i, f, plan)} END AS {name(f.name)}")
        marks.append(f"CASE WHEN _f{i} AND NOT ({own}) THEN {literal(f.name)} END")
    readings = f"CASE WHEN _at = _b THEN {READINGS} ELSE 0 END AS {READINGS}"
    filled = f"nullif(concat_ws(';', {', '.join(marks)}), '') AS {FILLED}"
    columns = ["device_id", "make_timestamptz(_at) AS event_time", *values, readings, filled]
    return (
        f"SELECT * FROM (\n{_select(columns)}\nFROM grid\n)\n"  # noqa: S608 - names are quoted
        f"WHERE {READINGS} > 0 OR {FILLED} IS NOT NULL"
    )


def _between(i: int, f: Field, plan: Plan) -> str:
    if plan.fill == "previous" or not f.number:
        return f"_p{i}.v"
    share = f"((_at - _p{i}.b)::DOUBLE / (_n{i}.b - _p{i}.b))"
    if f.turn and plan.aggregate != "sum":
        half = f.turn / 2
        way = f"((_n{i}.v - _p{i}.v + {half!r}) % {f.turn!r} + {f.turn!r}) % {f.turn!r} - {half!r}"  # the shorter one
        return _wrapped(f"_p{i}.v + ({way}) * {share}", f.turn, f"least(_p{i}.v, _n{i}.v) < 0")
    return f"_p{i}.v::DOUBLE + (_n{i}.v::DOUBLE - _p{i}.v::DOUBLE) * {share}"
