"""RIoTBench's sample streams by examples/riotbench, its configuration and contracts: exact counts of what is met."""

from collections import Counter
from typing import Any

import pytest

from bridge import routing
from bridge.decoders import formats
from bridge.decoders.base import Found, Reading, Refused, Source
from headrace.config import load
from headrace.config.routes import contract_problems
from headrace.contracts.files import find
from headrace.contracts.lint import lint
from headrace.contracts.model import Contract
from tests.unit.raw_log import Log
from tests.unit.recordings import RECORDINGS, ROOT, needed

FOLDER = ROOT / "examples" / "riotbench"
CONFIG = load(FOLDER / "headrace.yaml", {})
SYS, TAXI, FIT = (f"RIoTBench/{name}_sample_data_senml.csv" for name in ("SYS", "TAXI", "FIT"))
RANGES = {"trip_time_in_secs": (140, 3155), "trip_distance": (1.37, 29.86), "fare_amount": (6, 201),
          "tip_amount": (0.65, 38.55), "tolls_amount": (2.5, 18)}  # fmt: skip


def contract(name: str) -> Contract:
    return find(CONFIG.contract_of(name), CONFIG.contracts)


def payloads(recording: str) -> list[bytes]:
    """What RIoTBench streams: a line without the time before its first comma, by which it is replayed."""
    lines = (RECORDINGS / recording).read_text(encoding="utf-8").splitlines()
    return [line.partition(",")[2].encode() for line in lines]


def decoded(topic: str, sent: list[bytes]) -> tuple[str, list[Found]]:
    """The topic's stream, and what the bridge makes of payloads there."""
    (target,) = routing.build(CONFIG).match(topic).targets
    stream = target.route.stream
    decoder = formats.decoder(contract(stream), 1, target.route)
    source = Source(target.captures, target.route.options.unknown_fields)
    return stream, [one for payload in sent for one in decoder.decode(payload, source, 1)]


def cleaned(topic: str, recording: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """(the rows that pass, how often each rule acted on each field), where no copy is recognised."""
    stream, found = decoded(topic, payloads(recording))
    log = Log(contract(stream), lookback=10_000)
    for one in found:
        assert isinstance(one, Reading), one
        assert one.identified
        log.append(one.value)
    rows = log.rows()
    return rows, Counter(note for row in rows for note in (row["_quality"] or "").split(";") if note)


def test_the_example_is_good() -> None:
    assert list(contract_problems(CONFIG)) == []
    for path in FOLDER.glob("*.avsc"):
        assert lint(contract(path.stem)) == []


@needed(SYS)
def test_city_sensors() -> None:
    rows, notes = cleaned("riotbench/replayer/sys", SYS)
    assert (len(rows), len({row["device_id"] for row in rows})) == (1000, 788)
    nulled = {f: sum(row[f] is None for row in rows) for f in ("temperature", "humidity", "light", "dust")}
    assert nulled == {"temperature": 0, "humidity": 5, "light": 919, "dust": 120}
    assert sum(row["airquality_raw"] is None for row in rows) == 163
    assert notes["dust:sentinel:null"] == 1
    assert notes["latitude:minimum:null"] == 7  # latitude and longitude are swapped
    assert sum(notes.values()) == 5 + 919 + 120 + 163 + 7


@needed(TAXI)
def test_taxi_trips() -> None:
    rows, notes = cleaned("riotbench/replayer/taxi", TAXI)
    assert (len(rows), len({row["device_id"] for row in rows})) == (1000, 782)
    assert {f: sum(row[f] is None for row in rows) for f in RANGES} == {
        "trip_time_in_secs": 53, "trip_distance": 228, "fare_amount": 147, "tip_amount": 539, "tolls_amount": 923,
    }  # fmt: skip
    assert notes["event_time:monotonic:flag"] == 53  # a taxi that reports twice at one time
    unknown = {n: c for n, c in notes.items() if n.endswith(":sentinel:null")}
    assert unknown == {
        "pickup_longitude:sentinel:null": 20, "pickup_latitude:sentinel:null": 18,
        "dropoff_longitude:sentinel:null": 20, "dropoff_latitude:sentinel:null": 19,
    }  # fmt: skip
    assert not any(":allowed:" in n or ":pattern:" in n or ":sum_of_parts:" in n for n in notes)


@needed(FIT)
def test_body_sensors_whose_readings_come_again_and_are_out_of_order() -> None:
    rows, notes = cleaned("riotbench/replayer/fit", FIT)
    assert len(rows) == 45
    assert len(set(payloads(FIT))) == 3  # so that 42 of them are copies, where event ids tell
    assert notes == {"event_time:monotonic:flag": 14}


@pytest.mark.parametrize(("unit", "good"), [("far", True), ("Cel", False)])
def test_a_label_that_is_wrong_is_noticed_when_it_changes(unit: str, good: bool) -> None:
    record = f'{{"v":"8","u":"{unit}","n":"temperature"}}'
    payload = f'{{"e":[{{"u":"string","n":"source","sv":"s1"}},{record}],"bt":1422748800000}}'.encode()
    _, (one,) = decoded("riotbench/replayer/sys", [payload])
    assert isinstance(one, Reading if good else Refused)
    if isinstance(one, Refused):
        assert "temperature: the unit is 'Cel', and the route says 'far'" in str(one.error)
