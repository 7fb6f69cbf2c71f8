"""Files that others recorded, as readings by the profiles that ship: each value as pandas has it, and none lost.

Skipped without the recordings. Set RECORDINGS to their folder; ../shared/data beside the checkout is found without it.
"""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace.contracts import avro, columnar, model
from headrace.readers import formats
from headrace.readers.source import Source
from headrace.uploads import profile as profiles
from headrace.uploads.mapping import Mapped, RowMapping
from tests.stack import ROOT

RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))

pytestmark = pytest.mark.recordings


def there(pattern: str) -> list[Path]:
    found = sorted(RECORDINGS.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {RECORDINGS}: set RECORDINGS to the folder that has it")
    return found


def readings(path: Path, name: str) -> tuple[pa.Table, int]:
    """All readings of a file by a profile that ships, and how many rows were left out; each row is one or the other.

    They are encoded, and read again by fastavro: a sample of them, first and last rows included.
    """
    profile = profiles.load(ROOT / "examples" / "uploads" / f"{name}.yaml")
    contract = model.parse(profile.stream, (ROOT / "schemas" / f"{profile.stream}.avsc").read_text())
    schema, node = fastavro.parse_schema(contract.schema), avro.read_record(contract.schema)
    with Source(path) as source:
        reader = formats.open_file(source, profile.dialect)
        (table,) = reader.tables
        assert profile.fits(source.name, tuple(c.name for c in table.columns))
        mapping = RowMapping(profile, contract, table, source.name, reader.dialect)
        parts, out, numbers = [], 0, list[int]()
        for batch in reader.batches():
            found: Mapped = mapping.rows(batch)
            assert not found.refused, found.refused[0]
            numbers += [*found.numbers.tolist(), *(it.number for it in batch.left_out)]
            out += len(batch.left_out)
            part = pa.table(found.columns)
            datums = columnar.encode(node, found.columns, part.num_rows)
            for i in {0, part.num_rows // 2, part.num_rows - 1}:
                row: Any = fastavro.schemaless_reader(io.BytesIO(datums.at(i)), schema, None, return_record_name=False)
                assert {k: v for k, v in row.items() if k in found.columns} | {"event_time": None} == part.slice(
                    i, 1
                ).to_pylist()[0] | {"event_time": None}
            parts.append(part)
    assert sorted(numbers) == list(range(len(numbers)))
    return pa.concat_tables(parts, promote_options="permissive"), out


def same(found: pa.Table, expected: pd.DataFrame) -> None:
    """Each column of `expected`, bit for bit."""
    for name in expected.columns:
        ours, theirs = found.column(name), expected[name]
        if pa.types.is_floating(ours.type):
            np.testing.assert_array_equal(ours.to_pandas().to_numpy(float), theirs.to_numpy(float), err_msg=name)
        else:
            assert ours.to_pylist() == [None if pd.isna(v) else v for v in theirs.tolist()], name


def test_motion_of_phones_and_watches(tmp_path: Path) -> None:
    with tarfile.open(there("IMU-sp-sw-har/DATA.tar.xz")[0]) as tar:
        tar.extractall(tmp_path, filter="data")
    files, rows = sorted(tmp_path.rglob("s01_*_s?.csv")), 0  # of one person
    names = {"x_acc": "ax", "y_acc": "ay", "z_acc": "az", "x_gyro": "gx", "y_gyro": "gy", "z_gyro": "gz"}
    for path in files:
        found, out = readings(path, "har")
        frame = pd.read_csv(path).rename(columns=names)
        frame["event_time"] = frame.pop("timestamp") * 1000
        same(found, frame)
        assert (out, set(found.column("device_id").to_pylist())) == (0, {path.stem})
        rows += found.num_rows
    assert len(files) > 10
    assert rows > 10_000


def test_air_in_beijing_with_a_note_for_each_na() -> None:
    for path in there("ENV-Beijing-MultiSite/*.csv.gz")[:1]:
        found, out = readings(path, "beijing")
        frame = pd.read_csv(path)
        when = pd.to_datetime(frame[["year", "month", "day", "hour"]]).dt.tz_localize("Asia/Shanghai")
        names = {
            "PM2.5": "pm2_5",
            "PM10": "pm10",
            "SO2": "so2",
            "CO": "co",
            "O3": "o3",
            "TEMP": "temperature",
            "WSPM": "wind_speed",
        }
        expected = frame.rename(columns=names)[list(names.values())].assign(
            event_time=when.dt.tz_convert("UTC").astype("datetime64[us, UTC]").astype("int64"),
            device_id=frame["station"],
        )
        same(found, expected)
        notes = "".join(x or "" for x in found.column("_quality").to_pylist())
        assert notes.count("pm10:sentinel:null") == int(frame["PM10"].isna().sum()) > 0
        assert out == 0


def test_air_in_italy_by_a_clock_that_had_no_summer_time() -> None:
    (path,) = there("ENV-UCI-AirQuality/AirQualityUCI.csv")
    found, out = readings(path, "uci")
    frame = pd.read_csv(path).dropna(how="all").iloc[:, :-2]
    names = {"CO(GT)": "co_mg", "T": "temperature", "RH": "humidity", "AH": "absolute_humidity", "C6H6(GT)": "benzene"}
    same(found, frame.rename(columns=names)[list(names.values())])
    assert (found.num_rows, out) == (9357, 1)
    assert set(np.diff(np.array(found.column("event_time").to_pylist())).tolist()) == {3_600_000_000}
