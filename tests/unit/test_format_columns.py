"""A message that is an object of lists: a reading for each sample, each with its exact time."""

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import Config
from headrace.errors import PoisonError, Reason
from tests.unit import payload_formats as pf
from tests.unit.payload_formats import HERE, NOW

ACC = {"type": "record", "name": "acc_t", "fields": [{"name": "x", "type": "double"}, {"name": "range", "type": "int"}]}
CONTRACT = pf.contract(ax="double", ay="double", battery="long", acc=ACC)
GOOD = b'{"t0": 1700000000, "dt": 0.1, "battery": 90, "ax": [0.5, 1, 2], "ay": [3, 4, 5]}'


def read(payload: bytes, **keys: str) -> list[dict[str, Any]]:
    it = pf.decoder(CONTRACT, format="columns", columns=keys)
    return pf.rows(CONTRACT, it.decode(payload, HERE, NOW))


def times(payload: bytes, **keys: str) -> list[int]:
    return [row["event_time"] - 1_700_000_000_000_000 for row in read(payload, **keys)]


def test_each_sample_is_a_reading_with_what_is_said_once() -> None:
    assert read(GOOD) == [
        {"event_time": 1_700_000_000_000_000, "battery": 90, "ax": 0.5, "ay": 3},
        {"event_time": 1_700_000_000_100_000, "battery": 90, "ax": 1, "ay": 4},
        {"event_time": 1_700_000_000_200_000, "battery": 90, "ax": 2, "ay": 5},
    ]
    (one, two) = read(b'{"t0": 1, "dt": 1, "acc": {"x": [0.5, 0.25], "range": 4}}')
    assert (one["acc"], two["acc"]) == ({"x": 0.5, "range": 4}, {"x": 0.25, "range": 4})


def test_the_time_base_is_told_in_several_ways() -> None:
    assert times(b'{"t0": "2023-11-14T23:13:20+01:00", "dt": 0.01, "ax": [1, 2]}') == [0, 10_000]
    assert times(b'{"ts": 1700000000000, "per": 250, "ax": [1, 2]}', start="ts", step="per", unit="ms") == [0, 250_000]
    assert times(b'{"t0": 1700000000, "dt": 250, "ax": [1, 2]}', step_unit="us") == [0, 250]
    assert times(b'{"t0": 1700000000, "rate": 3, "ax": [1, 2, 3, 4]}') == [0, 333_333, 666_666, 1_000_000]
    assert times(b'{"t0": [1700000000, 1700000000.25], "ax": [1, 2]}') == [0, 250_000]
    assert times(b'{"t0": 1700000000.000001, "ax": [1]}') == [1]


def test_a_start_that_names_no_zone_is_in_the_route_s() -> None:
    payload = b'{"t0": "2023-11-15T07:13:20", "dt": 1, "ax": [1]}'
    it = pf.decoder(CONTRACT, format="columns", time_zone="Asia/Tokyo")
    assert pf.rows(CONTRACT, it.decode(payload, HERE, NOW)) == [{"event_time": 1_700_000_000_000_000, "ax": 1}]
    assert times(b'{"t0": ["2023-11-14T22:13:20"], "ax": [1]}') == [0], "UTC, where the route has none"
    never = pf.decoder(CONTRACT, format="columns", time_zone="Europe/Berlin")
    assert "never came" in str(pf.refusal(never, b'{"t0": "2026-03-29T02:30:00", "ax": [1]}'))


def test_marks_nuls_and_bare_words_are_taken_as_in_json() -> None:
    assert read(b"\xef\xbb\xbf" + GOOD + b"\0\0") == read(GOOD)
    bare = b'{"t0": 1700000000.000001, "dt": 0.1, "ax": [NaN, 1.5], "label": "NaN"}'
    it = pf.decoder(pf.contract(ax="double", label="string"), format="columns")
    rows = pf.rows(pf.contract(ax="double", label="string"), it.decode(bare, HERE, NOW))
    assert rows == [
        {"event_time": 1_700_000_000_000_001, "label": "NaN", "_quality": "ax:not_finite:null"},
        {"event_time": 1_700_000_000_100_001, "label": "NaN", "ax": 1.5},
    ]
    assert "a number of fewer digits expected" in str(pf.refusal(it, b'{"t0": NaN, "ax": [1]}'))


def test_times_do_not_drift() -> None:
    samples = json.dumps([0] * 10_000).encode()
    assert times(b'{"t0": 1700000000.7, "dt": 0.1, "ax": %b}' % samples)[-1] == 700_000 + 9_999 * 100_000
    assert times(b'{"t0": 1700000000, "rate": 104, "ax": %b}' % samples)[-1] == 9_999 * 1_000_000 // 104


