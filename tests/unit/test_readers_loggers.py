"""Files as certain loggers write them: what their makers and users tell about them, with values made up."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers import delimited, textparts
from headrace.readers.source import Source
from tests.unit.reading import Read, read

Open = Callable[..., Read]


@pytest.fixture
def open_(tmp_path: Path) -> Open:
    def open_(text: str, name: str = "a.csv", encoding: str = "utf-8", table: int = 0, **options: str) -> Read:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return read(delimited, path, table, **options)

    return open_


def rows(found: Read) -> list[tuple[object, ...]]:
    return list(zip(*found.columns.values(), strict=True))


def test_empatica_e4_has_the_start_and_the_rate_in_two_lines(open_: Open) -> None:
    start = "1552000000.250000, 1552000000.250000, 1552000000.250000\n"
    found = open_(start + "32.000000, 32.000000, 32.000000\n-2,10,63\n3,11,62\n")
    assert (found.table.start, found.table.rate) == (datetime(2019, 3, 7, 23, 6, 40, 250_000, tzinfo=UTC), 32.0)
    assert rows(found) == [("-2", "10", "63"), ("3", "11", "62")]
    assert found.numbers == [0, 1]
    found = open_("1552000000.00\n4.000000\n31.77\n31.79\n", "TEMP.csv")
    assert (found.table.rate, rows(found)) == (4.0, [("31.77",), ("31.79",)])
    assert open_("1552000000.00\n4.000000\n31.77\n", layout="plain").table.rate is None


def test_the_other_files_of_an_e4(open_: Open) -> None:
    found = open_("1552000000.000000, IBI\n7.515625,0.843750\n8.421875,0.906250\n", "IBI.csv")
    assert [tuple(it) for it in found.table.columns] == [("time", "s"), ("IBI", "s")]
    assert rows(found)[0] == ("7.515625", "0.843750")
    assert "counts seconds from 2019-03-07T23:06:40" in found.table.notes[0]
    found = open_("1552000100.21\n1552000200.55\n", "tags.csv")  # a time a line, no rate
    assert (found.table.rate, rows(found)) == (None, [("1552000100.21",), ("1552000200.55",)])


ACTIGRAPH = (
    "------------ Data Table File Created By ActiGraph GT3XPlus ActiLife v6.10.2 Firmware v2.0.0 "
    "date format {order}{raw} Filter Normal -----------{tail}\r\nSerial Number: CLE1B00000000{tail}\r\n"
    "Start Time 10:15:00{tail}\r\n"
    "Start Date {date}{tail}\r\nEpoch Period (hh:mm:ss) {epoch}{tail}\r\nDownload Time 13:25:46{tail}\r\n"
    "Download Date {date}{tail}\r\nCurrent Memory Address: 0{tail}\r\n"
    "Current Battery Voltage: 3.95     Mode = 61{tail}\r\n"
    "--------------------------------------------------{tail}\r\n"
)


@pytest.mark.parametrize(
    ("order", "date", "said", "rate", "start"),
    [
        ("M/d/yyyy", "1/30/2013", ("", "00:01:00"), 1 / 60, datetime(2013, 1, 30, 10, 15)),  # noqa: DTZ001
        ("dd/MM/yyyy", "05/02/2013", ("", "00:00:10"), 0.1, datetime(2013, 2, 5, 10, 15)),  # noqa: DTZ001
        ("yyyy-MM-dd", "2013-02-05", (" at 30 Hz ", "00:00:00"), 30.0, datetime(2013, 2, 5, 10, 15)),  # noqa: DTZ001
        ("dd.MM.yyyy", "30.13.2013", ("", "00:00:60"), 1 / 60, None),
    ],
)
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("tail", ["", ",,,"])
def test_actigraph_has_ten_lines_before_the_rows(
    open_: Open,
    order: str,
    date: str,
    said: tuple[str, str],
    rate: float,
    start: datetime | None,
    header: bool,
    tail: str,
) -> None:
    text = ACTIGRAPH.format(order=order, date=date, raw=said[0], epoch=said[1], tail=tail)
    text += "Axis1,Axis2,Axis3, Steps\r\n" if header else ""
    found = open_(text + "1,0,5,0\r\n0,0,0,0\r\n")
    assert (found.table.start, found.table.rate) == (start, rate)
    assert rows(found) == [("1", "0", "5", "0"), ("0", "0", "0", "0")]
    assert found.table.columns[0].name == ("Axis1" if header else "column 1")
    assert "Serial Number: CLE1B00000000" in found.table.notes[0]


@pytest.mark.parametrize(("first", "mark"), [('"sep=,"\n', ","), ("sep=\t\n", "\t"), ("", "\t")])
def test_shimmer_has_a_row_of_units_and_a_delimiter_at_each_end(open_: Open, first: str, mark: str) -> None:
    lines = "S_Timestamp_Unix_CAL,S_Accel_WR_X_CAL,S_GSR_Range_CAL,\nms,m/(s^2),no_units,\n1.732786978E12,0.1,3.0,\n"
    found = open_(first + lines.replace(",", mark))
    units = {it.name: it.unit for it in found.table.columns}
    assert units == {"S_Timestamp_Unix_CAL": "ms", "S_Accel_WR_X_CAL": "m/(s^2)", "S_GSR_Range_CAL": "no_units"}
    assert rows(found) == [("1.732786978E12", "0.1", "3.0")]


def test_hobo_has_a_title_and_units_and_a_zone_in_its_header(open_: Open) -> None:
    found = open_(
        '"Plot Title: 20363442"\r\n"#","Date Time, GMT+02:00","Temp, °C (LGR S/N: 20363442, SEN S/N: 20363442)",'
        '"RH, % (LGR S/N: 20363442)","Coupler Detached (LGR S/N: 20363442)","End Of File (LGR S/N: 20363442)"\r\n'
        "1,08/08/18 12:00:00 PM,25.1,40.2,,\r\n2,08/08/18 12:15:00 PM,25.3,40.1,Logged,\r\n"
        "3,08/08/18 12:30:00 PM,,,,Logged\r\n",
        encoding="utf-8-sig",
    )
    assert [it.unit for it in found.table.columns] == ["", "", "°C", "%", "", ""]
    assert found.table.columns[0].name == "#"
    assert found.table.notes[-1] == "the times are at GMT+02:00, as a column's name says"
    assert rows(found)[2] == ("3", "08/08/18 12:30:00 PM", None, None, None, "Logged")
    found = open_(
        '"Plot Title: x"\n"Date Time, GMT-07:00";"Temp, °F";"Temp, °F";"Host Connected"\n'
        '"06/08/18 01:00:00 PM";70,1;71,2;\n',
        encoding="cp1252",
    )
    assert [it.name for it in found.table.columns] == ["Date Time, GMT-07:00", "Temp, °F", "Temp, °F", "Host Connected"]


MOTION = "Mode\tFreq\tTimestamp\tAccX\tAccY\tAccZ\tGyroX\tGyroY\tGyroZ\t\n"
TURNS = "Mode\tFreq\tTimestamp\tqw\tqi\tqj\tqk\n"
PACKETS = (
    MOTION + "2\t100\t1500\t0.1\t0.2\t9.8\t1.0\t2.0\t3.0\t\n" * 2 + TURNS + "1\t50\t1700\t1\t0\t0\t0\n"
    + MOTION + "2\t100\t1800\t0.5\t0.2\n" + "2\t100\t1800\t0.6\t0.2\t9.8\t1.0\t2.0\t3.0\t\n" + TURNS
)  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 70, 300])
def test_221e_writes_a_header_wherever_the_mode_changes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log.txt"
    path.write_text(PACKETS)
    with Source(path) as source:
        reader = delimited.open_file(source, {})
        reader._size = size or reader._size
        assert [it.name for it in reader.tables] == ["mode 2", "mode 1"]
        assert [len(it.columns) for it in reader.tables] == [9, 7]
        assert "share its Timestamp" in reader.tables[0].notes[0]
        batches = list(reader.batches(0))
        numbers = [n for it in batches for n in it.numbers.to_pylist()]
        left = [out for it in batches for out in it.left_out]
        assert numbers == [0, 1, 3]
        assert [(it.number, it.place, it.reason) for it in left] == [(2, "line 7", "too few cells")]
        assert [c for it in batches for c in it.rows.column(3).to_pylist()] == ["0.1", "0.1", "0.6"]
        turns = [row for it in reader.batches(1) for row in it.rows.to_pylist()]
        assert [list(it.values()) for it in turns] == [["1", "50", "1700", "1", "0", "0", "0"]]
        again = delimited.open_file(source, reader.dialect)
        assert (again.tables, again.dialect) == (reader.tables, reader.dialect)


def test_221e_with_too_many_headers_is_refused(open_: Open) -> None:
    with pytest.raises(ConfigError, match="more than 200 different headers"):
        open_("".join(f"Mode\tFreq\tTimestamp\ta{i}\n1\t1\t1\t1\n" for i in range(textparts.MANY + 1)))


def test_a_layout_that_is_asked_and_is_not_there(open_: Open) -> None:
    with pytest.raises(ConfigError, match="option layout: the file does not begin as those of e4 do"):
        open_("t,x\n1,2\n", layout="e4")
