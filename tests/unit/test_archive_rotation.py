import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.model import Archive
from processors.archive.rotation import LEAST_SPLIT, Cause, Fill, cuts, due, largest

LIMITS = Archive(max_bytes=1000, max_records=100, max_age_seconds=60, idle_seconds=10)
DAY = 86_400_000_000


def test_the_first_limit_reached_is_the_cause() -> None:
    assert due(Fill(0, 0, 0, 0), LIMITS, 1e9) is None
    assert due(Fill(1, 10, 0, 0), LIMITS, 9.9) is None
    assert due(Fill(1, 10, 0, 0), LIMITS, 10) is Cause.IDLE
    assert due(Fill(1, 10, 0, 55), LIMITS, 60) is Cause.AGE
    assert due(Fill(100, 10, 0, 0), LIMITS, 0) is Cause.RECORDS
    assert due(Fill(1, 1000, 0, 0), LIMITS, 0) is Cause.BYTES


def test_the_largest_buffer_goes_first() -> None:
    assert largest({}) is None
    assert largest({("a", 0): 0}) is None
    assert largest({("a", 0): 5, ("b", 1): 7, ("b", 2): 6}) == ("b", 1)


@given(st.lists(st.integers(0, 100 * DAY), max_size=50), st.integers(1, 60))
def test_cuts_cover_all_and_hold_the_limit(times: list[int], most: int) -> None:
    ends = cuts(np.array(times, np.int64), most, 1.0)
    sizes = np.diff([0, *ends])
    assert sum(sizes) == len(times)
    assert all(0 < s <= most for s in sizes)


def test_a_long_span_of_event_time_is_cut() -> None:
    hourly = np.arange(10 * 1000, dtype=np.int64) * 3_600_000_000
    ends = cuts(hourly, 1_000_000, 24.0 * 50)
    assert ends[0] == 50 * 24 + 1
    spans = [hourly[b - 1] - hourly[a] for a, b in zip([0, *ends], ends, strict=False)]
    assert max(spans) <= 50 * DAY


def test_a_device_with_a_dead_clock_does_not_cut_everything_to_pieces() -> None:
    times = np.where(np.arange(10 * LEAST_SPLIT) % 2 == 0, 0, 10_000 * DAY)
    assert len(cuts(times, 1_000_000, 24.0)) == 10
