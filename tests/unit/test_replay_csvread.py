import gzip
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.recordings.csvread import open_table, sniff, stem


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_bom_crlf_empty_columns_and_blank_rows(tmp_path: Path, name: str) -> None:
    data = b'\xef\xbb\xbfDate,"CO, raw",T,,\r\n10/03/2004,2.6,13.6,,\r\n,,,,\r\n\r\n11/03/2004,2,13.3,,\r\n,,,,\r\n'
    table = open_table(write(tmp_path / name, data))
    assert table.columns == ("Date", "CO, raw", "T", "", "")
    assert [row[:3] for _, row in table.rows()] == [["10/03/2004", "2.6", "13.6"], ["11/03/2004", "2", "13.3"]]
    assert table.left_out == {"blank": 3}
    assert table.first == {"blank": 3}


def test_rows_of_another_width_are_counted_not_guessed(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", b"a,b\n1,2\n3\n4,5,6\n7,8,\n"))
    assert [row[:2] for _, row in table.rows()] == [["1", "2"], ["7", "8"]]
    assert table.left_out == {"fewer cells than columns": 1, "more cells than columns": 1}
    assert table.first == {"fewer cells than columns": 3, "more cells than columns": 4}


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("a,b,c", ","), ("a;b;c", ";"), ("a\tb", "\t"), ('"x,y";b', ";"), ("one", ","), ("a|b|c,d", "|")],
)
def test_the_delimiter_is_found_in_the_header(header: str, delimiter: str) -> None:
    assert sniff(header) == delimiter


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "name the columns"),
        (b",,\n1,2,3\n", "name the columns"),
        (b"a,b,a\n", "two columns are called a"),
        ("à,b\n".encode("latin-1"), "--encoding"),
    ],
)
def test_unusable_headers_are_refused_with_the_remedy(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_table(write(tmp_path / "a.csv", data))


def test_what_can_not_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="directory"):
        open_table(tmp_path)
    (tmp_path / "a.csv.gz").write_bytes(b"not gzip at all")
    with pytest.raises(ConfigError, match="gzip"):
        open_table(tmp_path / "a.csv.gz")
    whole = gzip.compress(b"a,b\n" + b"1.25,2.5\n" * 20_000)
    (tmp_path / "b.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="gzip"):
        list(open_table(tmp_path / "b.csv.gz").rows())


def test_a_quoted_cell_may_hold_a_waveform(tmp_path: Path) -> None:
    wave = ",".join(["0.125"] * 60_000)
    table = open_table(write(tmp_path / "a.csv", f'id,samples\n1,"[{wave}]"\n'.encode()))
    assert [len(row[1]) for _, row in table.rows()] == [len(wave) + 2]


def test_the_stem_is_the_name_without_csv_and_gz() -> None:
    assert [stem(Path(p)) for p in ("s01_01_sw.csv", "x/PRSA_Dingling.csv.gz", "a.b.CSV", "plain")] == [
        "s01_01_sw", "PRSA_Dingling", "a.b", "plain",
    ]  # fmt: skip
