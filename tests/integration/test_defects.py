"""The defects of real recordings are met by rules on the real services, each exactly as often as the files have them.

docs/contract-reference.md says which rule meets which defect. Skips without the recordings.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import yaml

from headrace.lake.verify import Stream
from tests.integration import defects
from tests.integration.defects import Case
from tests.integration.several import Several
from tests.stack import ROOT, Stack
from tests.unit.recordings import RECORDINGS, needed

pytestmark = [pytest.mark.integration, pytest.mark.recordings, pytest.mark.lane("own-2"), pytest.mark.long]
EXAMPLE = ROOT / "examples" / "riotbench"
RIOTBENCH = RECORDINGS / "RIoTBench"
Make = Callable[[Path, Path], Case]
MAKE: dict[str, tuple[str, Make]] = {
    "imu": ("IMU-sp-sw-har", defects.imu),
    "nab": ("NAB", defects.nab),
    "skab": ("SKAB", defects.skab),
    "beijing": ("ENV-Beijing-MultiSite", defects.beijing),
    "uci": ("ENV-UCI-AirQuality", defects.uci),
}
SAMPLES = {"city": "SYS", "taxi": "TAXI", "fit": "FIT"}
TOPICS = {"city": "riotbench/replayer/sys", "taxi": "riotbench/replayer/taxi", "fit": "riotbench/replayer/fit"}
CITY = {
    "temperature": (-12.5, 43.1), "humidity": (10.7, 95.2), "light": (1345, 26282), "dust": (186.61, 5188.21),
    "airquality_raw": (17, 363),
}  # fmt: skip
TAXI = {
    "trip_time_in_secs": (140, 3155), "trip_distance": (1.37, 29.86), "fare_amount": (6, 201),
    "tip_amount": (0.65, 38.55), "tolls_amount": (2.5, 18),
}  # fmt: skip


class Sent(NamedTuple):
    """All that was sent, and what became of it."""

    streams: Several
    cases: dict[str, Case]
    verified: dict[str, Stream]
    quality: dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def sent(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Every recording that is here, through one bridge, one clean and one archive."""
    folder = tmp_path_factory.mktemp("defects")
    cases = {n: make(RECORDINGS / of, folder) for n, (of, make) in MAKE.items() if (RECORDINGS / of).exists()}
    streams = {name: case.stream for name, case in cases.items()}
    for case in cases.values():
        path = folder / f"{case.contract['name']}.avsc"
        path.write_text(json.dumps(case.contract), encoding="utf-8")
    messages = [message for case in cases.values() for message in case.messages]
    arrived = {name: case.arrived for name, case in cases.items()}
    if RIOTBENCH.exists():
        for name, it in yaml.safe_load((EXAMPLE / "headrace.yaml").read_text())["streams"].items():
            streams[name] = {"contract": name, **it}
            payloads = riotbench(name)[0]
            messages += [(TOPICS[name], payload) for payload in payloads]
            arrived[name] = len(payloads)
        # The same with a number in the topic: no two messages are copies of each other.
        (route,) = streams["fit"]["routes"]
        streams["numbered"] = {"contract": "fit", "routes": [{**route, "filter": route["filter"] + "/+"}]}
        messages += [(f"{TOPICS['fit']}/{i}", payload) for i, payload in enumerate(riotbench("fit")[0])]
        arrived["numbered"] = arrived["fit"]
    several = Several(stack, folder, streams, [str(folder), str(EXAMPLE)])
    with several.services():
        several.publish(messages)
        verified = several.when_stored(arrived)
    return Sent(several, cases, verified, several.quality())


def riotbench(name: str) -> tuple[list[bytes], pd.DataFrame]:
    return defects.senml(RIOTBENCH / f"{SAMPLES[name]}_sample_data_senml.csv")


def check(sent: Sent, name: str, rows: int, acts: Counter[str]) -> None:
    """So many rows; the rules acted as often as that, by the lake's notes, the dead letters and `headrace quality`."""
    found = sent.verified[name].total()
    assert (found.stored, found.gaps, found.duplicates) == (rows, 0, 0), sent.verified[name].problems
    each = f"select unnest(string_split(_quality, ';')) as note from {{{name}}}"
    notes = sent.streams.query(f"select note, count(*) as n from ({each}) group by 1")
    kept = {act: n for act, n in acts.items() if not act.endswith(":reject")}
    assert dict(zip(notes["note"], notes["n"], strict=True)) == kept
    assert sent.verified[name].dead_letters == acts.total() - sum(kept.values())
    assert sent.quality.get(name, {}) == acts


