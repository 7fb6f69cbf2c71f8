"""The models are physics, so they are tested as physics: by their units, spectra and balances."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.contracts.files import find
from headrace.simulation.defects import DUPLICATE, GAP, MALFORMED, MISSING, OUT_OF_RANGE, SENTINEL, Defects
from headrace.simulation.models.bearing import SAMPLING_RATE, bearing, outer_race_hz
from headrace.simulation.models.day import day
from headrace.simulation.models.motion import GRAVITY, motion


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def take(readings: Iterator[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    return list(itertools.islice(readings, n))


@pytest.mark.parametrize(
    ("contract", "readings"),
    [
        ("imu", take(motion(rng(), 100.0), 5000)),
        ("environment", take(day(rng(), 1.7e9, 60.0), 3000)),
        ("vibration", take(bearing(rng(), 20, 256), 25)),
    ],
)
def test_every_reading_is_within_its_contract(contract: str, readings: list[dict[str, Any]]) -> None:
    fields = {f.name: f for f in find(contract).fields}
    for reading in readings:
        for name, value in reading.items():
            low, high = fields[name].minimum, fields[name].maximum
            for x in value if isinstance(value, list) else [value]:
                if isinstance(x, float):
                    assert math.isfinite(x)
                    assert low is None or low <= x
                    assert high is None or x <= high


def test_a_body_at_rest_feels_gravity_and_one_that_walks_its_steps() -> None:
    rate = 100.0
    rows = take(motion(rng(3), rate), 30_000)
    force = np.array([[r["ax"], r["ay"], r["az"]] for r in rows])
    walking = np.array([r["label"] == "WALKING" for r in rows])
    # Seconds after a change of activity are between the two.
    changes = np.concatenate([[0], np.flatnonzero(np.diff(walking)) + 1])
    since = np.arange(len(walking)) - changes[np.searchsorted(changes, np.arange(len(walking)), side="right") - 1]
    settled = since > 400
    size = np.linalg.norm(force, axis=1)
    assert abs(size[settled & ~walking].mean() - GRAVITY) < 0.15
    assert size[settled & ~walking].std() < 0.1
    assert size[settled & walking].std() > 1
    start = next(i for i in range(len(rows)) if (settled & walking)[i : i + 512].all())
    spectrum = np.abs(np.fft.rfft(size[start : start + 512] - size[start : start + 512].mean()))
    assert 1.4 < np.argmax(spectrum) * rate / 512 < 2.3  # steps a second


def test_turning_is_the_derivative_of_tilt() -> None:
    rate = 200.0
    rows = take(motion(rng(5), rate), 20_000)
    gx = np.array([r["gx"] for r in rows])
    assert abs(gx.mean()) < 0.05  # nobody turns round and round
    assert np.abs(gx).max() < 10


def test_the_fault_is_an_amplitude_modulation_at_the_ball_pass_frequency() -> None:
    waves = [np.array(r["samples"]) for r in take(bearing(rng(2), 20, 12_000), 21)]
    rms = [float(np.sqrt((w**2).mean())) for w in waves]
    assert rms[20] > 3 * rms[0]
    late = waves[20]
    spectrum = np.fft.rfft(late)
    frequency = np.fft.rfftfreq(len(late), 1 / SAMPLING_RATE)
    spectrum[(frequency < 2000) | (frequency > 4000)] = 0
    analytic = np.fft.ifft(np.concatenate([2 * spectrum, np.zeros(len(late) - len(spectrum))]))
    envelope = np.abs(np.fft.rfft(np.abs(analytic) - np.abs(analytic).mean()))
    band = (frequency > 50) & (frequency < 160)
    peak = float(frequency[band][np.argmax(envelope[band])])
    assert abs(peak - outer_race_hz(29.95)) / peak < 0.04
    assert outer_race_hz(29.95) == pytest.approx(107.3, abs=0.2)  # 3.585 times the shaft, by the maker's table


def test_a_day_is_warm_after_noon_dry_when_warm_and_stuffy_when_full() -> None:
    rows = take(day(rng(4), 1_704_067_200.0, 600.0), 144)
    warmth = np.array([r["temperature"] for r in rows])
    damp = np.array([r["humidity"] for r in rows])
    air = np.array([r["co2"] for r in rows])
    assert 13 < np.argmax(warmth) / 6 < 17
    assert np.corrcoef(warmth, damp)[0, 1] < -0.8
    assert air[int(13.5 * 6)] > air[4 * 6] + 100
    assert air.min() > 380


def test_the_same_seed_gives_the_same_readings() -> None:
    assert take(motion(rng(7), 50), 600) == take(motion(rng(7), 50), 600)
    assert take(day(rng(7), 0, 10), 100) == take(day(rng(7), 0, 10), 100)
    assert take(bearing(rng(7), 10, 64), 5) == take(bearing(rng(7), 10, 64), 5)


@pytest.mark.parametrize("stream", ["imu", "environment", "vibration"])
def test_defects_are_what_the_counts_say(stream: str) -> None:
    model = {"imu": motion(rng(), 50.0), "environment": day(rng(), 0, 10), "vibration": bearing(rng(), 100, 16)}[stream]
    defects = Defects(stream, rng(9))
    sent: list[bytes] = []
    n = 4000
    for i, reading in enumerate(take(model, n)):
        sent += defects.apply({"sequence": i, **reading})
    defects.finish()
    counts = defects.counts
    whole = []
    for payload in sent:
        try:
            whole.append(orjson.loads(payload))
        except orjson.JSONDecodeError:
            counts.subtract([MALFORMED])
    assert counts[MALFORMED] == 0
    assert len(sent) - len(set(sent)) == counts[DUPLICATE] > 0
    lowest = {"imu": "ax", "environment": "temperature", "vibration": "samples"}[stream]
    limit = find(stream).field(lowest).maximum
    assert limit is not None
    assert sum(np.max(r[lowest]) > limit for r in whole) == counts[OUT_OF_RANGE] > 0
    assert sum(r.get("humidity") == -999 for r in whole) == counts[SENTINEL]
    assert (counts[SENTINEL] > 0) == (stream == "environment")
    trailing = n - counts[MISSING] + counts[DUPLICATE] - len(sent)
    assert 0 <= trailing < 20  # a last gap, which nothing follows
    assert counts[GAP] > 0
