"""SenML files as tables: what is resolved, what is left out, and RIoTBench's streams against json and decimal."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.readers import formats, senml
from headrace.readers.source import Source
from tests.unit.reading import Read, read
from tests.unit.recordings import RECORDINGS, needed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.json"


def rows(it: Read) -> list[tuple[Any, ...]]:
    return list(zip(*it.columns.values(), strict=True))


def test_the_multiple_measurements_of_the_standard(file: Path) -> None:  # RFC 8428, 5.1.3
    file.write_text("""[
     {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
     {"u":"lon","v":24.30621},
     {"u":"lat","v":60.07965},
     {"t":60,"v":20.3},
     {"u":"lon","t":60,"v":24.30622}
   ]""")
    it = read(senml, file)
    name = "urn:dev:ow:10e2073a01080063"
    assert list(it.columns) == ["n", "u", "v", "t"]
    assert rows(it) == [
        (name, "%RH", 20, 1320067464), (name, "lon", 24.30621, 1320067464), (name, "lat", 60.07965, 1320067464),
        (name, "%RH", 20.3, 1320067524), (name, "lon", 24.30622, 1320067524),
    ]  # fmt: skip


def test_values_of_every_kind_and_sums(file: Path) -> None:
    pack = [
        {"bn": "d:", "n": "a", "vs": "x"}, {"n": "b", "vb": True}, {"n": "c", "vd": "aGk"}, {"n": "e", "v": 1, "ut": 5},
        {"n": "f", "s": 3, "x": {"y": 7}}, {"bs": 10, "bv": 100, "n": "g", "v": 1.5, "s": 1}, {"n": "h"},
        {"bn": "", "n": "i", "vs": "z"},
    ]  # fmt: skip
    for text in (json.dumps(pack), json.dumps(pack) + "\n" + json.dumps(pack)):
        file.write_text(text)
        it = read(senml, file)
        assert list(it.columns) == ["n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "x.y"]
        assert [r[:1] + r[2:7] + r[8:] for r in rows(it)][:8] == [
            ("d:a", None, "x", None, None, None, None, None), ("d:b", None, None, True, None, None, None, None),
            ("d:c", None, None, None, "aGk", None, None, None), ("d:e", 1, None, None, None, None, 5, None),
            ("d:f", None, None, None, None, 3, None, 7), ("d:g", 101.5, None, None, None, 11, None, None),
            ("d:h", 100, None, None, None, None, None, None), ("i", None, "z", None, None, None, None, None),
        ]  # fmt: skip
    assert it.numbers == list(range(16))


def test_digits_are_kept_where_a_base_is_added(file: Path) -> None:
    file.write_text(
        '[{"bn":"a","bt":1700000000,"t":0.123456,"v":1},{"t":1,"v":0.1234567890123456789},{"t":2,"v":2.50}]'
    )
    it = read(senml, file)
    assert it.types["t"] == "double"
    assert it.columns["t"] == [1700000000.123456, 1700000001, 1700000002]
    assert it.columns["v"] == ["1", "0.1234567890123456789", "2.50"]
    file.write_text('[{"bn":"a","bt":1700000000,"t":0.123456789,"v":1}]')
    assert read(senml, file).columns["t"] == ["1700000000.123456789"]


def test_records_that_are_no_reading_are_left_out_and_keep_their_numbers(file: Path) -> None:
    records = [
        {"bn": "a"}, {"bt": 5, "bv": 1}, {"n": "x", "vs": "q"}, {"n": "x", "v": 1, "vs": "q"}, {"n": "x", "z_": 1},
        {"n": "x", "bver": 11, "v": 1}, 5, {"bn": "", "v": 1}, {"n": "x", "v": [1]}, {"n": "x", "v": "1e301"},
        {"n": "y", "v": 1, "bver": 5},
    ]  # fmt: skip
    expected = [
        "a record without a value", "a record without a value", "two values",
        "a label that must be understood, and is not known", "a version that is not known", "no object",
        "a record without a name", "a base, and a value that is no number",
        "a number too large to be added to its base",
    ]  # fmt: skip
    for text, place in ((json.dumps(records), "record 4"), (json.dumps(records) + "\n\n?", "line 1")):
        file.write_text(text)
        it = read(senml, file)
        assert [(n, v) for n, v in zip(it.columns["n"], it.columns["v"], strict=True)] == [("ax", None), ("y", 2)]
        assert it.numbers == [2, 10]
        assert [o.reason for o in it.left_out][:9] == expected
        assert (it.left_out[2].number, it.left_out[2].place) == (3, place)
        assert json.loads(it.left_out[2].text) == {"n": "x", "v": 1, "vs": "q"}
    assert [(o.number, o.place, o.reason) for o in it.left_out[9:]] == [
        (11, "line 2", "a blank line"), (12, "line 3", "the last line, half-written"),
    ]  # fmt: skip


def test_a_number_with_a_large_exponent_is_added_to_no_base(file: Path) -> None:
    file.write_text('[{"bn":"a","bv":1,"v":1e99999999999999999999},{"v":1}]')
    it = read(senml, file)
    assert (it.columns["v"], it.left_out[0].reason) == ([2], "a number too large to be added to its base")


def test_bases_end_with_their_pack_and_go_on_in_a_stream_of_records(file: Path) -> None:
    file.write_text('[{"bn":"a","bt":5,"v":1}]\n[{"n":"b","v":2}]\n[]\n{"e":[{"n":"c","v":"3"}],"bn":"z/"}\n')
    it = read(senml, file)
    assert rows(it) == [("a", None, 1, 5), ("b", None, 2, None), ("z/c", None, 3, None)]
    assert [(o.number, o.reason) for o in it.left_out] == [(2, "a pack without a record")]
    file.write_text('{"bn":"a","bt":5,"v":1}\n{"n":"b","v":2}\n')
    assert rows(read(senml, file)) == [("a", None, 1, 5), ("ab", None, 2, 5)]


def test_a_pack_that_is_cut_off_gives_the_records_before(file: Path) -> None:
    file.write_text('[{"bn":"a","v":1},\n{"v":2},\n{"v":3')
    it = read(senml, file)
    assert it.columns["v"] == [1, 2]
    assert "element 3 of the list: the file was cut off in it" in it.error


@pytest.mark.parametrize(
    ("head", "name", "good"),
    [
        (b'[{"n":"a","v":1}]', "x", True), (b'[ {"bn" : "a"},', "x", True),
        (b'17,{"e":[{"n":"a","sv":"b"}]}', "x", True),
        (b'{"e":[{"n":"a","v":"1"}],"bt":1}', "x", True), (b"[", "x.senml", True),
        (b'[{"n":1,"v":1}]', "x", False), (b'[{"n":"a"}]', "x", False), (b'{"n":"a","v":1}', "x", False),
        (b"a,b\n1,2", "x.csv", False), (b"", "x", False),
    ],
)  # fmt: skip
def test_which_files_are_taken(head: bytes, name: str, good: bool) -> None:
    assert senml.suits(head, name) is good


@pytest.mark.parametrize("name", ["SYS", "TAXI", "FIT"])
@needed("RIoTBench/SYS_sample_data_senml.csv")
def test_the_streams_of_riotbench(name: str) -> None:
    path = RECORDINGS / f"RIoTBench/{name}_sample_data_senml.csv"
    with Source(path) as source:
        assert formats.recognise(source) == "senml"
    it = read(senml, path)
    expected = []
    for line in path.read_text(encoding="utf-8").splitlines():
        before, _, text = line.partition(",")
        pack = json.loads(text)
        for record in pack["e"]:
            value = Decimal(record["v"]) if "v" in record else None
            expected.append((record["n"], record["u"], value, record.get("sv"), int(pack["bt"]), before))
    found = [(n, u, None if v is None else Decimal(repr(v)), s, t, b) for n, u, v, s, t, b in rows(it)]
    assert list(it.columns) == ["n", "u", "v", "vs", "t", "5"]
    assert (len(found), it.left_out) == ({"SYS": 8000, "TAXI": 16_000, "FIT": 1125}[name], [])
    # Text is given without blanks around it.
    assert found == [(n.strip(), u.strip(), v, s and s.strip(), t, b) for n, u, v, s, t, b in expected]
