"""Times of the clock on the wall as UTC, where clocks go back and forward too."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConfigError
from headrace.uploads.localtimes import LocalTimes, zone_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BERLIN, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")  # the latter by half an hour


def micros(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def utc(zone: ZoneInfo, *batches: list[str]) -> list[str]:
    """What becomes of local times, in several batches; "" where one does not exist."""
    times, out = LocalTimes(zone), []
    for batch in batches:
        found, exists = times.utc(np.array([micros(t) for t in batch]), np.ones(len(batch), np.bool_))
        told = [(EPOCH + timedelta(microseconds=int(t))).strftime("%d %H:%M") for t in found]
        out += [t if e else "" for t, e in zip(told, exists, strict=True)]
    return out


AUTUMN = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]


def test_an_hour_that_occurs_twice_is_settled_by_the_order_of_rows() -> None:
    rows = [f"2025-10-26 {t}" for t in AUTUMN]
    right = ["25 23:30", "26 00:00", "26 00:30", "26 01:00", "26 01:30", "26 02:00"]
    assert utc(BERLIN, rows) == right
    for cut in range(7):  # in batches, wherever they are cut
        assert utc(BERLIN, rows[:cut], rows[cut:]) == right


def test_equal_times_stay_in_the_hour_they_are_in() -> None:
    rows = [f"2025-10-26 {t}" for t in ("02:30", "02:30", "02:10", "02:10", "02:50", "03:00")]
    assert utc(BERLIN, rows) == ["26 00:30", "26 00:30", "26 01:10", "26 01:10", "26 01:50", "26 02:00"]


def test_an_hour_that_does_not_occur_is_no_time() -> None:
    rows = [f"2026-03-29 {t}" for t in ("01:59", "02:00", "02:59", "03:00")]
    assert utc(BERLIN, rows) == ["29 00:59", "", "", "29 01:00"]


def test_clocks_that_change_by_half_an_hour() -> None:
    rows = [f"2026-04-05 {t}" for t in ("01:29", "01:30", "01:59", "01:30", "01:59", "02:00")]
    assert utc(LORD_HOWE, rows) == ["04 14:29", "04 14:30", "04 14:59", "04 15:00", "04 15:29", "04 15:30"]
    gap = [f"2026-10-04 {t}" for t in ("01:59", "02:00", "02:29", "02:30")]
    assert utc(LORD_HOWE, gap) == ["03 15:29", "", "", "03 15:30"]


@given(st.lists(st.integers(0, 3 * 366 * 24 * 60), min_size=1, max_size=40).map(sorted), st.integers(0, 40))
def test_times_in_order_come_back(minutes: list[int], cut: int) -> None:
    """UTC to the wall and back, for rows in order a few hours apart at most where clocks change."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    every = sorted({start + timedelta(minutes=m) for m in minutes})
    # As long as a row of the first hour stands above each of the second: else nothing says which it is.
    every = sorted({t + d for t in every for d in (timedelta(0), timedelta(hours=-1))})
    local = [t.astimezone(BERLIN).replace(tzinfo=UTC) for t in every]
    given_ = np.array([(t - EPOCH) // timedelta(microseconds=1) for t in local])
    times, cut = LocalTimes(BERLIN), min(cut, len(local))
    found = [times.utc(part, np.ones(len(part), np.bool_)) for part in (given_[:cut], given_[cut:])]
    assert np.concatenate([f for _, f in found]).all()
    right = [(t - EPOCH) // timedelta(microseconds=1) for t in every]
    assert np.concatenate([f for f, _ in found]).tolist() == right


def test_a_zone_that_is_none() -> None:
    with pytest.raises(ConfigError, match="'Berlin' is no time zone"):
        zone_of("Berlin")
