"""CSV and its kin: what is found unaided, which row has which number, and that a block's end is nowhere to be seen."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ConfigError
from headrace.readers import delimited, formats, textrows
from headrace.readers.base import LeftOut, Table
from headrace.readers.source import Source
from tests.unit.reading import until_error


class Read:
    """A file, read to its end."""

    def __init__(self, path: Path, options: dict[str, str] | None = None, size: int = 0) -> None:
        with Source(path) as source:
            assert formats.recognise(source) == "csv"
            reader = delimited.open_file(source, options or {})
            if size:
                reader._size = size
            self.dialect = reader.dialect
            self.table: Table = reader.tables[0]
            self.rows: dict[int, list[str | None]] = {}
            self.left: list[LeftOut] = []
            done = 0
            for batch in reader.batches():
                assert done <= batch.done <= source.size
                done = batch.done
                assert batch.rows.num_rows == len(batch.numbers) <= 10_000
                cells = [it.to_pylist() for it in batch.rows.columns]
                assert batch.numbers.to_pylist() == sorted(batch.numbers.to_pylist())
                for number, row in zip(batch.numbers.to_pylist(), zip(*cells, strict=True), strict=True):
                    assert number not in self.rows
                    self.rows[number] = list(row)
                self.left += batch.left_out
            assert done in (0, source.size)

    @property
    def names(self) -> list[str]:
        return [it.name for it in self.table.columns]

    @property
    def units(self) -> list[str]:
        return [it.unit for it in self.table.columns]

    @property
    def reasons(self) -> dict[int, str]:
        return {it.number: it.reason for it in self.left}


Reading = Callable[..., Read]


@pytest.fixture
def read(tmp_path: Path) -> Reading:
    def read(data: str | bytes, name: str = "a.csv", size: int = 0, **options: str) -> Read:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return Read(path, options, size)

    return read


PLAIN = "time,temperature\n2026-02-01T10:00:00Z,5.1\n2026-02-01T10:00:01Z,5.2\n"


@pytest.mark.parametrize(
    ("data", "delimiter", "decimal"),
    [
        (PLAIN, "comma", "."),
        (PLAIN.replace(",", "\t"), "tab", "."),
        (PLAIN.replace(",", "|"), "pipe", "."),
        ("time;temperature\n01.02.2026 10:00;5,1\n01.02.2026 10:01;5,2\n", "semicolon", ","),
        ("time  temperature\n 1   5.1 \n 2   5.2 \n", "blanks", "."),
        ("time temperature\n1\t 5,1\n2\t5,2\n", "blanks", ","),
        ("time,temperature,words\n1,5.1,a;b|c\n2,5.2,d;e|f\n", "comma", "."),
        ('time,temperature\n1,"5,1"\n2,"5,2"\n', "comma", ","),
        ("time\ttemperature\n2026-02-01 10:00:00\t5\n2026-02-01 10:00:01\t6\n", "tab", "."),
    ],
)
def test_the_delimiter_and_the_decimal_mark_are_found(read: Reading, data: str, delimiter: str, decimal: str) -> None:
    found = read(data)
    assert (found.dialect["delimiter"], found.dialect["decimal"]) == (delimiter, decimal)
    assert found.names[:2] == ["time", "temperature"]
    assert sorted(found.rows) == [0, 1]
    assert found.left == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [0, 1, 7])
def test_encodings_and_ends_of_lines(read: Reading, encoding: str, end: str, size: int) -> None:
    text = "time;Temp (°C);Küche\n1;5,1;ä\n2;5,2;é\n".replace("\n", end)
    found = read(text.encode(encoding), size=size)
    assert found.names == ["time", "Temp (°C)", "Küche"]
    assert found.units == ["", "°C", ""]
    assert found.rows == {0: ["1", "5,1", "ä"], 1: ["2", "5,2", "é"]}
    assert found.left == []
    assert any("cp1252" in it for it in found.table.notes) == (encoding == "cp1252")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_first_letter_that_is_not_ascii_may_come_late(read: Reading, encoding: str) -> None:
    text = "n;place\n" + "".join(f"{i};north\n" for i in range(200_000)) + "200000;Süd\n"
    found = read(text.encode(encoding))
    assert (found.dialect["encoding"], found.rows[200_000]) == (encoding, ["200000", "Süd"])
    assert len(found.table.notes) == (encoding == "cp1252")
    assert read(text.encode("utf-8"), encoding="cp1252").rows[200_000] == ["200000", "SÃ¼d"]


def test_a_big_endian_mark_and_an_encoding_that_is_asked(read: Reading) -> None:
    assert read(b"\xfe\xff" + PLAIN.encode("utf-16-be")).dialect["encoding"] == "utf-16-be"
    assert read("time,Wert\n1,я\n".encode("cp1251"), encoding="cp1251").rows == {0: ["1", "я"]}
    with pytest.raises(ConfigError, match="encoding: 'utf-9' is not known"):
        read(PLAIN, encoding="utf-9")


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
def test_the_line_that_names_the_delimiter_for_excel(read: Reading, first: str) -> None:
    found = read(f"{first}\r\ntime;temperature\r\n1;5.1\r\n")
    assert (found.names, found.rows) == (["time", "temperature"], {0: ["1", "5.1"]})
    assert read("sep=\t\ntime\ttemperature\n1\t5.1\n").rows == {0: ["1", "5.1"]}


def test_lines_before_the_header_are_passed_over_and_shown(read: Reading) -> None:
    found = read("Logger model X\nSerial,123\n\ntime,temperature\n2026-02-01T10:00:00Z,5.1\n")
    assert found.rows == {0: ["2026-02-01T10:00:00Z", "5.1"]}
    assert found.table.notes == ("3 lines before the header: Logger model X | Serial,123",)
    found = read("# made by x, v1\n# Start: 2026-01-01\ntime,temperature\n1,5.1\n2,5.2\n")
    assert (found.names, len(found.rows)) == (["time", "temperature"], 2)
    assert found.dialect["header"] == "3"


def test_a_header_in_a_comment(read: Reading) -> None:
    found = read("# time x y\n1.0 2.0 3.0\n2.0 3.0 4.0\n", "a.txt")
    assert (found.names, found.rows[0]) == (["time", "x", "y"], ["1.0", "2.0", "3.0"])


def test_units_in_a_row_of_their_own(read: Reading) -> None:
    found = read("time,acc_x,temp\nms,m/(s^2),°C\n1,0.1,5\n2,0.2,6\n")
    assert (found.names, found.units) == (["time", "acc_x", "temp"], ["ms", "m/(s^2)", "°C"])
    assert found.rows == {0: ["1", "0.1", "5"], 1: ["2", "0.2", "6"]}
    assert "line 2 has units" in found.table.notes
    found = read(
        '"TOA5","CR1000","x"\n"TIMESTAMP","RECORD","BattV"\n"TS","RN","Volts"\n"","","Avg"\n'
        '"2026-01-01 00:00:00",0,12.6\n'
    )
    assert (found.names, found.units) == (["TIMESTAMP", "RECORD", "BattV"], ["TS", "RN", "Volts"])
    assert found.rows == {0: ["2026-01-01 00:00:00", "0", "12.6"]}


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Temp (°C)", "°C"), ("acc_x [m/s2]", "m/s2"), ("temperature/degC", "degC"), ("Torque [Nm]", "Nm"),
        ("Temp, °F (LGR S/N: 1, SEN S/N: 1)", "°F"), ("PM2.5 (µg/m³)", "µg/m³"), ("acc (m/(s^2))", "m/(s^2)"),
        ("CO(GT)", ""), ("PT08.S1(CO)", ""), ("x [1]", ""), ("input/output", ""), ("time", ""),
    ],
)  # fmt: skip
def test_units_in_names(read: Reading, name: str, unit: str) -> None:
    assert read(f"time;{name}\n1;5\n2;6\n").table.columns[1] == (name, unit)


def test_a_file_without_a_header_keeps_its_first_row(read: Reading) -> None:
    found = read("1 1 -0.0007  \n1 2 0.0019  \n", "train.txt")
    assert found.names == ["column 1", "column 2", "column 3"]
    assert found.rows == {0: ["1", "1", "-0.0007"], 1: ["1", "2", "0.0019"]}
    assert found.dialect["header"] == "none"
    assert any("no header" in it for it in found.table.notes)
    assert read("2026-01-01 10:00:00,a,5\n2026-01-01 10:00:01,b,6\n").names == ["column 1", "column 2", "column 3"]
    assert read("112 \n98 \n69 \n", "RUL.txt").rows == {0: ["112"], 1: ["98"], 2: ["69"]}


def test_rows_of_words_only_have_a_header_unless_it_is_like_them(read: Reading) -> None:
    assert read("id,room\na7,north\nb8,south\n").names == ["id", "room"]
    found = read("a7:floor1,north\nb8:floor2,south\nc9:floor1,east\n")
    assert (found.names, len(found.rows)) == (["column 1", "column 2"], 3)


def test_a_row_of_words_among_rows_is_no_header(read: Reading) -> None:
    found = read("1,5.1\n2,5.2\nerror,error\n4,5.4\n5,5.5\n6,5.6\n7,5.7\n")
    assert found.dialect["header"] == "none"
    assert found.rows[2] == ["error", "error"]


def test_the_second_opening_with_the_found_options_is_the_same(read: Reading) -> None:
    data = "Logger X\ntime;Temp (°C);\nms;°C;\n1;1.234,5;\n2;5,2;\n"
    first = read(data)
    assert first.dialect == {
        "encoding": "utf-8", "delimiter": "semicolon", "header": "2", "units": "row", "decimal": ",", "thousands": ".",
        "layout": "plain", "first_row": "4",
    }  # fmt: skip
    again = read(data, **first.dialect)
    assert (again.rows, again.table, again.dialect) == (first.rows, first.table, first.dialect)


def test_options_that_are_wrong(read: Reading) -> None:
    for options, words in (
        ({"quote": "x"}, "'quote': the format has no such option"),
        ({"delimiter": "komma"}, "delimiter: 'komma' is no single character"),
        ({"first_row": "1"}, "first_row: '1' is no line after line 1"),
        ({"header": "99"}, "header: '99' is no line among the first 3"),
        ({"decimal": ";"}, "decimal: ';' is none of"),
        ({"thousands": "."}, "thousands: '.' is the decimal mark"),
    ):
        with pytest.raises(ConfigError, match=words):
            read(PLAIN, **options)


def test_columns_may_share_a_name_and_empty_ones_at_the_end_are_none(read: Reading) -> None:
    found = read("t,x,x,,\n1,2,3,,\n2,3,4,,\n,,,,\n")
    assert found.names == ["t", "x", "x"]
    assert found.rows == {0: ["1", "2", "3"], 1: ["2", "3", "4"]}
    assert found.reasons == {2: textrows.EMPTY}
    assert read("t,x\n1,2,\n2,3,\n").rows == {0: ["1", "2"], 1: ["2", "3"]}  # an empty cell in each row, no name


def test_cells_are_text_without_blanks_and_empty_is_nothing(read: Reading) -> None:
    found = read('t,a,b\n 1 ,  x y , "q, r" \n2,,""\n3,  ,"say ""so"""\n')
    assert found.rows == {0: ["1", "x y", "q, r"], 1: ["2", None, None], 2: ["3", None, 'say "so"']}
    assert found.left == []


