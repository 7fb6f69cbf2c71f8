"""JSON lines as tables: which columns and types, that no digit and no late key is lost, and what broken files say."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.readers import jsonlines
from headrace.readers.source import Source
from tests.unit.reading import read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.jsonl"


def test_rows_columns_and_types(file: Path) -> None:
    rows = [
        {"t": 1, "acc": {"x": 0.5, "y": {"z": -1}}, "on": True, "who": " a ", "list": [1, 2], "f": [1, 2.5], "o": [{}]},
        {"t": 2, "acc": {"x": 1, "y": {"z": None}}, "on": None, "who": "", "list": [], "f": [None], "late": "b"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    it = read(jsonlines, file)
    assert it.columns == {
        "t": [1, 2], "acc.x": [0.5, 1.0], "acc.y.z": [-1, None], "on": [True, None], "who": ["a", ""],
        "list": [[1, 2], []], "f": [[1.0, 2.5], [None]], "o": ["[{}]", None], "late": [None, "b"],
    }  # fmt: skip
    assert it.types == {
        "t": "int64", "acc.x": "double", "acc.y.z": "int64", "on": "bool", "who": "string",
        "list": "list<item: int64>", "f": "list<item: double>", "o": "string", "late": "string",
    }  # fmt: skip
    assert (it.left_out, it.numbers) == ([], [0, 1])


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ("1 2", "int64", [1, 2]),
        ("9223372036854775807 -9223372036854775808", "int64", [2**63 - 1, -(2**63)]),
        ("9223372036854775808 1", "string", ["9223372036854775808", "1"]),
        ("1 123456789012345678901234567890", "string", ["1", "123456789012345678901234567890"]),
        ("0.10 1e5", "double", [0.1, 100000.0]),
        ("0.30000000000000004 1", "double", [0.30000000000000004, 1.0]),
        ("0.10 0.1234567890123456789", "string", ["0.10", "0.1234567890123456789"]),
        ("1700000000.123456 1", "double", [1700000000.123456, 1.0]),
        ("1700000000.1234567891 1.0", "string", ["1700000000.1234567891", "1.0"]),
        ("1e400 1", "string", ["1e400", "1"]),
        ("-1E+400", "string", ["-1E+400"]),
        ("1e99999999999999999999 1", "string", ["1e99999999999999999999", "1"]),
        ("9007199254740993 0.5", "string", ["9007199254740993", "0.5"]),
        ("9007199254740992 0.5", "double", [2.0**53, 0.5]),
        ('1.50 "x"', "string", ["1.50", "x"]),
        ("true 1", "string", ["true", "1"]),
        ("[1.50] 2", "string", ["[1.50]", "2"]),
        ("[1,18446744073709551616]", "string", ["[1, 18446744073709551616]"]),
        ('["a",1.10,null,{"b":[true]}]', "string", ['["a", 1.10, null, {"b": [true]}]']),
        ("[[1],[2]]", "string", ["[[1], [2]]"]),
        ("null null", "string", [None, None]),
        ("Infinity -Infinity", "double", [float("inf"), float("-inf")]),
    ],
)
def test_no_digit_is_lost(file: Path, values: str, kind: str, found: list[Any]) -> None:
    file.write_text("".join(f'{{"v": {v}}}\n' for v in values.split(" ")))
    it = read(jsonlines, file)
    assert (it.types, it.columns) == ({"v": kind}, {"v": found})
    file.write_text("[" + ",\n".join(f'{{"v": {v}}}' for v in values.split(" ")) + "]")
    it = read(jsonlines, file)
    assert (it.types, it.columns) == ({"v": kind}, {"v": found})


def test_numbers_stay_numbers_beside_a_column_that_is_text(file: Path) -> None:
    file.write_text('{"a": 1.10, "b": 7, "l": [1.5], "x": 1.10}\n{"a": 2, "b": 8, "l": null, "x": "?"}')
    assert read(jsonlines, file).columns == {"a": [1.1, 2.0], "b": [7, 8], "l": [[1.5], None], "x": ["1.10", "?"]}


def test_lines_that_are_no_rows_keep_their_numbers(file: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"a": 1}', b"", b"{broken", b"[1]", b"{}", b'{"a": {}}', b'{"a": "\xff"}', b'{"a": "\\ud800"}',
        b'{"x": {"y": 1}, "x.y": 2}', b'{"d": ' + b'{"d": ' * 40 + b"1" + b"}" * 41, b'{"a": 2}', b'{"a": 3',
    ]  # fmt: skip
    file.write_bytes(b"\n".join(lines))
    _, columns, _, left_out, numbers, _ = read(jsonlines, file)
    assert (columns, numbers) == ({"a": [1, 2]}, [0, 10])
    assert [(it.number, it.place, it.reason) for it in left_out] == [
        (1, "line 2", "a blank line"), (2, "line 3", "not JSON"), (3, "line 4", "no object"),
        (4, "line 5", "an empty object"), (5, "line 6", "an empty object"), (6, "line 7", "not UTF-8 text"),
        (7, "line 8", "half a character, written as \\u...."), (8, "line 9", "two values with one path"),
        (9, "line 10", "nested too deeply"), (11, "line 12", "the last line, half-written"),
    ]  # fmt: skip
    assert left_out[1].text == "{broken"


@pytest.mark.parametrize("block", [50, 101, 102, 103, 150, 2000])
def test_a_long_line_is_passed_over(file: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("headrace.readers.jsontext.MAX_VALUE", 100)
    monkeypatch.setattr("headrace.readers.jsontext._BLOCK", block)
    long = json.dumps({"a": "x" * 1000})
    file.write_text(f'{long}\n{{"a": "y"}}\n{{"a": "z"}}\n{long}')
    _, columns, _, left_out, numbers, _ = read(jsonlines, file)
    assert (columns, numbers, [it.number for it in left_out]) == ({"a": ["y", "z"]}, [1, 2], [0, 3])


@pytest.mark.parametrize("block", range(20, 34))
def test_a_long_number_that_is_cut_is_read_whole(file: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("headrace.readers.jsontext._BLOCK", block)
    file.write_text('{"a": 1}\n{"a": 0.1234567890123456789}\n{"a": 2}\n')
    assert read(jsonlines, file).columns["a"] == ["1", "0.1234567890123456789", "2"]


def test_batches_are_bounded_and_number_on(file: Path) -> None:
    file.write_text("".join(f'{{"a": {i}}}\n' if i % 7 else "?\n" for i in range(25_001)))
    with Source(file) as source:
        batches = list(jsonlines.open_file(source, {}).batches())
    assert [len(b.numbers) + len(b.left_out) for b in batches] == [10_000, 10_000, 5_001]
    it = read(jsonlines, file)
    assert it.columns["a"] == it.numbers == [i for i in range(25_001) if i % 7]
    assert [it.number for it in it.left_out] == list(range(0, 25_001, 7))


def test_a_list_of_objects(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.readers.jsontext._BLOCK", 7)  # every element is cut somewhere
    rows = [{"a": i, "b": {"c": f"\N{BLACK STAR}{i}"}} for i in range(300)]
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False), " " + json.dumps(rows) + "\n\n"):
        file.write_text(text, encoding="utf-8")
        _, columns, _, left_out, numbers, _ = read(jsonlines, file)
        assert columns == {"a": list(range(300)), "b.c": [f"\N{BLACK STAR}{i}" for i in range(300)]}
        assert (left_out, numbers) == ([], list(range(300)))


def test_numbers_in_a_list_that_are_cut_are_read_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.readers.jsontext._BLOCK", 3)
    file.write_text('[{"a": 1}, 123456, {"a": 2}]')
    _, columns, _, (one,), numbers, _ = read(jsonlines, file)
    assert (columns, numbers, one.text, one.reason) == ({"a": [1, 2]}, [0, 2], "123456", "no object")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("", "element 4 of the list: the file was cut off. Mend"),
        (",", "the file was cut off in it"),
        (', {"a": 4', "element 4 of the list: the file was cut off in it"),
        (', {"a": }]', "element 4 of the list: "),
        (' {"a": 4}]', "element 4 of the list: ',' expected, not '{'"),
        ("] {}", "something follows the end of the list"),
    ],
)
def test_a_broken_list_gives_the_rows_before_it_and_then_says_where(file: Path, end: str, words: str) -> None:
    file.write_text('[{"a": 1}, {"a": 2}, {"a": 3}' + end)
    it = read(jsonlines, file)
    assert it.columns == {"a": [1, 2, 3]}
    assert words in it.error
    assert it.error.startswith(f"{file}: element 4 of the list" if "end" not in words else f"{file}: ")


def test_a_gzip_file_that_breaks_off_gives_the_rows_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    text = "".join(f'{{"a": {i * 7919 % 10007}}}\n' for i in range(50_000)).encode()
    path.write_bytes(gzip.compress(text)[:-5000])
    it = read(jsonlines, path)
    assert "a broken gzip file" in it.error
    assert 40_000 < len(it.numbers) < 50_000
    assert it.columns["a"] == [i * 7919 % 10007 for i in it.numbers]
    path.write_bytes(gzip.compress(text))
    assert len(read(jsonlines, path).numbers) == 50_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no row can be read: it is empty"),
        ("?\n1\n", "no row can be read: line 1: not JSON"),
        ('{\n  "a": 1\n}\n', "jq -c . x.jsonl"),
        ("[]", "no row can be read: it is empty"),
        ('[{"a"', "element 1 of the list: the file was cut off in it"),
        ("".join(f'{{"k{i}": 1}}\n' for i in range(5001)), "line 5001: more than 5,000 different keys"),
    ],
)
def test_files_without_a_table(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with Source(file) as source, pytest.raises(ConfigError) as e:
        jsonlines.open_file(source, {})
    assert words in str(e.value)


def test_options(file: Path) -> None:
    file.write_text('{"a": 1}\n')
    with Source(file) as source:
        reader = jsonlines.open_file(source, {"shape": "lines"})
        assert reader.dialect == {"shape": "lines"}
        for options, words in (({"shape": "tree"}, "is none of lines, list"), ({"x": "y"}, "no such option")):
            with pytest.raises(ConfigError, match=words):
                jsonlines.open_file(source, options)


def test_a_file_that_changes_meanwhile_is_not_read_in_part(file: Path) -> None:
    file.write_text('{"a": 1}\n')
    with Source(file) as source:
        reader = jsonlines.open_file(source, {})
        for later in ('{"a": 1, "b": 2}\n', '{"a": "x"}\n'):
            file.write_text(later)
            with pytest.raises(ConfigError, match="changed while it was read"):
                list(reader.batches())


@pytest.mark.parametrize(
    ("head", "name", "good"),
    [
        (b'{"a": 1}', "x", True), (b'\xef\xbb\xbf \n[ {"a"', "x.json", True), (b"", "x.ndjson", True),
        (b"a,b\n1,2\n", "x.csv", False), (b"[Header]\n", "x.txt", False), (b"[1, 2]", "x.json", False),
    ],
)  # fmt: skip
def test_which_files_are_taken(head: bytes, name: str, good: bool) -> None:
    assert jsonlines.suits(head, name) is good