@given(st.integers(0, 4 * 10**15), st.integers(-(10**7), 10**7), st.integers(1, 50))
def test_a_time_is_its_start_and_whole_steps(start: int, step: int, count: int) -> None:
    whole = {"t0": start, "dt": step, "ax": list(range(count))}
    found = read(json.dumps(whole).encode(), unit="us")
    assert [(row["event_time"], row["ax"]) for row in found] == [(start + i * step, i) for i in range(count)]
    # the same base in seconds, written as a decimal number
    point = {**whole, "t0": "T0", "dt": "DT"}
    text = json.dumps(point).replace('"T0"', f"{start // 10**6}.{start % 10**6:06}")
    text = text.replace('"DT"', f"{'-' if step < 0 else ''}{abs(step) // 10**6}.{abs(step) % 10**6:06}")
    assert read(text.encode()) == found


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b'{"t0": 1, "dt": 1, "ax": [1, 2], "ay": [1]}', Reason.MALFORMED, "ay has 1 values, ax has 2"),
        (b'{"t0": [1], "ax": [1, 2]}', Reason.MALFORMED, "t0 has 1 values, ax has 2"),
        (b'{"t0": 1, "dt": 1, "acc": {"x": [1]}, "ay": [1, 2]}', Reason.MALFORMED, "acc.x has 1 values, ay has 2"),
        (b'{"dt": 1, "ax": [1, 2]}', Reason.MISSING_FIELD, "t0: the time of the first sample is missing"),
        (b'{"t0": 1, "ax": [1, 2]}', Reason.MISSING_FIELD, "dt: the time between two samples is missing"),
        (b'{"t0": 1, "rate": 0, "ax": [1, 2]}', Reason.OUT_OF_RANGE, "rate: samples a second expected"),
        (b'{"t0": 1, "ax": 5}', Reason.MISSING_FIELD, "no list of values. Is it the format json?"),
        (b'{"t0": "noon", "dt": 1, "ax": [1]}', Reason.WRONG_TYPE, "t0: a time as ISO 8601 text or a number expected"),
        (b'{"t0": 1e99, "dt": 1, "ax": [1]}', Reason.WRONG_TYPE, "t0: a number of fewer digits expected"),
        (b'{"t0": 1e20, "dt": 1, "ax": [1]}', Reason.OUT_OF_RANGE, "outside the years 1 to 9999. Is the unit"),
        (b'{"t0": true, "dt": 1, "ax": [1]}', Reason.WRONG_TYPE, "t0: a number expected"),
        (b"[1]", Reason.MALFORMED, "an object of lists expected, not a list. Is it the format json?"),
        (b'{"t0": 1, "ax": [1', Reason.MALFORMED, "not JSON: it ends in the middle, after 18 bytes"),
        (b"\x1f\x8b\x08\x00", Reason.MALFORMED, "Set `compression: gzip` in the route"),
        (b'{"t0": 1, "dt": 1, "ax": [1, "two"]}', Reason.WRONG_TYPE, "reading 2 of 2: ax: "),
        (b'{"t0": 1, "dt": 1, "ax": %b}' % json.dumps([0] * 10_001).encode(), Reason.TOO_LARGE, "10,001 samples"),
        (b'{"t0": 1, "dt": 1, "x": %b1%b}' % (b'{"a":' * 99, b"}" * 99), Reason.MALFORMED, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_no_such_object_is_refused_whole(payload: bytes, reason: Reason, words: str) -> None:
    error = pf.refusal(pf.decoder(CONTRACT, format="columns"), payload)
    assert error.reason is reason
    assert words in str(error)


def test_no_samples_are_no_reading() -> None:
    assert str(pf.decoder(CONTRACT, format="columns").decode(b'{"t0": 1, "ax": []}', HERE, NOW)) == (
        "[Skipped(why='empty')]"
    )


def test_settings_of_another_format_are_refused() -> None:
    with pytest.raises(ValueError, match=r"columns: settings of another format\. Write `format: columns`, or remove"):
        Config.model_validate({"streams": {"r": {"routes": [{"filter": "a/{device_id}", "columns": {}}]}}})


def test_a_moment_is_exact() -> None:
    from bridge.decoders import times as exact

    assert [m.microsecond for m in exact.moments(Fraction(1, 3), Fraction(1, 3), 4)] == [0, 0, 1, 1]
    with pytest.raises(PoisonError):
        exact.moments(Fraction(10**30), Fraction(1), 1)