@pytest.mark.parametrize("size", [0, 1, 5, 16])
def test_rows_after_one_left_out_keep_their_numbers(read: Reading, size: int) -> None:
    data = b't,x,w\n1,1.0,a\n2,2.0\n3,3.0,c,d\n\n4,4.0,"e\n5,5.0,f\n6,\x00\x00,g\n7,7.0,\xff\n8,8.0,"h\ni"\n'
    data += b"t,x,w\n# so\n9,9.0,k,,\n"
    found = read(data, encoding="utf-8", size=size)
    assert found.reasons == {
        1: textrows.TOO_FEW, 2: textrows.TOO_MANY, 3: textrows.BLANK, 4: textrows.QUOTE, 6: textrows.NULS,
        7: textrows.NO_TEXT, 9: textrows.AGAIN, 10: textrows.COMMENT,
    }  # fmt: skip
    assert found.rows == {0: ["1", "1.0", "a"], 5: ["5", "5.0", "f"], 8: ["8", "8.0", "h\ni"], 11: ["9", "9.0", "k"]}
    places = {it.number: it.place for it in found.left}
    assert places[1] == "line 3"
    assert places[10] == "line 13"  # the row before the header's copy goes over two lines
    assert found.left[0].text == "2,2.0"


@pytest.mark.parametrize(
    ("last", "rows", "reason"),
    [
        ("2,5.2\n", 2, ""),
        ("2,5.2", 2, ""),  # many programs end a file so, and a cell cut short looks like this one: see docs/files.md
        ("2,", 1, textrows.UNENDED),
        ("2", 1, textrows.UNENDED),
        ('2,"5.', 1, textrows.UNENDED),
        ("2,\n", 2, ""),
    ],
)
def test_a_last_line_that_is_half_written(read: Reading, last: str, rows: int, reason: str) -> None:
    found = read("t,x\n1,5.1\n" + last)
    assert len(found.rows) == rows
    assert found.reasons == ({1: reason} if reason else {})


