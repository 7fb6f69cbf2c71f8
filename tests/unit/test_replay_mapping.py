import json
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts.files import find
from headrace.errors import ConfigError
from headrace.recordings.mapping import Options, RowMapping, pairs, split_time
from headrace.recordings.table import Table, open_table

IMU = "x_acc,y_acc,z_acc,gx,gy,gz,timestamp,label,note\n"
ROW = "-3.743415594100952,1.0,2,0.1,-0.2,0.30,1657534422539,WALKING,x\n"
MAP = {"x_acc": "ax", "y_acc": "ay", "z_acc": "az"}


def table(tmp_path: Path, text: str, name: str = "watch-01.csv") -> Table:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return open_table(path)


def messages(it: Table, contract: str, options: Options, topic: str = "sensors/{device_id}/x") -> list[Any]:
    plan = RowMapping(it, find(contract), topic, options)
    return [plan.message(line, row) for line, row in it.rows()]


def test_a_row_becomes_a_message_with_the_files_own_digits(tmp_path: Path) -> None:
    it = table(tmp_path, IMU + ROW)
    plan = RowMapping(it, find("imu"), "sensors/{device_id}/imu", Options(columns=MAP, time="timestamp:ms"))
    assert plan.left_out == ("note",)
    out = plan.message(2, next(row for _, row in it.rows()))
    assert out is not None
    assert out.topic == "sensors/watch-01/imu"
    assert out.time_us == 1657534422539_000
    assert out.payload == (
        b'{"event_time":1657534422539000,"ax":-3.743415594100952,"ay":1.0,"az":2,"gx":0.1,"gy":-0.2,"gz":0.30,'
        b'"label":"WALKING"}'
    )


def test_empty_cells_are_left_out_and_text_stays_text(tmp_path: Path) -> None:
    text = "No,year,month,day,hour,PM2.5,pm10,station\n"
    text += "1,2013,3,1,0,NA,,Dingling\n2,2013,3,1,1,4,7,Gu/an\n3,2013,3,1,2,,,D\n"
    it = table(tmp_path, text)
    options = Options(columns={"PM2.5": "pm2_5"}, time="year+month+day+hour:%Y %m %d %H", device_column="station")
    first, second, third = messages(it, "environment", options)
    assert first.topic == "sensors/Dingling/x"
    assert json.loads(first.payload) == {"event_time": 1362096000_000000, "pm2_5": "NA"}
    assert second is None
    assert third is None
    assert sorted(it.left_out.values()) == [1, 1]
    assert "no values" in it.left_out


def test_a_time_that_does_not_fit_leaves_the_row_out_with_its_line(tmp_path: Path) -> None:
    it = table(tmp_path, IMU + ROW + ROW.replace("1657534422539", "soon") + ROW.replace("1657534422539", ""))
    out = messages(it, "imu", Options(columns=MAP, time="timestamp:ms"))
    assert [m is not None for m in out] == [True, False, False]
    assert it.first == {"the event time does not fit --time": 3, "no event time": 4}


def test_the_device_comes_from_option_column_or_file_name(tmp_path: Path) -> None:
    text = "device_id,event_time,temperature\nroom-1,2024-01-01T00:00:00Z,20\n"
    assert messages(table(tmp_path, text), "environment", Options())[0].topic == "sensors/room-1/x"
    assert messages(table(tmp_path, text), "environment", Options(device="d-{stem}"))[0].topic == "sensors/d-watch-01/x"
    plain = table(tmp_path, "who,event_time,temperature\nroom-2,1,20\n")
    assert messages(plain, "environment", Options())[0].topic == "sensors/watch-01/x"
    assert messages(plain, "environment", Options(columns={"who": "device_id"}))[0].topic == "sensors/room-2/x"


def test_the_device_is_in_the_payload_where_the_topic_has_no_room_for_it(tmp_path: Path) -> None:
    it = table(tmp_path, "event_time,temperature\n1,20\n")
    out = messages(it, "environment", Options(constants={"site": "north"}), topic="plant/{site}/air")[0]
    assert out.topic == "plant/north/air"
    assert json.loads(out.payload) == {"device_id": "watch-01", "event_time": 1, "temperature": 20}


