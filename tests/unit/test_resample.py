"""Resampling: against plain Python, closed forms, and a lake in a folder."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace.cli import context
from headrace.cli.resample import Aggregate, Fill
from headrace.cli.resample import resample as command
from headrace.config import Config
from headrace.errors import ConfigError
from headrace.lake import resamplesql
from headrace.lake.resample import Wish, statement
from headrace.lake.resamplesql import Field, Plan
from tests.profiles import examples
from tests.unit.resample_oracle import MONDAY, resampled
from tests.unit.test_sql import config, store

FIELDS = (Field("x", True), Field("n", True), Field("heading", True, 360.0), Field("on", False), Field("mode", False))
TYPES = {
    "device_id": pa.string(), "event_time": pa.timestamp("us", "UTC"), "o": pa.int64(), "x": pa.float64(),
    "n": pa.int64(), "heading": pa.float64(), "on": pa.bool_(), "mode": pa.string(),
}  # fmt: skip


@pytest.fixture(scope="module")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as it:
        it.execute("SET TimeZone = 'UTC'")
        yield it


def ask(db: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    db.register("s", pa.table({k: pa.array([r.get(k) for r in rows], t) for k, t in TYPES.items()}))
    out = db.execute(resamplesql.statement(plan)).to_arrow_table()
    assert out.schema.field("event_time").type == pa.timestamp("us", "UTC")
    moved = out.set_column(1, "event_time", out.column("event_time").cast(pa.int64()))
    found: list[dict[str, Any]] = moved.to_pylist()
    return found


def reading(at: float, device: str = "d", **fields: Any) -> dict[str, Any]:
    """A reading so many seconds after a Monday."""
    return {"device_id": device, "event_time": MONDAY + round(at * 1e6), "o": 0, **fields}


def plan(every: float = 10, *names: str, **more: Any) -> Plan:
    fields = tuple(f for f in FIELDS if f.name in names) if names else FIELDS
    return Plan(**{"stream": "s", "every": round(every * 1e6), "fields": fields, "order": "event_time, o", **more})


def same(one: Any, other: Any, turn: float) -> bool:
    if not turn or one is None or other is None:
        return bool(one == other or (isinstance(one, float) and one == pytest.approx(other, rel=1e-9, abs=1e-9)))
    return bool(abs((one - other + turn / 2) % turn - turn / 2) < 1e-6)


NUMBERS = st.none() | st.integers(-50, 50)
READINGS = st.fixed_dictionaries({
    "device_id": st.sampled_from(["d", "e"]), "event_time": st.integers(-60, 120).map(lambda s: MONDAY + s * 500_000),
    "x": NUMBERS.map(lambda n: None if n is None else n / 8), "n": NUMBERS, "on": st.none() | st.booleans(),
    "heading": st.none() | st.sampled_from([0.0, 10.0, 100.0, 180.0, 270.0, 350.0, -20.0]),
    "mode": st.none() | st.sampled_from(["idle", "run"]),
})  # fmt: skip


@examples(0.5)
@given(
    st.lists(READINGS, min_size=1, max_size=25),
    st.sampled_from([0.5, 2, 3.5, 7, 30]),
    st.sampled_from(resamplesql.AGGREGATES),
    st.sampled_from(resamplesql.FILLS),
    st.none() | st.integers(0, 40),
)
def test_it_is_what_plain_python_says(
    db: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], every: float, aggregate: Any, fill: Any, most: int | None
) -> None:
    rows = [{**r, "o": i} for i, r in enumerate(rows)]
    fill = "none" if aggregate == "count" else fill
    wish = plan(every, aggregate=aggregate, fill=fill, most=None if most is None else most * 500_000)
    found, right = ask(db, rows, wish), resampled(rows, wish)
    assert len(found) == len(right)
    for one, other in zip(found, right, strict=True):
        turns = {f.name: f.turn for f in FIELDS if aggregate not in {"sum", "count"}}
        assert one.keys() == other.keys()
        assert all(same(one[k], other[k], turns.get(k, 0)) for k in one), (one, other)


def test_a_line_and_a_step_come_back_exactly(db: duckdb.DuckDBPyConnection) -> None:
    """x = 3 t + 1 each second, with a hole: the mean of a bucket is the line at its middle, and what is filled too."""
    rows = [reading(t, x=3.0 * t + 1, mode="a" if t < 50 else "b") for t in range(100) if not 20 <= t < 60]
    found = ask(db, rows, plan(10, "x", "mode", fill="linear"))
    assert [r["x"] for r in found] == [3 * (10 * i + 4.5) + 1 for i in range(10)]
    assert [r["_readings"] for r in found] == [10, 10, 0, 0, 0, 0, 10, 10, 10, 10]
    assert [r["_filled"] for r in found] == [None] * 2 + ["x;mode"] * 4 + [None] * 4
    assert [r["mode"] for r in found] == ["a"] * 6 + ["b"] * 4


def test_a_gap_is_measured_from_reading_to_reading(db: duckdb.DuckDBPyConnection) -> None:
    rows = [reading(9, x=1.0), reading(30, x=2.0)]
    shown = {
        most: [r["x"] for r in ask(db, rows, plan(10, fill="previous", most=round(most * 1e6)))] for most in (20.9, 21)
    }
    assert shown == {20.9: [1.0, 2.0], 21: [1.0, 1.0, 1.0, 2.0]}


def test_a_field_is_filled_by_itself(db: duckdb.DuckDBPyConnection) -> None:
    rows = [reading(0, x=1.0, n=5), reading(10, n=6), reading(20, x=3.0), reading(30, n=8)]
    found = ask(db, rows, plan(10, "x", "n", fill="linear", most=20_000_000))
    assert [(r["x"], r["n"], r["_filled"], r["_readings"]) for r in found] == [
        (1.0, 5.0, None, 1), (2.0, 6.0, "x", 1), (3.0, 7.0, "n", 1), (None, 8.0, None, 1),
    ]  # fmt: skip


def test_a_bucket_begins_at_full_minutes_and_weeks_on_monday(db: duckdb.DuckDBPyConnection) -> None:
    at = datetime(2026, 11, 26, 13, 7, 42, tzinfo=UTC)  # a Thursday
    row = {**reading(0), "event_time": round(at.timestamp() * 1e6), "x": 1.0}
    begins = {"minute": 60, "quarter": 900, "day": 86_400, "week": 7 * 86_400}
    got = {k: ask(db, [row], plan(s, "x"))[0]["event_time"] // 1_000_000 for k, s in begins.items()}
    assert {k: f"{datetime.fromtimestamp(t, UTC):%a %d %H:%M:%S}" for k, t in got.items()} == {
        "minute": "Thu 26 13:07:00", "quarter": "Thu 26 13:00:00", "day": "Thu 26 00:00:00", "week": "Mon 23 00:00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("angles", "mean"),
    [
        ((350.0, 10.0), 0.0),
        ((350.0, 352.0), 351.0),
        ((170.0, -170.0), 180.0),
        ((-10.0, -20.0), -15.0),
        ((0.0, 180.0), None),
    ],
)
def test_the_mean_of_angles_is_a_direction(
    db: duckdb.DuckDBPyConnection, angles: tuple[float, ...], mean: float | None
) -> None:
    rows = [reading(i, heading=a) for i, a in enumerate(angles)]
    (found,) = ask(db, rows, plan(10, "heading"))
    assert found["heading"] == (None if mean is None else pytest.approx(mean, abs=1e-9))


def test_an_angle_is_filled_by_the_shorter_way(db: duckdb.DuckDBPyConnection) -> None:
    def way(a: float, b: float) -> list[float]:
        rows = [reading(0, heading=a), reading(40, heading=b)]
        return [round(r["heading"], 9) for r in ask(db, rows, plan(10, "heading", fill="linear"))]

    assert way(350, 10) == [350, 355, 0, 5, 10]
    assert way(170, -170) == [170, 175, 180, -175, -170]


def test_an_angle_that_is_no_number_costs_its_bucket_only(db: duckdb.DuckDBPyConnection) -> None:
    rows = [reading(at, heading=v) for at, v in ((0, math.inf), (1, 10.0), (10, math.nan), (20, 350.0), (21, 10.0))]
    first, second, third = (it["heading"] for it in ask(db, rows, plan(10, "heading")))
    assert (math.isnan(first), math.isnan(second), third) == (True, True, pytest.approx(0, abs=1e-9))


def test_a_line_between_large_numbers_stays_between_them(db: duckdb.DuckDBPyConnection) -> None:
    rows = [reading(0, x=1e307), reading(20, x=3e307)]
    assert [it["x"] for it in ask(db, rows, plan(10, "x", fill="linear"))] == [1e307, pytest.approx(2e307), 3e307]


def test_a_gap_of_too_many_buckets_is_refused_not_computed(tmp_path: Path) -> None:
    """A device's clock that went wrong: a reading of another month."""
    store(tmp_path, "imu.clean", 1, 7, {"ax": [1.0]})
    store(tmp_path, "imu.clean", 31, 7, {"ax": [1.0]})
    cfg = config(tmp_path)
    with pytest.raises(
        ConfigError, match=r"^w: the gap after 2026-01-01 00:00:00\+00 has \d+ buckets, too many to fill"
    ):
        headrace.resample("imu", "10ms", fill="linear", config=cfg)
    assert len(headrace.resample("imu", "10ms", fill="linear", max_gap="1h", config=cfg)) == 2


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Four readings, a millisecond apart, on each of two days."""
    columns = {
        "ax": [1.0, 2.0, 3.0, None],
        "label": ["a", "b", None, None],
        "sequence": [1, 2, 3, 4],
        "_offset": [4, 5, 6, 7],
    }
    store(tmp_path, "imu.clean", 1, 7, columns)
    store(tmp_path, "imu.clean", 2, 7, {**columns, "_quality": ["x:y:null", None, None, None]})
    cfg = config(tmp_path)
    monkeypatch.setattr(context, "config", lambda: cfg)
    return cfg


def test_the_notebooks_door(lake: Config) -> None:
    out = headrace.resample("imu", timedelta(days=1), aggregate="max", config=lake)
    assert list(out.columns) == ["device_id", "event_time", "ax", "label", "_readings", "_filled"]
    assert str(out.event_time.dtype) == "datetime64[us, UTC]"
    assert [str(t) for t in out.event_time] == ["2026-01-01 00:00:00+00:00", "2026-01-02 00:00:00+00:00"]
    assert (out.ax.tolist(), out.label.tolist(), out["_readings"].tolist()) == ([3.0, 3.0], ["b", "b"], [4, 4])
    part = headrace.resample(
        "imu", "1ms", device=["w", "other"], start="2026-01-02", end="2026-01-02T00:00:00.002", fields="sequence",
        config=lake,
    )  # fmt: skip
    assert part.sequence.tolist() == [1.0, 2.0]
    assert headrace.resample("imu", "1d", device="it's", config=lake).empty
    assert headrace.resample("environment", "1d", fill="linear", config=lake).empty
    assert headrace.resample("imu", "1h", fill="linear", max_gap="1d", config=lake).ax.tolist() == [2.0] * 25


def test_a_stream_of_lists_alone_can_be_counted_and_not_filled(tmp_path: Path) -> None:
    at = pa.array([MONDAY, MONDAY + 100_000_000], pa.timestamp("us", "UTC"))
    store(tmp_path, "wave.clean", 1, 7, {"device_id": ["a", "a"], "event_time": at, "samples": [[1.0], [2.0]]})
    cfg = config(tmp_path, streams={"wave": {}})
    assert headrace.resample("wave", "1m", config=cfg)["_readings"].tolist() == [1, 1]
    with pytest.raises(ConfigError, match="fill linear: wave has no field that can be resampled"):
        headrace.resample("wave", "1m", fill="linear", config=cfg)


def test_a_date_is_a_moment_too(lake: Config) -> None:
    one, other = (headrace.resample("imu", "1d", start=it, config=lake) for it in (date(2026, 1, 2), "2026-01-02"))
    assert 0 < len(one) < len(headrace.resample("imu", "1d", config=lake))
    assert one.equals(other)


def test_the_sql_that_is_printed_gives_the_same(lake: Config) -> None:
    sql = statement(lake, Wish("imu", "1h", fill="previous"))
    again = headrace.query(f"WITH r AS ({sql}) SELECT count(*) n, sum(_readings) r FROM r", config=lake)
    assert again.to_dict("records") == [{"n": 25, "r": 8}]


@pytest.mark.usefixtures("lake")
def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from headrace.cli.query import Format

    command("imu", "1d", fields="ax, label", format_=Format.JSON)
    found = json.loads(capsys.readouterr().out)[1]
    assert found["event_time"] == "2026-01-02 00:00:00+00"
    assert (found["ax"], found["label"], found["_readings"], found["_filled"]) == (2.0, "b", 4, None)
    command("imu", "1h", fields="ax", fill=Fill.PREVIOUS, format_=Format.CSV, aggregate=Aggregate.SUM)
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[2]) == (26, "w,2026-01-01 01:00:00+00,6.0,0,ax")
    command("imu", "1d", sql=True)
    assert capsys.readouterr().out.startswith("WITH buckets AS (")
    command("environment", "1d")
    assert "nothing of environment is stored yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"stream": "pump"}, "no stream is called pump. The streams: imu, environment, vibration"),
        ({"every": "1 month"}, "every 1 month: write a time such as 500ms, 10s"),
        ({"every": "0s"}, "every 0s: write a time"),
        ({"every": 60}, "every 60: write a time"),
        ({"every": "9" * 400 + "s"}, "every 999"),
        ({"start": 2026.5}, "from 2026.5: write a time"),
        ({"fields": ("axx",)}, "fields: axx is no field of imu. These are: ax, label, sequence"),
        ({"fields": ("_offset",)}, "fields: _offset is not a field that can be resampled of imu"),
        ({"fill": "next"}, "fill next: one of none, previous, linear"),
        ({"aggregate": "median"}, "aggregate median: one of mean, min"),
        ({"aggregate": "count", "fill": "linear"}, "fill linear: a count is never filled"),
        ({"max_gap": "5m"}, "max-gap: it says which gaps are filled. Give fill too"),
        ({"fill": "linear", "max_gap": "five"}, "max-gap five: write a time"),
        ({"start": "yesterday"}, "from yesterday: write a time such as 2026-01-31"),
        ({"start": "2026-01-02", "end": "2026-01-02"}, "from 2026-01-02 is not before to 2026-01-02"),
    ],
)
def test_what_is_asked_wrongly_is_refused(lake: Config, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        statement(lake, Wish(**{"stream": "imu", "every": "1m", **wish}))
    assert str(refused.value).startswith(words)


def test_the_units_of_angles_are_those_of_contracts() -> None:
    from headrace.contracts.units import UNITS
    from headrace.lake.resample import _TURNS

    assert set(_TURNS) == {unit for unit, what in UNITS.items() if what == "angle"}
    assert _TURNS["rad"] == 2 * math.pi
