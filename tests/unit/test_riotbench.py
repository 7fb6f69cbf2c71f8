"""RIoTBench's sample streams under the contracts in examples/riotbench: exact counts of what the ranges meet."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from headrace.contracts.lint import lint
from headrace.contracts.model import Contract, parse
from tests.unit.raw_log import Log
from tests.unit.recordings import RECORDINGS, ROOT, needed

FOLDER = ROOT / "examples" / "riotbench"
SYS, TAXI, FIT = (f"RIoTBench/{name}_sample_data_senml.csv" for name in ("SYS", "TAXI", "FIT"))


def contract(name: str) -> Contract:
    return parse(name, (FOLDER / f"{name}.avsc").read_text(encoding="utf-8"))


def readings(name: str) -> Iterator[dict[str, Any]]:
    """Each line's names and values as SenML has them: numbers are texts there."""
    for line in (RECORDINGS / name).read_text(encoding="utf-8").splitlines():
        found = json.loads(line.partition(",")[2])
        yield {e["n"]: e.get("sv", e.get("v")) for e in found["e"]} | {"bt": found["bt"]}


def decoded(it: Contract, reading: dict[str, Any]) -> dict[str, Any]:
    """The values by field, of the field's type."""
    row: dict[str, Any] = {}
    for f in it.fields:
        value = next((reading[n] for n in (f.name, *f.aliases) if n in reading), None)
        if f.name == "event_time" and value is not None:
            row[f.name] = int(value) * 1000
        else:
            row[f.name] = float(value) if f.kind == "double" and value is not None else value
            row[f.name] = int(value) if f.kind == "long" and value is not None else row[f.name]
    return row


def cleaned(name: str, recording: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """(the rows that pass, how often each rule acted on each field)."""
    it = contract(name)
    log = Log(it, lookback=10_000)
    for reading in readings(recording):
        log.append(log.codec.write(1, decoded(it, reading)))
    rows = log.rows()
    return rows, Counter(note for row in rows for note in (row["_quality"] or "").split(";") if note)


def test_the_contracts_are_good() -> None:
    for path in FOLDER.glob("*.avsc"):
        assert lint(contract(path.stem)) == []


@needed(SYS)
def test_city_sensors() -> None:
    rows, notes = cleaned("city", SYS)
    assert len(rows) == 1000
    nulled = {f: sum(row[f] is None for row in rows) for f in ("temperature", "humidity", "light", "dust")}
    assert nulled == {"temperature": 0, "humidity": 5, "light": 919, "dust": 120}
    assert sum(row["airquality_raw"] is None for row in rows) == 163
    assert notes["dust:sentinel:null"] == 1
    assert notes["latitude:minimum:null"] == 7  # latitude and longitude are swapped
    assert sum(notes.values()) == 5 + 919 + 120 + 163 + 7


@needed(TAXI)
def test_taxi_trips() -> None:
    rows, notes = cleaned("taxi", TAXI)
    assert len(rows) == 1000
    ranges = {"trip_time_in_secs": (140, 3155), "trip_distance": (1.37, 29.86), "fare_amount": (6, 201),
              "tip_amount": (0.65, 38.55), "tolls_amount": (2.5, 18)}  # fmt: skip
    sent = list(readings(TAXI))
    outside = {f: sum(not low <= float(r[f]) <= high for r in sent) for f, (low, high) in ranges.items()}
    assert outside == {f: sum(row[f] is None for row in rows) for f in ranges}
    assert outside == {
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
def test_body_sensors_whose_readings_are_out_of_order() -> None:
    rows, notes = cleaned("fit", FIT)
    assert len(rows) == 45
    assert notes == {"event_time:monotonic:flag": 14}