@pytest.mark.parametrize("name", [pytest.param(name, marks=needed(of)) for name, (of, _) in MAKE.items()])
def test_each_rule_acts_as_often_as_the_recording_has_the_defect(sent: Sent, name: str) -> None:
    case = sent.cases[name]
    rejected = sum(n for act, n in case.acts.items() if act.endswith(":reject"))
    check(sent, name, case.arrived - rejected, case.acts)
    for column, total in case.sums.items():
        (found,) = sent.streams.query(f"select sum({column}) as s from {{{name}}}")["s"]
        assert found == pytest.approx(total, rel=1e-12)


def outside(found: pd.DataFrame, ranges: dict[str, tuple[float, float]]) -> Counter[str]:
    """Values outside their ranges, by what should be noted."""
    out = Counter[str]()
    for name, (low, high) in ranges.items():
        values = found[name].astype(float)
        out[f"{name}:minimum:null"] = int((values < low).sum())
        out[f"{name}:maximum:null"] = int((values > high).sum())
    return +out


@needed("RIoTBench")
def test_city_sensors(sent: Sent) -> None:
    """Of 1,000 readings just so many values are null; every other is as it was sent."""
    _, found = riotbench("city")
    acts = outside(found, CITY)
    unknown = int((found["dust"].astype(float) == -1).sum())
    acts["dust:minimum:null"] -= unknown
    acts["dust:sentinel:null"] += unknown
    acts["latitude:minimum:null"] = int((found["latitude"].astype(float) < -90).sum())  # swapped with the longitude
    check(sent, "city", 1000, acts)
    rows = sent.streams.query("select * from {city}")
    nulls = {name: int(rows[name].isna().sum()) for name in CITY}
    assert nulls == {"temperature": 0, "humidity": 5, "light": 919, "dust": 120, "airquality_raw": 163}
    rows["time"] = [int(t.timestamp() * 1000) for t in rows["event_time"]]
    both = rows.merge(found, left_on=["device_id", "time"], right_on=["source", "time"], suffixes=("", "_sent"))
    assert len(both) == 1000
    for name in CITY:
        stored = both[both[name].notna()]
        assert (stored[name] == stored[f"{name}_sent"].astype(float)).all(), name


@needed("RIoTBench")
def test_taxi_trips(sent: Sent) -> None:
    """Values out of range, coordinates of zero, taxis that report twice at one time."""
    _, found = riotbench("taxi")
    acts = outside(found, TAXI)
    for name in ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"):
        acts[f"{name}:sentinel:null"] = int((found[name].astype(float) == 0).sum())
    acts["event_time:monotonic:flag"] = sum(
        defects.not_later(group["time"]) for _, group in found.groupby("taxi_identifier")
    )
    kept = found[[*TAXI]].astype(float)
    kept = kept.where((kept >= [low for low, _ in TAXI.values()]) & (kept <= [high for _, high in TAXI.values()]))
    fast = int((kept["trip_distance"] / kept["trip_time_in_secs"] * 3600 > 100).sum())
    acts |= {f"{name}:plausible_speed:flag": fast for name in ("trip_distance", "trip_time_in_secs")}
    assert acts["event_time:monotonic:flag"] == 53
    check(sent, "taxi", 1000, +acts)


@needed("RIoTBench")
def test_body_sensors(sent: Sent) -> None:
    """Copies are stored once. Readings that are none, and out of order, are noted."""
    payloads, found = riotbench("fit")
    once = len(set(payloads))
    assert sent.verified["fit"].total().repeats_dropped == len(payloads) - once
    check(sent, "fit", once, Counter())
    back = defects.not_later(found["time"])
    check(sent, "numbered", len(payloads), Counter({"event_time:monotonic:flag": back}))
    assert (len(payloads), once, back) == (45, 3, 14)


@needed("RIoTBench")
def test_the_queries_of_the_example_fill_gaps_and_add_what_is_known_of_the_sensors(sent: Sent) -> None:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    fill, annotate = (block.partition("```")[0].replace("city", "{city}") for block in page.split("```sql\n")[1:])
    filled = sent.streams.query(fill)
    assert (len(filled), filled["filled"].sum()) == (1000, 0)  # no temperature is out of range
    file = str(RIOTBENCH / "city-metadata.txt")
    known = sent.streams.query(annotate.replace("{city}-metadata.txt", file))
    lines = (line.partition(":") for line in Path(file).read_text().splitlines())
    places = {device: note.split(",") for device, _, note in lines}
    assert len(known) == sum(device in places for device in riotbench("city")[1]["source"]) > 0
    assert all([row.place, row.type] == places[str(row.device_id)] for row in known.itertuples())
