import gzip
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.readers.source import stem
from headrace.recordings.table import open_table


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_bom_crlf_empty_columns_and_blank_rows(tmp_path: Path, name: str) -> None:
    data = b'\xef\xbb\xbfDate,"CO, raw",T,,\r\n10/03/2004,2.6,13.6,,\r\n,,,,\r\n\r\n11/03/2004,2,13.3,,\r\n,,,,\r\n'
    table = open_table(write(tmp_path / name, data))
    assert table.columns == ("Date", "CO, raw", "T")
    rows = list(table.rows())
    assert rows == [(2, ["10/03/2004", "2.6", "13.6"]), (5, ["11/03/2004", "2", "13.3"])]
    assert table.left_out == {"a row without a value": 2, "a blank line": 1}
    assert table.first == {"a row without a value": 3, "a blank line": 4}
    assert table.position == table.size
    assert list(table.rows()) == rows  # from the beginning, each time


def test_rows_of_another_width_are_counted_not_guessed(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", b"a,b\n1,2\n3\n4,5,6\n7,8,\n9,"))
    assert list(table.rows()) == [(2, ["1", "2"]), (5, ["7", "8"])]
    assert {it.split(":")[0]: n for it, n in table.first.items()} == {
        "too few cells": 3, "too many cells": 4, "the last line is without its end": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "columns", "note"),
    [
        (b"a;b\n1;2\n", ("a", "b"), ""),
        (b"a\tb\n1\t2\n", ("a", "b"), ""),
        (b"one\n1\n", ("one",), ""),
        (b"Logger X\nSerial,12\n\na,b\n1,2\n", ("a", "b"), "3 lines before the header: Logger X | Serial,12"),
        (b"sep=;\r\na;b\r\n1;2\r\n", ("a", "b"), ""),
        ("a;b\n1;2\n".encode("utf-16"), ("a", "b"), ""),
        ("à;b\n1;5,1\n".encode("latin-1"), ("à", "b"), "decimal comma"),
        (b"a,b\nms,m/s2\n1,2\n", ("a", "b"), "line 2 has units"),
    ],
)
def test_the_dialect_is_found(tmp_path: Path, data: bytes, columns: tuple[str, ...], note: str) -> None:
    table = open_table(write(tmp_path / "a.csv", data))
    assert table.columns == columns
    assert len(list(table.rows())) == 1
    assert note in " ".join(table.notes)
    assert table.decimal_comma == ("decimal comma" in note)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b",,\n1,2,3\n", "column"),
        (b"a,b,a\n1,2,3\n", "two columns are called a"),
        (b"1,2,3\n4,5,6\n", "no line that names the columns is found.*--header 1"),
        (b'{"a": 1}\n', "jsonlines. Only CSV"),
        (
            b"Mode\tFreq\tTimestamp\ta\n1\t1\t1\t1\nMode\tFreq\tTimestamp\tb\n2\t1\t1\t1\n",
            r"several tables \(mode 1, mode 2\)",
        ),
    ],
)
def test_unusable_files_are_refused_with_the_remedy(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_table(write(tmp_path / "a.csv", data))


def test_an_option_says_what_is_not_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"1,2\n4,5\n")
    assert open_table(path, {"header": "1"}).columns == ("1", "2")
    assert open_table(write(path, b"a,b|c\n1,2|3\n"), {"delimiter": "|"}).columns == ("a,b", "c")
    assert open_table(write(path, "я,b\n1,2\n".encode("cp1251")), {"encoding": "cp1251"}).columns == ("я", "b")


def test_what_can_not_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="directory"):
        open_table(tmp_path)
    (tmp_path / "a.csv.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    with pytest.raises(ConfigError, match="gzip"):
        open_table(tmp_path / "a.csv.gz")
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 10007) for i in range(100_000)))
    (tmp_path / "b.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="gzip"):
        list(open_table(tmp_path / "b.csv.gz").rows())


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_quoted_cell_may_hold_a_waveform(tmp_path: Path, end: str) -> None:
    wave = ",".join(["0.125"] * 260_000)
    table = open_table(write(tmp_path / "a.csv", f'id,samples\n1,"[{wave}]"{end}'.encode()))
    assert [len(row[1]) for _, row in table.rows()] == [len(wave) + 2]


def test_a_line_is_counted_where_a_cell_goes_over_several(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", b'a,b\n1,"x\ny"\n2,z\n3\n'))
    assert list(table.rows()) == [(2, ["1", "x\ny"]), (4, ["2", "z"])]
    assert table.first == {"too few cells": 5}


def test_the_stem_is_the_name_without_csv_and_gz() -> None:
    assert [stem(p) for p in ("s01_01_sw.csv", "x/PRSA_Dingling.csv.gz", "a.b.CSV", "plain")] == [
        "s01_01_sw", "PRSA_Dingling", "a.b", "plain",
    ]  # fmt: skip