def test_constants_and_fields_fill_the_topic(tmp_path: Path) -> None:
    it = table(tmp_path, IMU + ROW + ROW.replace("WALKING", "a/b"))
    options = Options(columns=MAP, time="timestamp:ms", constants={"boot_id": "7", "battery": "50"})
    good, bad = messages(it, "imu", options, topic="s/{device_id}/{label}")
    assert good.topic == "s/watch-01/WALKING"
    assert json.loads(good.payload)["boot_id"] == "7"
    assert json.loads(good.payload)["battery"] == 50
    assert bad is None


@pytest.mark.parametrize(
    ("options", "topic", "words"),
    [
        ({"columns": {"x_ac": "ax"}, "time": "timestamp:ms"}, "s/{device_id}", "did you mean x_acc"),
        ({"columns": {"x_acc": "axx"}, "time": "timestamp:ms"}, "s/{device_id}", "no field 'axx'"),
        ({"columns": {"x_acc": "gx", **MAP}, "time": "timestamp:ms"}, "s/{device_id}", None),
        ({"columns": {**MAP, "label": "gx"}, "time": "timestamp:ms"}, "s/{device_id}", None),
        ({"columns": {"x_acc": "ax", "y_acc": "ax"}, "time": "timestamp:ms"}, "s/{device_id}", "two columns give"),
        ({"columns": MAP}, "s/{device_id}", "--time"),
        ({"columns": MAP, "time": "stamp:ms"}, "s/{device_id}", "did you mean timestamp"),
        ({"columns": MAP, "time": "timestamp"}, "s/{device_id}", "COLUMN:FORMAT"),
        ({"columns": MAP, "time": "timestamp:ms"}, "s/{device_id}/+", "--topic"),
        ({"columns": MAP, "time": "timestamp:ms"}, "s/{device_id}/{line}", "--set line=VALUE"),
        ({"columns": MAP, "time": "timestamp:ms", "device": "a b"}, "s/{device_id}", "can't name a device"),
        ({"columns": MAP, "time": "timestamp:ms", "device_column": "id"}, "s/{device_id}", "--device-column"),
        ({"columns": {"x_acc": "ax"}, "time": "timestamp:ms"}, "s/{device_id}", "needs ay, az"),
        ({"columns": MAP, "time": "timestamp:ms", "constants": {"no": "1"}}, "s/{device_id}", "--set no"),
        ({"columns": {**MAP, "label": "_quality"}, "time": "timestamp:ms"}, "s/{device_id}", "_quality"),
    ],
)
def test_options_that_the_file_or_the_contract_does_not_allow_are_refused(
    tmp_path: Path, options: dict[str, Any], topic: str, words: str | None
) -> None:
    it = table(tmp_path, IMU + ROW)
    if words is None:  # a column that the user maps takes precedence over one of the field's own name
        RowMapping(it, find("imu"), topic, Options(**options))
        return
    with pytest.raises(ConfigError, match=words):
        RowMapping(it, find("imu"), topic, Options(**options))


def test_a_file_without_any_field_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--map COLUMN=FIELD"):
        RowMapping(table(tmp_path, "a,b,t\n"), find("imu"), "s/{device_id}", Options(time="t:s"))


@pytest.mark.parametrize(
    ("wish", "columns", "out"),
    [
        ("t:ms", ("t",), (["t"], "ms")),
        ("Date+Time:%d/%m/%Y %H:%M", ("Date", "Time"), (["Date", "Time"], "%d/%m/%Y %H:%M")),
        ("a+b:s", ("a+b",), (["a+b"], "s")),
        ("time:utc:iso", ("time:utc",), (["time:utc"], "iso")),
    ],
)
def test_the_time_option_names_columns_and_a_format(
    wish: str, columns: tuple[str, ...], out: tuple[list[str], str]
) -> None:
    assert split_time(wish, columns) == out


def test_pairs_are_read_from_one_text_or_several() -> None:
    assert pairs(["a=b, c(x)=d", "e=f=g"], "--map") == {"a": "b", "c(x)": "d", "e=f": "g"}
    for wrong in ("a", "=b", "a=", "a=b,a=c"):
        with pytest.raises(ConfigError, match="--map"):
            pairs([wrong], "--map")


def test_a_decimal_comma_is_found_in_the_file(tmp_path: Path) -> None:
    it = table(tmp_path, "Zeit;Temp\n01.02.2026 10:00;5,1\n01.02.2026 11:00;5,2\n")
    options = Options(columns={"Temp": "temperature"}, time="Zeit:%d.%m.%Y %H:%M")
    assert [json.loads(m.payload)["temperature"] for m in messages(it, "environment", options)] == [5.1, 5.2]