def test_a_delimiter_at_the_end_shows_that_a_last_line_is_whole(read: Reading) -> None:
    assert len(read("t,x,\n1,5.1,\n2,5.2,").rows) == 2
    assert read("t,x,\n1,5.1,\n2,5.2,\n3,").reasons == {2: textrows.UNENDED}


def test_a_line_of_many_megabytes_is_left_out_and_not_kept(read: Reading) -> None:
    found = read(b"t,x\n1,5.1\n2," + b"9" * 17_000_000 + b"\n3,5.3\n" + b"\x00" * 17_000_000)
    assert found.rows == {0: ["1", "5.1"], 2: ["3", "5.3"]}
    assert found.reasons == {1: textrows.TOO_LONG, 3: textrows.TOO_LONG}
    assert len(found.left[0].text) == 200


def test_a_broken_gzip_file_gives_its_whole_lines_first(tmp_path: Path) -> None:
    lines = "t,x\n" + "".join(f"{i},{i * 7919 % 10007}\n" for i in range(200_000))
    whole = gzip.compress(lines.encode())
    path = tmp_path / "a.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with Source(path) as source:
        batches, error = until_error(delimited.open_file(source, {}).batches())
    rows = [it for batch in batches for it in batch.numbers.to_pylist()]
    assert rows == list(range(len(rows)))
    assert "a.csv.gz: a broken gzip file" in error
    assert 50_000 < len(rows) < 150_000
    path.write_bytes(whole)
    assert len(Read(path).rows) == 200_000


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "an empty file"), (b"\n \n", "no line with text"), (b"Dear Sir\nso it is\nyours\n", "lines of words")],
)
def test_what_is_no_table(read: Reading, data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(data)


@pytest.mark.parametrize("head", [b'{"a": 1}\n', b"[1]", b"<x>", b"PK\x03\x04", b"%PDF-1.4", bytes(range(256)) * 9])
def test_other_formats_are_not_taken(head: bytes) -> None:
    assert not delimited.suits(head, "a.csv")


cell = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=30),
    size=st.integers(1, 200),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], size: int, end: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["n", "a", "b", "c"])
    writer.writerows([i, *row] for i, row in enumerate(rows))
    path = tmp_path_factory.mktemp("x") / "a.csv"
    path.write_bytes(out.getvalue().encode())
    found = Read(path, {"delimiter": ",", "header": "1", "units": "none", "encoding": "utf-8"}, size)
    assert found.left == []
    clean = [[it.strip(" \t").replace("\r\n", "\n") or None for it in row] for row in rows]
    assert found.rows == {i: [str(i), *row] for i, row in enumerate(clean)}


