"""Files that others recorded, read without a word of help: each cell and number as pandas has it, told the dialect.

Skipped without the recordings. Set RECORDINGS to their folder; ../shared/data beside the checkout is found without it.
"""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace.readers import delimited, formats
from headrace.readers.base import LeftOut, Table
from headrace.readers.source import Source
from headrace.readers.textmarks import plain
from tests.stack import ROOT

RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))

pytestmark = pytest.mark.recordings


def whole(path: Path) -> tuple[Table, pa.Table, list[LeftOut], dict[str, str]]:
    """All rows of a file, which are numbered from 0 without a gap but for those left out."""
    with Source(path) as source:
        reader = formats.open_file(source, {})
        batches = list(reader.batches())
        left = [it for batch in batches for it in batch.left_out]
        seen = [*(n for batch in batches for n in batch.numbers.to_pylist()), *(it.number for it in left)]
        assert sorted(seen) == list(range(len(seen)))
        table = pa.Table.from_batches([it.rows for it in batches]).combine_chunks()
        return reader.tables[0], table, left, reader.dialect


def same(path: Path, columns: list[str], **how: object) -> pd.DataFrame:
    """Compare with pandas: text by text, and number by number where the column has some."""
    text: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, **how)  # type: ignore[call-overload]
    table, found, _, dialect = whole(path)
    assert [it.name for it in table.columns] == columns
    assert found.num_rows == len(text)
    for i in range(len(columns)):
        theirs = text.iloc[:, i]
        ours = found.column(i).combine_chunks()
        ours = ours.chunk(0) if isinstance(ours, pa.ChunkedArray) else ours
        assert ours.to_pylist() == [it.strip(" \t") or None for it in theirs]
        mine = plain(ours, dialect["decimal"], dialect["thousands"]).cast(pa.float64()).to_pylist()
        parsed = pd.to_numeric(theirs, errors="coerce").to_numpy(dtype=float)
        np.testing.assert_array_equal([np.nan if it is None else it for it in mine], parsed)
    return text


def there(pattern: str) -> list[Path]:
    """The files of a pattern. Skips the test where there are none."""
    found = sorted(RECORDINGS.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {RECORDINGS}: set RECORDINGS to the folder that has it")
    return found


def test_motion_of_phones_and_watches(tmp_path: Path) -> None:
    with tarfile.open(there("IMU-sp-sw-har/DATA.tar.xz")[0]) as tar:
        tar.extractall(tmp_path, filter="data")
    files = sorted(tmp_path.rglob("s*_*_s?.csv"))[::10]
    rows = sum(
        len(same(it, ["x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro", "timestamp", "label"])) for it in files
    )
    assert len(files) >= 33
    assert rows > 30_000


def test_a_water_circuit() -> None:
    files = there("SKAB/data/*/*.csv")
    assert len(files) == 35
    for it in files[::7]:
        header = it.read_text().splitlines()[0].split(";")
        same(it, header, sep=";")


def test_series_of_the_numenta_benchmark() -> None:
    files = there("NAB/data/*/*.csv")
    assert len(files) == 58
    assert sum(len(same(it, ["timestamp", "value"])) for it in files[::8]) > 30_000


def test_air_in_beijing() -> None:
    for it in there("ENV-Beijing-MultiSite/*.csv.gz"):
        frame = pd.read_csv(it, nrows=1)
        assert len(same(it, list(frame.columns))) == 35_064


def test_air_in_italy_has_two_columns_of_nothing_and_a_row_of_nothing() -> None:
    path = there("ENV-UCI-AirQuality/AirQualityUCI.csv")[0]
    names = list(pd.read_csv(path, nrows=1).columns[:-2])
    assert len(same(path, names, skip_blank_lines=True)) == 9357
    left = whole(path)[2]
    assert [(it.number, it.place, it.reason) for it in left] == [(9357, "line 9359", "a blank line")]


def test_turbofans_have_no_header() -> None:
    for name, rows in (("train_FD001.txt.gz", 20_631), ("test_FD001.txt.gz", 13_096)):
        path = there(f"PDM-CMAPSS-FD001/{name}")[0]
        assert len(same(path, [f"column {i + 1}" for i in range(26)], sep=r"\s+", header=None)) == rows
    path = there("PDM-CMAPSS-FD001/RUL_FD001.txt")[0]
    assert same(path, ["column 1"], header=None)[0].astype(int).sum() == 7552


def test_a_mill_with_units_in_its_names() -> None:
    path = there("PDM-AI4I2020/ai4i2020.csv")[0]
    names = list(pd.read_csv(path, nrows=1).columns)
    assert len(same(path, names)) == 10_000
    units = {it.name: it.unit for it in whole(path)[0].columns if it.unit}
    assert units == {name: name.split("[")[1].rstrip("]") for name in names if "[" in name}


def test_the_same_rows_in_other_dialects(tmp_path: Path) -> None:
    """A recording written again as others would have written it."""
    path = there("SKAB/data/valve1/0.csv")[0]
    expected = whole(path)[1]
    frame = pd.read_csv(path, sep=";", dtype=str, keep_default_na=False)
    for mark, encoding, end, point in (
        ("\t", "utf-16", "\r\n", "."),
        (";", "cp1252", "\r", ","),
        (",", "utf-8-sig", "\n", "."),
    ):
        out = io.StringIO(newline="")
        frame.map(lambda it, to=point: it.replace(".", to)).to_csv(out, sep=mark, index=False, lineterminator=end)
        other = tmp_path / "a.csv"
        other.write_bytes(out.getvalue().encode(encoding))
        found, dialect = whole(other)[1], whole(other)[3]
        assert dialect["decimal"] == point
        for a, b in zip(found.columns, expected.columns, strict=True):
            assert [it and it.replace(",", ".") for it in a.to_pylist()] == b.to_pylist()


def test_what_is_not_delimited_text_is_not_taken() -> None:
    for it in there("*/DATA.tar.xz"):
        with Source(it) as source:
            assert not delimited.suits(source.head(), source.name)
