"""What arrived before a reading, and for how long its value is the same: against a plain model."""

import itertools
import random
import time

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.clean.arrivals import Arrivals

Reading = tuple[str, int, int, float]  # device, time, offset, value
Answer = tuple[float | None, int, int]  # last, same, lasted
TYPES = {"device": pl.String, "time": pl.Int64, "offset": pl.Int64, "value": pl.Float64}


def model(log: list[Reading], length: int) -> list[Answer]:
    """The definition, word by word."""
    out: list[Answer] = []
    for device, at, offset, value in log:
        near = [(t, v) for d, t, o, v in log if d == device and offset - length <= o < offset]
        run = [(at, value), *itertools.takewhile(lambda it: it[1] == value, reversed(near))]  # noqa: B023
        out.append((near[-1][1] if near else None, len(run), at - run[-1][0]))
    return out


def frame(log: list[Reading]) -> pl.DataFrame:
    return pl.DataFrame(log, schema=TYPES, orient="row")


def ask(it: Arrivals, rows: pl.DataFrame) -> list[Answer]:
    return it.before(rows, np.ones(rows.height, np.bool_)).rows()


def run(log: list[Reading], length: int, cuts: set[int]) -> list[Answer]:
    it, out = Arrivals(length), []
    for a, b in itertools.pairwise([0, *sorted(c for c in cuts if c < len(log)), len(log)]):
        rows = frame(log[a:b])
        out += ask(it, rows)
        assert ask(it, rows) == out[a:]  # asking changes nothing
        it.add(rows)
    return out


# Device, how far the time is off the order of the log, offsets to the next, value.
STEP = st.tuples(st.sampled_from("ab"), st.integers(-5, 5), st.integers(1, 4), st.sampled_from([1.0, 1.0, 2.0]))
STEPS = st.lists(STEP, min_size=1, max_size=30)


def log_of(steps: list[tuple[str, int, int, float]]) -> list[Reading]:
    offsets = list(itertools.accumulate(step[2] for step in steps))
    return [(device, i + off, offsets[i], value) for i, (device, off, _, value) in enumerate(steps)]


@settings(deadline=None)
@given(STEPS, st.integers(1, 40), st.sets(st.integers(1, 29)))
def test_it_is_what_the_definition_says_however_the_log_is_cut(
    steps: list[tuple[str, int, int, float]], length: int, cuts: set[int]
) -> None:
    log = log_of(steps)
    assert run(log, length, cuts) == model(log, length)


@settings(deadline=None)
@given(STEPS, st.integers(1, 20), st.integers(1, 29))
def test_a_memory_read_again_from_the_log_answers_the_same(
    steps: list[tuple[str, int, int, float]], length: int, start: int
) -> None:
    log = log_of(steps)
    start = min(start, len(log) - 1)
    again = Arrivals(length)
    again.add(frame([r for r in log[:start] if r[2] >= log[start][2] - length]))
    assert ask(again, frame(log[start:])) == model(log, length)[start:]


def test_long_runs_in_every_cut() -> None:
    rnd = random.Random(5)
    for _ in range(30):
        count = rnd.randint(1, 40)
        steps = [(rnd.choice("aab"), rnd.randint(-1, 1), rnd.choice([1, 1, 2]), float(rnd.random() < 0.1))
                 for _ in range(count)]  # fmt: skip
        length = rnd.choice([1, 2, 3, 5, 8, 15, 40])
        cuts = {rnd.randint(1, 39) for _ in range(rnd.choice([0, 1, 3, 8, 39]))}
        assert run(log_of(steps), length, cuts) == model(log_of(steps), length), (steps, length, cuts)


def test_a_dead_sensor_among_others_stays_quick_and_memory_is_bounded() -> None:
    """300,000 readings of 50 devices, one of which says the same all the time, for longer than we look back."""
    n, devices, length = 300_000, 50, 20_000
    at = np.arange(n)
    value = np.where(at % devices == 7, 20.0, at * 1.0)
    whole = pl.DataFrame({"device": [f"d{i % devices}" for i in range(n)], "time": at, "offset": at, "value": value})
    it, started = Arrivals(length), time.process_time()
    for a in range(0, n, 10_000):
        rows = whole[a : a + 10_000]
        found = it.before(rows, np.ones(rows.height, np.bool_))
        it.add(rows)
        dead = np.flatnonzero(at[a : a + 10_000] % devices == 7)
        expected = np.minimum(at[a : a + 10_000][dead] // devices, length // devices) + 1
        np.testing.assert_array_equal(found["same"].to_numpy()[dead], expected)
        assert found["same"].to_numpy().sum() == expected.sum() + 10_000 - len(dead)
    assert it._rows is not None
    assert it._rows.height <= 2 * length
    assert time.process_time() - started < 10
