"""The defects of real recordings, each met by a rule: made up in small, and counted in the recordings where they are.

docs/contract-reference.md has the table.
"""

import csv
import gzip
import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from bridge.decoders.base import Reading, Source
from bridge.decoders.json.decoder import JsonDecoder
from headrace.contracts.files import find
from headrace.contracts.model import Contract
from processors.avro.codec import Codec
from tests.unit.raw_log import BASE, Log, contract_of
from tests.unit.recordings import RECORDINGS, needed

NAMED = {"TEMP": "temperature", "PRES": "pressure", "SO2": "so2", "O3": "o3"}  # of Beijing
BASE_TIME = 1_100_000_000_000_000  # microseconds since 1970
X = {"name": "x", "type": ["null", "double"], "default": None}
NAB = (
    "NAB/data/realKnownCause/machine_temperature_system_failure.csv",
    "NAB/data/realKnownCause/ec2_request_latency_system_failure.csv",
)
SKAB = "SKAB/data/valve1/0.csv"
UCI = "ENV-UCI-AirQuality/AirQualityUCI.csv"
BEIJING = "ENV-Beijing-MultiSite/PRSA_Data_Guanyuan_20130301-20170228.csv.gz"


def timed(**rules: Any) -> Contract:
    """A contract with rules on event_time."""
    return contract_of([BASE[0], {**BASE[1], **rules}, X])


CLOCK = timed(monotonic="increasing", max_gap_seconds=1.5, on_violation={"monotonic": "flag"})


def notes(it: Contract, seconds: list[int]) -> list[str | None]:
    log = Log(it)
    for at in seconds:
        log.write(1.0, at)
    return [row["_quality"] for row in log.rows()]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0, 1, 1, 2], [None, None, "monotonic", None]),  # a time step of zero, or a time that comes twice
        ([0, 1, 2, -3600, 3], [None, None, None, "monotonic", None]),  # a clock that jumps back
        ([0, 1, 3, 4], [None, None, "max_gap", None]),  # a gap
        ([0, 2, 1], [None, "max_gap", "monotonic"]),  # readings out of order: the gap was none, but that came later
    ],
)
def test_defects_of_time(seconds: list[int], expected: list[str | None]) -> None:
    assert notes(CLOCK, seconds) == [rule and f"event_time:{rule}:flag" for rule in expected]


def times(name: str, column: str, delimiter: str = ",") -> list[int]:
    """The times of a recording, in seconds since 1970."""
    with (RECORDINGS / name).open(encoding="utf-8") as file:
        found = [datetime.fromisoformat(row[column]) for row in csv.DictReader(file, delimiter=delimiter)]
    return [int(t.replace(tzinfo=UTC).timestamp()) for t in found]


def counted(it: Contract, seconds: list[int], rule: str) -> int:
    return sum(rule in (note or "") for note in notes(it, [s - max(seconds) for s in seconds]))


@needed("NAB")
@pytest.mark.parametrize(("name", "repeated", "back"), [(NAB[0], 0, 1), (NAB[1], 11, 0)])
def test_nab_repeats_times_and_one_clock_jumps_back(name: str, repeated: int, back: int) -> None:
    found = times(name, "timestamp")
    steps = [b - a for a, b in pairwise(found)]
    assert (steps.count(0), sum(s < 0 for s in steps)) == (repeated, back)
    first = next(i for i, s in enumerate(steps) if s <= 0)
    found = found[max(first - 100, 0) :] if repeated else found[first - 100 : first + 100]
    strict = timed(monotonic="increasing", on_violation={"monotonic": "flag"})
    assert counted(strict, found, "monotonic") == repeated + back


@needed("SKAB")
def test_skab_has_gaps_of_two_seconds() -> None:
    found = times(SKAB, "datetime", ";")
    gaps = sum(b - a > 1 for a, b in pairwise(found))
    assert counted(timed(max_gap_seconds=1.5), found, "max_gap") == gaps > 0


RULES = [
    {"name": "pressure", "expression": "abs(AH - vapour_pressure(T, RH) / 10) <= 0.04", "on_violation": "flag"},
    {"name": "mass", "expression": "abs(AH - absolute_humidity(T, RH)) <= 0.5", "on_violation": "flag"},
]
SENTINEL = {"type": ["null", "double"], "default": None, "sentinels": [-200]}


def air(rows: list[dict[str, float]]) -> list[str]:
    """What is noted of these hourly readings of the air."""
    rules = [{**rule, "fields": ["AH"]} for rule in RULES]
    log = Log(contract_of([*BASE, *({"name": n, **SENTINEL} for n in rows[0])], rules=rules))
    for i, row in enumerate(rows):
        base = {"device_id": "d", "event_time": BASE_TIME + i * 3_600_000_000, "_quality": None}
        log.append(log.codec.write(1, {**base, **row}))
    return [row["_quality"] or "" for row in log.rows()]


def test_a_wrong_unit_is_found_by_an_identity_and_a_sentinel_says_nothing() -> None:
    sent = [(13.6, 48.9, 0.7578), (13.6, 48.9, 5.75), (-200.0, 48.9, 5.75)]
    found = air([dict(zip(("T", "RH", "AH"), it, strict=True)) for it in sent])
    assert found == ["AH:mass:flag", "AH:pressure:flag", "T:sentinel:null"]


@needed(UCI)
def test_uci_has_a_sentinel_in_8530_rows_and_its_absolute_humidity_is_in_kilopascal() -> None:
    with (RECORDINGS / UCI).open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["Date"]]
    names = {n: re.sub(r"\W", "_", n) for n in rows[0] if n not in {"Date", "Time", ""}}
    found = air([{name: float(r[n]) for n, name in names.items()} for r in rows])
    assert len(found) == 9357
    assert sum("sentinel" in note for note in found) == 8530
    assert sum("T:sentinel" in note for note in found) == 366
    assert (sum("pressure" in n for n in found), sum("mass" in n for n in found)) == (0, 8991)


def test_na_in_place_of_a_number_is_a_null_with_a_note() -> None:
    (row,) = decoded([{"TEMP": "NA", "PRES": 1000.0}])
    assert (row["temperature"], row["pressure"]) == (None, 1000.0)
    assert row["_quality"] == "temperature:sentinel:null"


@needed(BEIJING)
def test_na_in_beijing() -> None:
    with gzip.open(RECORDINGS / BEIJING, "rt", encoding="utf-8") as file:
        rows = [r for r, _ in zip(csv.DictReader(file), range(3000), strict=False)]
    sent = [{k: v if v == "NA" else float(v) for k, v in r.items() if k in NAMED} for r in rows]
    missing = sum("NA" in r.values() for r in sent)
    assert sum(row["_quality"] is not None for row in decoded(sent)) == missing > 0


def decoded(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the bridge makes of payloads of the stream `environment`."""
    it = find("environment")
    decoder, codec, out = JsonDecoder(it, 1, ("device_id",)), Codec(it.schema), []
    for reading in sent:
        payload = json.dumps({NAMED[k]: v for k, v in reading.items()}).encode()
        (found,) = decoder.decode(payload, Source({"device_id": "d"}), BASE_TIME)
        assert isinstance(found, Reading)
        out.append(codec.read(found.value))
    return out