odd_line = st.lists(
    st.sampled_from([b"1", b"2.5", b",", b",", b",", b'"', b" ", b"\n", b"\0", b"\xff", b"\r", b"x", b"\xc3\xa4"]),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(odd_line.map(b"".join), max_size=25),
    size=st.integers(1, 60),
    mark=st.sampled_from([",", " ", "none"]),
    last=st.booleans(),
)
def test_a_blocks_end_changes_nothing_and_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, mark: str, last: bool
) -> None:
    path = tmp_path_factory.mktemp("x") / "a.csv"
    path.write_bytes(b"a,b,c\n1,2,3\n" + b"\n".join(lines) + (b"\n" if last else b""))
    options = {"delimiter": mark, "header": "1", "encoding": "utf-8"}
    whole, parts = Read(path, options), Read(path, options, size)
    assert (whole.rows, whole.left) == (parts.rows, parts.left)
    numbers = sorted([*whole.rows, *whole.reasons])
    assert numbers == list(range(len(whole.rows) + len(whole.left)))


HEADS = """t,x
t;x
t\tx
1,2
1;2
1;2,5
1\t2.5
1 2
a b
# a b
#,x
sep=;

ms,m/s2
x
5
2026-01-01 10:00:00,5
NA,NA
4,4
,,
1,2,3,
"a","b"
"1,5";7
a,b,c
1552000000,1552000000
Mode\tFreq\tTimestamp"""
some_line = st.sampled_from(HEADS.split("\n"))


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(some_line, min_size=1, max_size=12), last=st.booleans())
def test_what_is_found_opens_the_file_in_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], last: bool
) -> None:
    path = tmp_path_factory.mktemp("x") / "a.csv"
    path.write_text("\n".join(lines) + ("\n" if last else ""))
    try:
        first = Read(path)
    except ConfigError:  # no table: any other error is a fault
        return
    again = Read(path, first.dialect)
    assert (again.dialect, again.table, again.rows, again.left) == (first.dialect, first.table, first.rows, first.left)
