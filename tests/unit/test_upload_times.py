"""Cells as times, in columns: as Python's own reading of each cell by itself has it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConfigError
from headrace.readers.celltimes import EPOCH
from headrace.uploads import clockdrift, times
from headrace.uploads.times import form

Cells = list[str | None]
NOISE = st.sampled_from(
    ["", " ", "x", "NaN", "inf", "-", "1e400", "24:00", "2026-02-30T00:00", "1.2.3", "\uff11\uff12"]
)


def read(name: str, cells: Cells) -> list[tuple[int, bool] | None]:
    """(microseconds, local) of each cell; None for what is no time."""
    found = form(name)(pa.array(cells, pa.string()))
    rows = zip(found.micros.tolist(), found.there.tolist(), found.local.tolist(), strict=True)
    return [(micros, local) if there else None for micros, there, local in rows]


def reference(cells: Cells, one: Callable[[str], tuple[int, bool]]) -> list[tuple[int, bool] | None]:
    out: list[tuple[int, bool] | None] = []
    for cell in cells:
        try:
            out.append(None if cell is None else one(cell))
        except (ValueError, ArithmeticError):
            out.append(None)
    return out


def number(unit: str) -> Callable[[str], tuple[int, bool]]:
    factor = {"s": Decimal(1_000_000), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}[unit]

    def one(cell: str) -> tuple[int, bool]:
        value = Decimal(cell.strip()) * factor
        if not value.is_finite() or abs(value) >= 2**62:
            raise ValueError
        return int(value.to_integral_value(rounding="ROUND_FLOOR")), False

    return one


def micros(when: datetime) -> tuple[int, bool]:
    aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1), when.tzinfo is None


NUMBERS = (
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**13), max_value=10**13, places=9).map(str)
    | st.integers(-(10**19), 10**19).map(str)
    | st.from_regex(r"\A[+-]?[0-9]{1,12}\.?[0-9]{0,9}(e[+-]?[0-9])?\Z")
)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@given(cells=st.lists(NUMBERS | NOISE | st.none(), max_size=12))
def test_numbers_since_1970_keep_each_digit(unit: str, cells: Cells) -> None:
    assert read(unit, cells) == reference(cells, number(unit))


WHEN = st.datetimes(datetime(1902, 1, 1), datetime(2199, 12, 31))  # noqa: DTZ001 - of any zone
WRITTEN = st.builds(
    lambda when, spec, sep, zone: when.isoformat(sep, spec) + zone,
    WHEN,
    st.sampled_from(["seconds", "milliseconds", "microseconds", "minutes"]),
    st.sampled_from(["T", " "]),
    st.sampled_from(["", "Z", "+02:00", "-11:30"]),
)


@given(cells=st.lists(WRITTEN | NOISE | st.none() | st.sampled_from(["20260201T100000", "2026-02-01"]), max_size=12))
def test_iso_with_zones_and_without(cells: Cells) -> None:
    assert read("iso", cells) == reference(cells, lambda c: micros(datetime.fromisoformat(c.strip())))


def test_digits_below_the_microsecond_are_cut_off() -> None:
    assert read("iso", ["2026-02-01T00:00:00.123456999Z"]) == [(1_769_904_000_123_456, False)]


FORMS = [
    "%d.%m.%Y %H:%M",
    "%Y-%m-%d %H:%M:%S.%f",
    "%m/%d/%y %H:%M:%S",
    "%Y%m%d%H%M",
    "%d %b %Y %H:%M",
    "%Y-%m-%dT%H:%M:%S%z",
]


@pytest.mark.parametrize("text", FORMS)
@given(data=st.data())
def test_formats_as_strptime_reads_them(text: str, data: Any) -> None:
    def written(when: datetime) -> str:
        return when.replace(tzinfo=UTC).strftime(text)

    cells = data.draw(st.lists(WHEN.map(written) | NOISE | st.none() | st.just("31.02.2026 10:00"), max_size=10))
    assert read(text, cells) == reference(cells, lambda c: micros(datetime.strptime(c.strip(), text)))  # noqa: DTZ007


def test_a_column_that_holds_times_is_taken_as_it_is() -> None:
    when = datetime(2026, 2, 1, 10, 0, 0, 5, tzinfo=UTC)
    for kind, local in (
        (pa.timestamp("us", "Europe/Berlin"), False),
        (pa.timestamp("ns", "UTC"), False),
        (pa.timestamp("us"), True),
    ):
        cells = pa.array([when if kind.tz else when.replace(tzinfo=None), None], kind)
        found = times.form("iso")(cells)
        assert (found.micros[0], found.there.tolist(), found.local[0]) == (micros(when)[0], [True, False], local)


def test_whole_numbers_of_a_column() -> None:
    found = times.form("ms")(pa.array([1_700_000_000_001, None, 2**62], pa.int64()))
    assert (found.micros[0], found.there.tolist()) == (1_700_000_000_001_000, [True, False, False])


@pytest.mark.parametrize("text", ["minutes", "%Q", "%"])
def test_a_form_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="time: "):
        form(text)


def test_an_offset_is_added_to_each_time() -> None:
    made = clockdrift.shift(-1.5)(np.array([10_000_000, 10_000_001]))
    assert made.tolist() == [8_500_000, 8_500_001]


def test_a_clock_that_drifted_is_put_right_by_two_anchors() -> None:
    day = 86_400_000_000
    put_right = clockdrift.between(((0, 1_000_000), (10 * day, 10 * day + 3_000_000)))  # 1 s behind, then 3 s
    assert put_right(np.array([0, 10 * day, 5 * day, 20 * day])).tolist() == [
        1_000_000, 10 * day + 3_000_000, 5 * day + 2_000_000, 20 * day + 5_000_000,
    ]  # fmt: skip
    exact = clockdrift.between(((7, 107), (10 * day, 10 * day + 100)))
    assert exact(np.array([7, 8, 10**15])).tolist() == [107, 108, 10**15 + 100]


@pytest.mark.parametrize(
    ("anchors", "words"),
    [(((5, 1), (5, 2)), "both say the same"), (((0, 0), (1_000_000, 1_100_000)), "wrong by 10.0%")],
)
def test_anchors_that_are_no_two_readings_of_a_clock_are_refused(
    anchors: tuple[tuple[int, int], tuple[int, int]], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        clockdrift.between(anchors)
