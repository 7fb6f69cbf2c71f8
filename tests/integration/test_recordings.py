"""Real recordings through the whole platform, where they are at hand: exact counts, defects as the contract says.

Set RECORDINGS to the folder that holds them; beside the checkout they are found in ../shared/data.
"""

import csv
import gzip
import io
import os
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.recording import MAPPING
from tests.stack import ROOT, Stack

RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))
IMU = RECORDINGS / "IMU-sp-sw-har" / "DATA.tar.xz"
BEIJING = RECORDINGS / "ENV-Beijing-MultiSite"
UCI = RECORDINGS / "ENV-UCI-AirQuality" / "AirQualityUCI.csv"

pytestmark = [pytest.mark.integration, pytest.mark.recordings]

BEIJING_MAP = (
    "PM2.5=pm2_5,PM10=pm10,SO2=so2,NO2=no2,CO=co,O3=o3,TEMP=temperature,PRES=pressure,DEWP=dew_point,"
    "RAIN=rain,wd=wind_direction,WSPM=wind_speed"
)
UCI_MAP = (
    "CO(GT)=co_mg,PT08.S1(CO)=sensor_1,NMHC(GT)=nmhc,C6H6(GT)=benzene,PT08.S2(NMHC)=sensor_2,NOx(GT)=nox_ppb,"
    "PT08.S3(NOx)=sensor_3,NO2(GT)=no2,PT08.S4(NO2)=sensor_4,PT08.S5(O3)=sensor_5,T=temperature,RH=humidity,"
    "AH=absolute_humidity"
)


def needs(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"the recording {path.name} is not here: set RECORDINGS to the folder that holds it")
    return path


def settle(stack: Stack, stream: str) -> None:
    report = stack.json("verify", "--wait", "120", "--json", timeout=180)["streams"][stream]
    assert (report["gaps"], report["duplicates"]) == (0, 0), report


def query(stack: Stack, sql: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(stack.run("query", "--format", "csv", sql).stdout), keep_default_na=False)


def count_of(stack: Stack, sql: str) -> int:
    return int(str(query(stack, sql).iloc[0, 0]))


def check_absent(stack: Stack, device: str, rows: list[dict[str, str]], noted: int, absent: dict[str, int]) -> None:
    """Every row is there; what was absent, by mapping, is null with a note of its field, and nothing else is null."""
    fields = [pair.split("=")[1] for pair in absent]
    nulls = ", ".join(f"count(*) filter ({f} is null) as {f}" for f in fields)
    notes = ", ".join(
        f"count(*) filter (list_contains(split(_quality, ';'), '{f}:sentinel:null')) as noted_{f}" for f in fields
    )
    counts = f"count(*) as n, count(_quality) as noted, {nulls}, {notes}"
    sql = f"select {counts} from environment where device_id = '{device}'"
    got = {str(k): int(v) for k, v in query(stack, sql).iloc[0].items()}
    want = {pair.split("=")[1]: count for pair, count in absent.items()}
    assert got == {"n": len(rows), "noted": noted, **want, **{f"noted_{f}": n for f, n in want.items()}}


def test_phone_and_watch_recordings_arrive_whole(stack: Stack, tmp_path: Path) -> None:
    with tarfile.open(needs(IMU)) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member) if member.name.startswith("s01/") else None
            if content is not None:
                (tmp_path / Path(member.name).name).write_bytes(content.read())
    files = sorted(tmp_path.glob("*.csv"))
    sent = sum(len(f.read_text().splitlines()) - 1 for f in files)
    assert sent > 10_000
    stack.run(
        "replay", *map(str, files), "--stream", "imu", "--device", "{stem}", "--map", MAPPING,
        "--time", "timestamp:ms", "--speed", "max",
    )  # fmt: skip
    settle(stack, "imu")
    of_these = "from imu where device_id like 's01\\_%' escape '\\'"
    assert count_of(stack, f"select count(*) {of_these}") == sent
    one = files[0].stem
    columns = "ax, ay, az, gx, gy, gz, epoch_ms(event_time) as timestamp"
    got = query(stack, f"select {columns} from imu where device_id = '{one}' order by all")
    want = pd.read_csv(files[0]).rename(columns=dict(pair.split("=") for pair in MAPPING.split(",")))[list(got.columns)]
    pd.testing.assert_frame_equal(got, want.sort_values(list(got.columns), ignore_index=True), check_exact=True)


@pytest.mark.parametrize(("station", "incomplete"), [("Dingling", 3758), ("Guanyuan", 2801), ("Wanliu", 4430)])
def test_missing_values_of_air_stations_end_as_nulls_with_a_note(stack: Stack, station: str, incomplete: int) -> None:
    path = needs(BEIJING / f"PRSA_Data_{station}_20130301-20170228.csv.gz")
    stack.run(
        "replay", str(path), "--stream", "environment", "--device", station, "--map", BEIJING_MAP,
        "--time", "year+month+day+hour:%Y %m %d %H", "--time-zone", "Asia/Shanghai",
        timeout=300,
    )  # fmt: skip
    settle(stack, "environment")
    with gzip.open(path, "rt", newline="") as f:
        rows = list(csv.DictReader(f))
    some_absent = sum(any(r[p.split("=")[0]] == "NA" for p in BEIJING_MAP.split(",")) for r in rows)
    assert (len(rows), some_absent) == (35_064, incomplete)
    check_absent(
        stack,
        station,
        rows,
        some_absent,
        {p: sum(r[p.split("=")[0]] == "NA" for r in rows) for p in BEIJING_MAP.split(",")},
    )


def test_sentinels_of_a_gas_sensor_array_end_as_nulls_with_a_note(stack: Stack) -> None:
    path = needs(UCI)
    stack.run(
        "replay", str(path), "--stream", "environment", "--device", "uci", "--map", UCI_MAP,
        "--time", "Date+Time:%d/%m/%Y %H.%M.%S", "--time-zone", "Europe/Rome",
        timeout=300,
    )  # fmt: skip
    settle(stack, "environment")
    with path.open(newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["Date"]]
    absent = {p: sum(float(r[p.split("=")[0]]) == -200 for r in rows) for p in UCI_MAP.split(",")}
    some_absent = sum(any(float(r[p.split("=")[0]]) == -200 for p in UCI_MAP.split(",")) for r in rows)
    assert (len(rows), some_absent) == (9357, 8530)
    check_absent(stack, "uci", rows, some_absent, absent)
