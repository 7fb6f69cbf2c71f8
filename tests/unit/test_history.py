"""The device's reading before: against a plain model, whatever the batches."""

import itertools
import random
import time

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.clean.history import History

Reading = tuple[str, int, int, float]  # device, time, offset, value


def model(log: list[Reading], length: int) -> list[float | None]:
    """The definition, word by word."""
    out = []
    for device, at, offset, _ in log:
        earlier = [(t, o, v) for d, t, o, v in log if d == device and offset - length <= o < offset and t <= at]
        out.append(max(earlier)[2] if earlier else None)
    return out


def frame(log: list[Reading]) -> pl.DataFrame:
    types = {"device": pl.String, "time": pl.Int64, "offset": pl.Int64, "value": pl.Float64}
    return pl.DataFrame(log, schema=types, orient="row")


def ask(history: History, rows: pl.DataFrame) -> pl.Series:
    return history.before(rows, np.ones(rows.height, np.bool_))["before"]


def run(log: list[Reading], length: int, cuts: set[int]) -> list[float | None]:
    history, out = History(length), []
    for a, b in itertools.pairwise([0, *sorted(c for c in cuts if c < len(log)), len(log)]):
        rows = frame(log[a:b])
        before = ask(history, rows).to_list()
        assert ask(history, rows).to_list() == before  # asking changes nothing
        history.add(rows)
        out += before
    return out


# Device, how far the time is off the order of the log, offsets to the next.
STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=30)


def log_of(steps: list[tuple[str, int, int]]) -> list[Reading]:
    offsets = list(itertools.accumulate(step for *_, step in steps))
    return [(device, i + off, offsets[i], float(i)) for i, (device, off, _) in enumerate(steps)]


@settings(deadline=None)
@given(STEPS, st.integers(1, 40), st.sets(st.integers(1, 29)))
def test_it_is_the_latest_by_time_of_those_within_reach(
    steps: list[tuple[str, int, int]], length: int, cuts: set[int]
) -> None:
    log = log_of(steps)
    assert run(log, length, cuts) == model(log, length)


@settings(deadline=None)
@given(STEPS, st.integers(1, 20), st.integers(1, 29))
def test_a_history_read_again_from_the_log_answers_the_same(
    steps: list[tuple[str, int, int]], length: int, start: int
) -> None:
    log = log_of(steps)
    start = min(start, len(log) - 1)
    again = History(length)
    again.add(frame([r for r in log[:start] if r[2] >= log[start][2] - length]))
    assert ask(again, frame(log[start:])).to_list() == model(log, length)[start:]


def test_logs_in_every_disorder_and_cut() -> None:
    rnd = random.Random(7)
    for _ in range(150):
        count, spread = rnd.randint(1, 30), rnd.choice([0, 1, 3, 12, 40])
        steps = [(rnd.choice("ab"), rnd.randint(-spread, spread), rnd.choice([1, 1, 1, 2, 4])) for _ in range(count)]
        length = rnd.choice([1, 2, 3, 5, 8, 15, 40])
        cuts = {rnd.randint(1, 29) for _ in range(rnd.choice([0, 1, 3, 8, 29]))}
        assert run(log_of(steps), length, cuts) == model(log_of(steps), length), (steps, length, cuts)


def test_a_reading_dated_a_day_ahead_is_not_the_one_before_those_that_follow() -> None:
    log = [("a", 1, 0, 20.0), ("a", 86_400, 1, 90.0), ("a", 2, 2, 21.0), ("a", 3, 3, 22.0)]
    assert run(log, 100, {2}) == [None, 20.0, 20.0, 21.0]


def test_a_copy_and_a_late_reading_are_not_the_ones_before_newer_readings() -> None:
    first, second = ("a", 1, 0, 20.0), ("a", 2, 1, 24.0)
    copy, late, third = ("a", 1, 2, 20.0), ("a", 1, 3, 19.0), ("a", 3, 4, 28.0)
    assert run([first, second, copy, late, third], 100, {2, 3}) == [None, 20.0, 20.0, 20.0, 24.0]


def test_a_long_log_in_order_and_its_memory() -> None:
    """300,000 readings of 50 devices in batches: each follows the one 50 before it; what is out of reach is dropped."""
    n, devices, length = 300_000, 50, 20_000
    at = np.arange(n)
    whole = pl.DataFrame({"device": [f"d{i % devices}" for i in range(n)], "time": at, "offset": at, "value": at * 1.0})
    history, started = History(length), time.process_time()
    for a in range(0, n, 10_000):
        rows = whole[a : a + 10_000]
        expected = np.where(at[a : a + 10_000] >= devices, at[a : a + 10_000] - devices, np.nan)
        np.testing.assert_array_equal(ask(history, rows).cast(pl.Float64).fill_null(np.nan).to_numpy(), expected)
        history.add(rows)
    assert history._rows is not None
    assert history._rows.height <= 2 * length
    assert time.process_time() - started < 10


def test_a_device_that_sends_its_store_newest_first_stays_quick() -> None:
    """Every reading comes late, so none is found by the short way."""
    n = 30_000
    at = np.arange(n)
    whole = pl.DataFrame({"device": ["d"] * n, "time": n - at, "offset": at, "value": at * 1.0})
    history, started = History(n), time.process_time()
    for a in range(0, n, 10_000):
        assert ask(history, whole[a : a + 10_000]).null_count() == 10_000
        history.add(whole[a : a + 10_000])
    assert time.process_time() - started < 20
