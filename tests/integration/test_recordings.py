"""Real recordings through the whole platform: exact counts, and defects as the contract says.

Skipped without the recordings. Set RECORDINGS to their folder; ../shared/data beside the checkout is found without it.
"""

import csv
import gzip
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.recording import MAPPING
from tests.stack import ROOT, Stack

RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))
IMU = RECORDINGS / "IMU-sp-sw-har" / "DATA.tar.xz"
BEIJING = RECORDINGS / "ENV-Beijing-MultiSite"
UCI = RECORDINGS / "ENV-UCI-AirQuality" / "AirQualityUCI.csv"

pytestmark = [pytest.mark.integration, pytest.mark.recordings, pytest.mark.lane("streams")]

BEIJING_MAP = (
    "PM2.5=pm2_5,PM10=pm10,SO2=so2,NO2=no2,CO=co,O3=o3,TEMP=temperature,PRES=pressure,DEWP=dew_point,"
    "RAIN=rain,wd=wind_direction,WSPM=wind_speed"
)
UCI_MAP = (
    "CO(GT)=co_mg,PT08.S1(CO)=sensor_1,NMHC(GT)=nmhc,C6H6(GT)=benzene,PT08.S2(NMHC)=sensor_2,NOx(GT)=nox_ppb,"
    "PT08.S3(NOx)=sensor_3,NO2(GT)=no2,PT08.S4(NO2)=sensor_4,PT08.S5(O3)=sensor_5,T=temperature,RH=humidity,"
    "AH=absolute_humidity"
)


@dataclass(frozen=True)
class Source:
    """A recording: the file that holds it, and how `headrace replay` is to read it."""

    file: Path
    stream: str
    device: str
    mapping: str
    time: str
    zone: str = ""
    part: str = ""  # of an archive: only files in this folder

    def missing(self) -> str:
        """Why it can't be replayed; empty where it can."""
        place = f"{self.file.parent.name}/{self.file.name}"
        return "" if self.file.exists() else f"no {place} in {RECORDINGS}: set RECORDINGS to the folder that has it"

    def files(self, folder: Path) -> list[Path]:
        """The CSV files to replay, those of an archive unpacked into `folder`."""
        if not self.part:
            return [self.file]
        with tarfile.open(self.file) as tar:
            for member in tar.getmembers():
                content = tar.extractfile(member) if member.name.startswith(self.part) else None
                if content is not None:
                    (folder / Path(member.name).name).write_bytes(content.read())
        return sorted(folder.glob("*.csv"))


BEIJING_TIME = "year+month+day+hour:%Y %m %d %H"
SOURCES = {
    "imu": Source(IMU, "imu", "{stem}", MAPPING, "timestamp:ms", part="s01/"),
    "uci": Source(UCI, "environment", "uci", UCI_MAP, "Date+Time:%d/%m/%Y %H.%M.%S", "Etc/GMT-1"),
    **{
        station: Source(
            BEIJING / f"PRSA_Data_{station}_20130301-20170228.csv.gz",
            "environment", station, BEIJING_MAP, BEIJING_TIME, "Asia/Shanghai",
        )
        for station in ("Dingling", "Guanyuan", "Wanliu")
    },
}  # fmt: skip


def replayed(stack: Stack, folder: Path, name: str) -> list[Path]:
    """The files of a recording, by its name in SOURCES, sent and stored; skips the test where it is not here."""
    it = SOURCES[name]
    if why := it.missing():
        pytest.skip(why)
    files = it.files(folder)
    stack.run(
        "replay", *map(str, files), "--stream", it.stream, "--device", it.device, "--map", it.mapping,
        "--time", it.time, *(("--time-zone", it.zone) if it.zone else ()), "--speed", "max",
        timeout=300,
    )  # fmt: skip
    report = stack.json("verify", "--wait", "240", "--json", timeout=300)["streams"][it.stream]
    assert (report["gaps"], report["duplicates"]) == (0, 0), report
    return files


def query(stack: Stack, sql: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(stack.run("query", "--format", "csv", sql).stdout), keep_default_na=False)


def count_of(stack: Stack, sql: str) -> int:
    return int(str(query(stack, sql).iloc[0, 0]))


def check_absent(stack: Stack, device: str, rows: list[dict[str, str]], noted: int, absent: dict[str, int]) -> None:
    """Every row is stored. Exactly the `absent` values (how many, by column=field) are null, each with a note."""
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


@pytest.mark.long
def test_phone_and_watch_recordings_arrive_whole(stack: Stack, tmp_path: Path) -> None:
    files = replayed(stack, tmp_path, "imu")
    sent = sum(len(f.read_text().splitlines()) - 1 for f in files)
    assert sent > 10_000
    of_these = "from imu where device_id like 's01\\_%' escape '\\'"
    assert count_of(stack, f"select count(*) {of_these}") == sent
    one = files[0].stem
    columns = "ax, ay, az, gx, gy, gz, epoch_ms(event_time) as timestamp"
    got = query(stack, f"select {columns} from imu where device_id = '{one}' order by all")
    want = pd.read_csv(files[0]).rename(columns=dict(pair.split("=") for pair in MAPPING.split(",")))[list(got.columns)]
    pd.testing.assert_frame_equal(got, want.sort_values(list(got.columns), ignore_index=True), check_exact=True)


@pytest.mark.long
@pytest.mark.parametrize(("station", "incomplete"), [("Dingling", 3758), ("Guanyuan", 2801), ("Wanliu", 4430)])
def test_missing_values_of_air_stations_end_as_nulls_with_a_note(
    stack: Stack, tmp_path: Path, station: str, incomplete: int
) -> None:
    (path,) = replayed(stack, tmp_path, station)
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


def test_sentinels_of_a_gas_sensor_array_end_as_nulls_with_a_note(stack: Stack, tmp_path: Path) -> None:
    (path,) = replayed(stack, tmp_path, "uci")
    with path.open(newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["Date"]]
    absent = {p: sum(float(r[p.split("=")[0]]) == -200 for r in rows) for p in UCI_MAP.split(",")}
    some_absent = sum(any(float(r[p.split("=")[0]]) == -200 for p in UCI_MAP.split(",")) for r in rows)
    assert (len(rows), some_absent) == (9357, 8530)
    check_absent(stack, "uci", rows, some_absent, absent)
