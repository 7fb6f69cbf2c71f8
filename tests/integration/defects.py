"""Slices of real recordings that have defects, as messages, and what their contracts should make of them.

What should come of them is counted here, from the files, without anything of the product.
"""

import json
import tarfile
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

LINES = 200  # of CSV, in a message
Messages = list[tuple[str, bytes]]


class Case(NamedTuple):
    """A stream: its settings and contract, what is sent, and what should come of it."""

    stream: dict[str, Any]
    contract: dict[str, Any]
    messages: Messages
    arrived: int  # readings
    acts: Counter[str]  # by field:rule:action; a reading that is rejected is no row
    sums: dict[str, float]  # of columns, over all rows


def number(name: str, **rules: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", "double"], "default": None, "doc": "A number.", **rules}


def contract(name: str, time: dict[str, Any], *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A contract with rules on `event_time`."""
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    head = [
        {"name": "device_id", "type": "string", "doc": "Which."},
        {"name": "event_time", "type": moment, "doc": "When.", "minimum": 946684800000000, **time},
    ]
    tail = {"name": "_quality", "type": ["null", "string"], "default": None}
    return {"type": "record", "name": name, "doc": "A recording.", **more, "fields": [*head, *fields, tail]}


def stream(name: str, **csv: Any) -> dict[str, Any]:
    """Lines of CSV, from a topic for each device."""
    return {"contract": name, "routes": [{"filter": f"{name}/{{device_id}}", "format": "csv", "csv": csv}]}


def messages(topic: str, lines: Sequence[str], head: str = "") -> Messages:
    """Lines of CSV, many in a message, below the line with the names."""
    parts = [lines[i : i + LINES] for i in range(0, len(lines), LINES)]
    return [(topic, "\n".join([*([head] if head else []), *part]).encode()) for part in parts]


def lines_of(path: Path) -> tuple[str, list[str]]:
    """The first line of a file, and the others."""
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    return head, lines


def gaps(times: Iterable[float], limit: float) -> int:
    """Readings more than `limit` after the latest of those before them that is not later."""
    past: list[float] = []
    count = 0
    for at in times:
        before = bisect_right(past, at)
        count += before > 0 and at - past[before - 1] > limit
        insort(past, at)
    return count


def not_later(times: Iterable[float]) -> int:
    """Readings that are not later than the one that came before them."""
    return sum(b <= a for a, b in pairwise(times))


def seconds(times: "pd.Series[Any]", form: str) -> list[float]:
    return [t.timestamp() for t in pd.to_datetime(times, format=form, utc=True)]


def imu(folder: Path, into: Path) -> Case:
    """A walk with a phone: 112 time steps of zero, and a gap of more than 100 ms."""
    with tarfile.open(folder / "DATA.tar.xz") as tar:
        content = tar.extractfile("s01/s01_04_sp.csv")
        assert content is not None
        (into / "imu.csv").write_bytes(content.read())
    head, lines = lines_of(into / "imu.csv")
    found = pd.read_csv(into / "imu.csv")
    times = [ms / 1000 for ms in found["timestamp"]]
    acts = {
        "event_time:monotonic:flag": not_later(times),
        "event_time:max_gap:flag": gaps((float(ms) for ms in found["timestamp"]), 100),
    }
    rules = {"monotonic": "increasing", "max_gap_seconds": 0.1, "on_violation": {"monotonic": "flag"}}
    axes = [number(f"{axis}_{kind}") for kind in ("acc", "gyro") for axis in "xyz"]
    label = {"name": "label", "type": ["null", "string"], "default": None, "doc": "What was going on."}
    it = contract("phone", {"aliases": ["timestamp"], "time_unit": "ms", **rules}, *axes, label)
    sums = {"z_acc": float(found["z_acc"].sum())}
    return Case(stream("phone"), it, messages("phone/s01", lines, head), len(lines), Counter(acts), sums)


def nab(folder: Path, into: Path) -> Case:
    """Times that come twice, a clock that jumps back, gaps. What is not later than the reading before is rejected."""
    slices = {
        "latency": ("realKnownCause/ec2_request_latency_system_failure.csv", slice(400, 800)),
        "machine": ("realKnownCause/machine_temperature_system_failure.csv", slice(10_000, 10_300)),
        "traffic": ("realTraffic/occupancy_t4013.csv", slice(700, 1100)),
    }
    sent, acts, arrived = [], Counter[str](), 0
    for device, (file, part) in slices.items():
        head, lines = lines_of(folder / "data" / file)
        sent += messages(f"nab/{device}", lines[part], head)
        times = seconds(pd.read_csv(folder / "data" / file)["timestamp"][part], "%Y-%m-%d %H:%M:%S")
        acts["event_time:monotonic:reject"] += not_later(times)
        acts["event_time:max_gap:flag"] += gaps(times, 450)
        arrived += len(times)
    it = contract("nab", {"aliases": ["timestamp"], "monotonic": "increasing", "max_gap_seconds": 450}, number("value"))
    return Case(stream("nab"), it, sent, arrived, acts, {})


def skab(folder: Path, into: Path) -> Case:
    """Gaps of two seconds."""
    head, lines = lines_of(folder / "data" / "valve1" / "0.csv")
    names = ["current", "pressure", "flow"]
    columns = ["event_time", "", "", "current", "pressure", "", "", "", "flow", "", ""]
    found = pd.read_csv(folder / "data" / "valve1" / "0.csv", sep=";")
    times = seconds(found["datetime"], "%Y-%m-%d %H:%M:%S")
    it = contract("skab", {"max_gap_seconds": 1.5}, *map(number, names))
    acts = Counter({"event_time:max_gap:flag": gaps(times, 1.5)})
    assert head.startswith("datetime;")
    sums = {"current": float(found["Current"].sum()), "flow": float(found["Volume Flow RateRMS"].sum())}
    settings = stream("skab", columns=columns, delimiter=";")
    return Case(settings, it, messages("skab/valve1", lines), len(lines), acts, sums)


def beijing(folder: Path, into: Path) -> Case:
    """NA in place of numbers and of the wind's direction. The time, in four columns, is put before each line."""
    path = folder / "PRSA_Data_Dingling_20130301-20170228.csv.gz"
    found = pd.read_csv(path, keep_default_na=False, dtype=str)[15_300:16_800]
    times = pd.to_datetime(found[["year", "month", "day", "hour"]].astype(int)).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    found.insert(0, "time", times)
    found.to_csv(into / "beijing.csv", index=False)
    _, lines = lines_of(into / "beijing.csv")
    names = {
        "PM2.5": "pm2_5", "PM10": "pm10", "SO2": "so2", "NO2": "no2", "CO": "co", "O3": "o3", "TEMP": "temperature",
        "PRES": "pressure", "DEWP": "dew_point", "RAIN": "rain", "wd": "wind_direction", "WSPM": "wind_speed",
    }  # fmt: skip
    acts = {f"{field}:sentinel:null": int((found[n] == "NA").sum()) for n, field in names.items()}
    fields = [number(f, sentinels=["NA"]) for f in names.values()]
    fields[10]["type"] = ["null", "string"]
    columns = ["event_time", "", "", "", "", "", *names.values(), ""]
    settings = stream("beijing", columns=columns)
    it = contract("beijing", {}, *fields)
    return Case(settings, it, messages("beijing/dingling", lines), len(lines), +Counter(acts), {})


def vapour_pressure(temperature: float, humidity: float) -> float:
    """In hPa, by the Magnus formula over water (WMO-No. 8, annex 4.B)."""
    return humidity / 100 * 6.112 * exp(17.62 * temperature / (243.12 + temperature))


def uci(folder: Path, into: Path) -> Case:
    """-200 for no value, and an absolute humidity that is said to be in g/m3, and is in kPa."""
    found = pd.read_csv(folder / "AirQualityUCI.csv", dtype=str).dropna(subset=["Date"])[:1500]
    clock = pd.to_datetime(found["Date"] + " " + found["Time"], format="%d/%m/%Y %H.%M.%S")
    found.insert(0, "time", clock.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    found.to_csv(into / "uci.csv", index=False)
    _, lines = lines_of(into / "uci.csv")
    names = {
        "CO(GT)": "co", "PT08.S1(CO)": "s1", "NMHC(GT)": "nmhc", "C6H6(GT)": "benzene", "PT08.S2(NMHC)": "s2",
        "NOx(GT)": "nox", "PT08.S3(NOx)": "s3", "NO2(GT)": "no2", "PT08.S4(NO2)": "s4", "PT08.S5(O3)": "s5",
        "T": "temperature", "RH": "humidity", "AH": "absolute_humidity",
    }  # fmt: skip
    numbers = found[list(names)].astype(float)
    acts = Counter({f"{field}:sentinel:null": int((numbers[n] == -200).sum()) for n, field in names.items()})
    whole = numbers[(numbers[["T", "RH", "AH"]] != -200).all(axis=1)]
    for t, rh, ah in zip(whole["T"], whole["RH"], whole["AH"], strict=True):
        pressure = vapour_pressure(t, rh)
        acts["absolute_humidity:mass:flag"] += abs(ah - 100 * pressure / 0.4615 / (t + 273.15)) > 0.5
        acts["absolute_humidity:pressure:flag"] += abs(ah - pressure / 10) > 0.04
    identities = {"mass": "absolute_humidity(temperature, humidity)) <= 0.5",
                  "pressure": "vapour_pressure(temperature, humidity) / 10) <= 0.04"}  # fmt: skip
    rules = [
        {"name": n, "expression": f"abs(absolute_humidity - {words}", "on_violation": "flag"}
        | {"fields": ["absolute_humidity"]}
        for n, words in identities.items()
    ]
    units = {"temperature": "Cel", "humidity": "%"}
    fields = [number(f, sentinels=[-200], **({"unit": units[f]} if f in units else {})) for f in names.values()]
    settings = stream("uci", columns=["event_time", "", "", *names.values()])
    it = contract("uci", {}, *fields, rules=rules)
    return Case(settings, it, messages("uci/street", lines), len(lines), +acts, {})


def senml(path: Path) -> tuple[list[bytes], pd.DataFrame]:
    """RIoTBench's messages, and what they say: a column for each name. A line begins with the time to send it at."""
    sent = [line.partition(",")[2] for line in path.read_text(encoding="utf-8").splitlines()]
    told = [json.loads(it) for it in sent]
    rows = [{"time": int(it["bt"]), **{r["n"]: r.get("v", r.get("sv")) for r in it["e"]}} for it in told]
    return [it.encode() for it in sent], pd.DataFrame(rows)
