"""Readings with what was known of their devices: the view imu_with_devices over a lake in a folder."""

import datetime as dt
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headrace
from headrace.config import Config
from headrace.lake.sql import connect
from tests.unit.test_sql import config, store

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KEPT = ("kind", "state", "serial", "model", "firmware", "owner", "attributes")


def at(*seconds: float) -> Any:
    return pa.array([START + dt.timedelta(seconds=s) for s in seconds], pa.timestamp("us", "UTC"))


def tell(folder: Path, *events: tuple[str, float, int, str], file: int = 7) -> None:
    """Events: device, second, number, firmware."""
    devices, seconds, numbers, firmware = zip(*events, strict=True)
    texts = {name: [f"{name} {n}" for n in numbers] for name in KEPT if name not in {"firmware", "attributes"}}
    lists = {name: pa.array([[name]] * len(events), pa.list_(pa.string())) for name in ("tags", "groups")}
    columns = {
        "device_id": list(devices), "event_time": at(*seconds), "number": list(numbers), "firmware": list(firmware),
        **texts, **lists, "attributes": [f'{{"position": {{"hall": {n}}}}}' for n in numbers],
    }  # fmt: skip
    store(folder, "device_events.clean", 1, file, columns)


def read(folder: Path, *readings: tuple[str, float], **more: Any) -> None:
    devices, seconds = zip(*readings, strict=True)
    store(folder, "imu.clean", 1, 7, {"device_id": list(devices), "event_time": at(*seconds), **more})


def with_events(folder: Path) -> Config:
    return config(folder, streams={"imu": {}, "environment": {}, "device_events": {}})


def firmware(cfg: Config) -> list[str | None]:
    sql = "select device_firmware f from imu_with_devices order by device_id, event_time"
    return [f if isinstance(f, str) else None for f in headrace.query(sql, config=cfg).f]


def test_the_latest_event_up_to_the_reading_counts(tmp_path: Path) -> None:
    tell(tmp_path, ("a", 10, 1, "1.0"), ("a", 20, 3, "1.1"), ("b", 15, 2, "9"))
    read(tmp_path, ("a", 0), ("a", 10), ("a", 19.999999), ("a", 20), ("a", 99), ("b", 50), ("c", 50))
    cfg = with_events(tmp_path)
    assert firmware(cfg) == ["1.0", "1.0", "1.0", "1.1", "1.1", "9", None]
    before = "select event_time from imu_with_devices where device_as_of > event_time"
    assert len(headrace.query(before, config=cfg)) == 1, "before the device's first event that one counts, and shows"
    hall = "select device_attributes ->> '$.position.hall' h, device_tags t, device_model m from imu_with_devices"
    (row,) = headrace.query(f"{hall} where device_id = 'b'", config=cfg).to_dict("records")
    assert (row["h"], list(row["t"]), row["m"]) == ("2", ["tags"], "model 2")


def test_of_events_at_one_time_the_last_counts_also_of_the_first(tmp_path: Path) -> None:
    tell(tmp_path, ("a", 10, 2, "second"), ("a", 10, 1, "first"), ("a", 20, 4, "fourth"), ("a", 20, 3, "third"))
    read(tmp_path, ("a", 0), ("a", 10), ("a", 30))
    assert firmware(with_events(tmp_path)) == ["second", "second", "fourth"]


def test_a_late_event_counts_from_the_next_query_on(tmp_path: Path) -> None:
    tell(tmp_path, ("a", 10, 1, "1.0"))
    read(tmp_path, ("a", 40))
    assert firmware(with_events(tmp_path)) == ["1.0"]
    tell(tmp_path, ("a", 30, 2, "1.1"), file=8)
    assert firmware(with_events(tmp_path)) == ["1.1"]


def test_each_reading_is_there_once_with_what_plain_python_finds(tmp_path: Path) -> None:
    rng = random.Random(5)
    events = [(rng.choice("abc"), float(rng.randrange(30)), n, f"f{n}") for n in range(40)]
    readings = [(rng.choice("abcd"), rng.randrange(-10, 90) / 2) for _ in range(300)]
    tell(tmp_path, *events)
    read(tmp_path, *readings)
    right: list[str | None] = []
    for device, when in sorted(readings):
        own = sorted((s, n, f) for d, s, n, f in events if d == device)
        known = [e for e in own if e[0] <= when] or [e for e in own if e[0] == own[0][0]]
        right.append(known[-1][2] if known else None)
    assert firmware(with_events(tmp_path)) == right


@pytest.mark.parametrize("configured", [True, False])
def test_a_lake_that_was_told_of_no_device_has_nulls(tmp_path: Path, configured: bool) -> None:
    read(tmp_path, ("a", 0), ax=[1.0])
    cfg = with_events(tmp_path) if configured else config(tmp_path)
    told = headrace.query("describe imu_with_devices", config=cfg).set_index("column_name").column_type
    assert told["device_as_of"] == "TIMESTAMP WITH TIME ZONE"
    assert (told["device_model"], told["device_tags"], told["ax"]) == ("VARCHAR", "VARCHAR[]", "DOUBLE")
    assert headrace.query("select ax, device_model is null m from imu_with_devices", config=cfg).values.tolist() == [
        [1.0, True]
    ]
    assert headrace.query("from environment_with_devices", config=cfg).empty


def test_a_stream_without_rows_and_without_a_contract_here_is_empty(tmp_path: Path) -> None:
    cfg = config(tmp_path, streams={"pump": {"contract": "elsewhere"}})
    assert headrace.query("from pump_with_devices where device_model = 'M1'", config=cfg).empty
    assert headrace.resample("pump", "1m", config=cfg).empty


def test_a_stream_that_is_called_so_and_columns_that_are(tmp_path: Path) -> None:
    tell(tmp_path, ("a", 0, 1, "1.0"))
    read(tmp_path, ("a", 0), device_model=["mine"], device_model_=["too"])
    cfg = with_events(tmp_path)
    row = headrace.query("select * from imu_with_devices", config=cfg).iloc[0]
    assert (row["device_model"], row["device_model_"], row["device_model__"]) == ("mine", "too", "model 1")
    store(tmp_path, "imu_with_devices.clean", 1, 7, {"ax": [5.0]})
    own = config(tmp_path, streams={"imu": {}, "device_events": {}, "imu_with_devices": {"contract": "imu"}})
    assert headrace.query("select ax from imu_with_devices", config=own).ax.tolist() == [5.0]


def test_the_view_is_made_for_those_who_name_it(tmp_path: Path) -> None:
    read(tmp_path, ("a", 0))
    with connect(with_events(tmp_path), "from imu") as lake:
        assert [
            name for (name,) in lake.execute("select view_name from duckdb_views() where not internal").fetchall()
        ] == ["imu"]
