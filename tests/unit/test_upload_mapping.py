"""Rows of a file as readings, by a profile: each row is a reading, or it is said why not."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.contracts import model
from headrace.errors import ConfigError, Reason
from headrace.readers.base import Batch, Column, Table
from headrace.uploads import profile as profiles
from headrace.uploads.mapping import Mapped, RowMapping
from headrace.uploads.profile import Profile

IMU = model.parse("imu", (Path(__file__).parents[2] / "schemas" / "imu.avsc").read_text())
AXES = ("ax", "ay", "az", "gx", "gy", "gz")
HEADER = ("t", *AXES, "label")
FIELDS: dict[str, Any] = {name: {"column": name} for name in (*AXES, "label")}
BASE: dict[str, Any] = {"stream": "imu", "device": "d1", "time": {"columns": ["t"], "form": "ms"}, "fields": FIELDS}


def table(header: tuple[str, ...] = HEADER) -> Table:
    return Table("", tuple(Column(name) for name in header))


def batch(rows: list[list[Any]], first: int = 0, numbers: list[int] | None = None) -> Batch:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    names = [str(i) for i in range(len(columns))]
    at = numbers if numbers is not None else list(range(first, first + len(rows)))
    return Batch(pa.array(at, pa.int64()), pa.RecordBatch.from_arrays(columns, names), (), 0)


def row(t: str, *values: str, label: str | None = None) -> list[Any]:
    return [t, *(values or ("1", "2", "3", "4", "5", "6")), label]


def mapped(
    data: dict[str, Any], *batches: Batch, name: str = "s01_sw.csv", header: tuple[str, ...] = HEADER
) -> list[Mapped]:
    it = RowMapping(Profile.model_validate({**BASE, **data}), IMU, table(header), name, {})
    return [it.rows(one) for one in batches]


def times(data: dict[str, Any], *batches: Batch) -> list[int]:
    return [t for it in mapped(data, *batches) for t in it.columns["event_time"].to_pylist()]


def test_each_good_row_is_a_reading_and_each_other_row_is_refused_with_a_reason() -> None:
    rows = [
        row("1700000000001"),
        row("x"),
        row("1700000000003", "1", "2", "3", "4", "5,5", "6", label="WALKING"),
        row("1700000000004"),
    ]
    rows.append(row("1700000000005", "1", "2", "", "4", "5", "6"))
    (it,) = mapped({}, batch(rows, numbers=[0, 1, 3, 4, 9]))
    assert it.numbers.tolist() == [0, 4]
    assert it.columns["event_time"].to_pylist() == [1_700_000_000_001_000, 1_700_000_000_004_000]
    assert it.columns["az"].to_pylist() == [3.0, 3.0]
    assert it.columns["device_id"].to_pylist() == ["d1", "d1"]
    assert [(r.number, r.error.reason, r.error.field) for r in it.refused] == [
        (1, Reason.MALFORMED, "event_time"),
        (3, Reason.WRONG_TYPE, "gy"),
        (9, Reason.MISSING_FIELD, "az"),
    ]
    assert str(it.refused[0].error) == "event_time: 'x' is no time of the form ms"
    assert (
        str(it.refused[1].error) == "gy: '5,5' is no double. If it has a decimal comma, write dialect: {decimal: ','}"
    )
    assert (
        it.refused[1].text
        == b'{"t":"1700000000003","ax":"1","ay":"2","az":"3","gx":"4","gy":"5,5","gz":"6","label":"WALKING"}'
    )


def test_the_device_is_the_file_s_name_or_a_part_of_it_or_in_a_column() -> None:
    rows = batch([row("1", label="d7"), row("2", label="a b")])
    no_label = {name: FIELDS[name] for name in AXES}
    (it,) = mapped({"device": "{stem}"}, rows, name="2026/s01_sw.csv.gz")
    assert it.columns["device_id"].to_pylist() == ["s01_sw"] * 2
    (it,) = mapped({"device_pattern": r"(?P<device>s\d+)_"}, rows)
    assert it.columns["device_id"].to_pylist() == ["s01"] * 2
    (it,) = mapped({"device_column": "label", "fields": no_label}, rows)
    assert it.columns["device_id"].to_pylist() == ["d7"]
    assert [(r.number, r.error.reason) for r in it.refused] == [(1, Reason.BAD_NAME)]
    for name, device in (("a b.csv", "'a b'"), ("walk.v2.csv", "'walk.v2'")):  # not `walk`: v1 would be the same device
        with pytest.raises(ConfigError, match=f"{device} can't name a device"):
            mapped({"device": "{stem}"}, rows, name=name)


def test_times_of_a_start_and_a_rate_count_rows_that_can_t_be_read_too() -> None:
    spec = {"time": {"start": "2026-02-01T10:00:00Z", "rate": 3}}
    found = times(spec, batch([row("")] * 3, numbers=[0, 1, 4]), batch([row("")], numbers=[3_000_000_000]))
    begin = 1_769_940_000_000_000
    assert found == [begin, begin + 333_333, begin + 1_333_333, begin + 10**15]


def test_rows_that_share_a_time_are_spread_by_the_rate_wherever_batches_end() -> None:
    rows = [row(t) for t in ("10", "10", "10", "20", "20", "40")]
    right = [10_000, 12_500, 15_000, 20_000, 22_500, 40_000]
    spec = {"time": {"columns": ["t"], "form": "ms", "rate": 400}}
    for cut in range(1, 6):
        assert times(spec, batch(rows[:cut]), batch(rows[cut:], cut)) == right


def test_local_times_want_a_zone_and_an_hour_that_does_not_occur_is_said() -> None:
    rows = batch([row(f"29.03.2026 {t}") for t in ("01:30", "02:30", "03:30")])
    spec = {"columns": ["t"], "form": "%d.%m.%Y %H:%M"}
    with pytest.raises(ConfigError, match=r"s01_sw.csv: its times have no zone. Write `zone`"):
        mapped({"time": spec}, rows)
    (it,) = mapped({"time": {**spec, "zone": "Europe/Berlin"}}, rows)
    assert it.numbers.tolist() == [0, 2]
    words = "event_time: 29.03.2026 02:30 did not occur in Europe/Berlin: clocks went forward"
    assert [str(r.error) for r in it.refused] == [words]


def test_date_and_time_in_two_columns_units_and_one_value_for_all() -> None:
    header = ("date", "time", *AXES)
    rows = batch([["2026-02-01", "10:00:00", *"123456"], ["2026-02-01", None, *"123456"]])
    fields: dict[str, Any] = {name: {"column": name} for name in AXES} | {
        "ax": {"column": "ax", "unit": "g"},
        "label": {"value": "REST"},
    }
    (it,) = mapped({"time": {"columns": ["date", "time"], "zone": "UTC"}, "fields": fields}, rows, header=header)
    assert it.columns["event_time"].to_pylist() == [1_769_940_000_000_000]
    assert it.columns["ax"].to_pylist() == [9.80665]
    assert it.columns["label"].to_pylist() == ["REST"]
    assert [r.error.reason for r in it.refused] == [Reason.MISSING_FIELD]


def test_a_sentinel_of_the_contract_is_null_with_a_note() -> None:
    air = model.parse("environment", (Path(__file__).parents[2] / "schemas" / "environment.avsc").read_text())
    assert "NA" in air.field("temperature").sentinels
    data = {
        **BASE,
        "stream": "environment",
        "time": {"columns": ["t"], "form": "s"},
        "fields": {"temperature": {"column": "T"}, "humidity": {"column": "RH"}},
    }
    it = RowMapping(Profile.model_validate(data), air, table(("t", "T", "RH")), "a.csv", {})
    found = it.rows(batch([["1", "NA", "NA"], ["2", "21.5", "40"], ["3", None, "NA"]]))
    assert found.columns["temperature"].to_pylist() == [None, 21.5, None]
    notes = ["temperature:sentinel:null;humidity:sentinel:null", None, "humidity:sentinel:null"]
    assert found.columns["_quality"].to_pylist() == notes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"fields": {**FIELDS, "bx": {"column": "ax"}}}, "fields.bx: no such field. imu has ax, ay"),
        (
            {"fields": {**FIELDS, "ax": {"column": "acc"}}},
            "s01_sw.csv: the profile names the column 'acc'. The file has t, ax",
        ),
        ({"fields": {"ax": {"column": "ax"}}}, "every reading of imu needs ay, az, gx, gy, gz: name a column"),
        ({"fields": {**FIELDS, "sequence": {"value": "one"}}}, "fields.sequence: 'one' is no long"),
        ({"time": {"start": "soon", "rate": 1}}, "time.start: 'soon' is no time"),
        ({"time": {"start": "2026-02-01T10:00:00", "rate": 1}}, "has no zone. Write `zone`"),
        ({"time": {"columns": ["t"], "zone": "Mars"}}, "'Mars' is no time zone"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused_before_a_row_is_read(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        mapped(data)


def test_a_profile_is_read_from_yaml_and_what_is_wrong_in_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "har.yaml"
    path.write_text("stream: imu\nmatch: '*_sw.csv'\ntime: {columns: [t], form: ms}\nfields: {ax: {column: x}}\n")
    it = profiles.load(path)
    assert it.fits("s01_sw.csv", ("t", "x"))
    assert not it.fits("s01_sp.csv", ("t", "x"))
    assert it.digest == it.model_copy(update={"match": "*"}).digest != it.model_copy(update={"device": "d"}).digest
    path.write_text("stream: imu\ntime: {columns: [t], start: 2026-01-01, rate: 1}\nfields: {ax: {columm: x}}\n")
    with pytest.raises(ConfigError) as e:
        profiles.load(path)
    assert "columm" in str(e.value)
    assert "har.yaml" in str(e.value)
