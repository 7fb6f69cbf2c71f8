"""Parquet and Arrow files as tables: types, structs, what is refused, broken files, memory."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import ConfigError
from headrace.readers import formats, parquet
from headrace.readers.source import Source
from tests.unit.reading import read


def write(table: pa.Table, path: Path) -> Path:
    """In the form that the file's name says."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=3)
    elif path.suffix == ".arrows":
        with pa.ipc.new_stream(path, table.schema) as out:
            out.write_table(table, max_chunksize=3)
    else:
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
            out.write_table(table, max_chunksize=3)
    return path


FORMS = pytest.mark.parametrize("form", ["parquet", "arrows", "arrow"])


@FORMS
def test_types_stay_what_they_are(tmp_path: Path, form: str) -> None:
    at = datetime(2026, 11, 28, 10, 0, 0, 123456, UTC).replace(tzinfo=None)
    columns: dict[str, tuple[pa.DataType, Any]] = {
        "i8": (pa.int8(), -1), "u64": (pa.uint64(), 2**64 - 1), "f32": (pa.float32(), 0.5), "b": (pa.bool_(), True),
        "d": (pa.date32(), date(2026, 1, 2)), "dec": (pa.decimal128(20, 5), Decimal("1.50000")),
        "naive": (pa.timestamp("us"), at), "zoned": (pa.timestamp("ms", "Europe/Rome"), at.replace(microsecond=0)),
        "step": (pa.duration("us"), timedelta(microseconds=5)), "l": (pa.list_(pa.float32()), [1.0, None]),
        "s": (pa.string(), " a "), "bytes": (pa.binary(), b"\0"),
    }  # fmt: skip
    schema = pa.schema([(name, it) for name, (it, _) in columns.items()])
    arrays = [pa.array([value, None, value, value], it) for it, value in columns.values()]
    found = read(parquet, write(pa.table(arrays, schema=schema), tmp_path / f"x.{form}"))
    assert found.types | {"l": ""} == {name: str(it) for name, (it, _) in columns.items()} | {"l": ""}
    assert found.types["l"] in {"list<item: float>", "list<element: float>"}
    expected = {c: a.to_pylist() for c, a in zip(columns, arrays, strict=True)}
    assert found.columns == expected | {"s": ["a", None, "a", "a"]}
    assert found.numbers == [0, 1, 2, 3]


@FORMS
def test_dictionaries_and_wide_forms_are_plain_and_structs_have_paths(tmp_path: Path, form: str) -> None:
    inner = pa.struct([("x", pa.float32()), ("y", pa.struct([("z", pa.int16())]))])
    table = pa.table({
        "kind": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "long": pa.array(["a"] * 4, pa.large_string()),
        "acc": pa.array([{"x": 1, "y": {"z": 2}}, None, {"x": 3, "y": None}, {"x": None, "y": {"z": 4}}], inner),
        "n": pa.nulls(4),
        "ll": pa.array([[1], [], None, [2, 3]], pa.large_list(pa.int16())),
    })  # fmt: skip
    it = read(parquet, write(table, tmp_path / f"x.{form}"))
    assert it.columns == {
        "kind": ["a", "b", "a", None], "long": ["a"] * 4, "acc.x": [1, None, 3, None], "acc.y.z": [2, None, None, 4],
        "n": [None] * 4, "ll": [[1], [], None, [2, 3]],
    }  # fmt: skip
    assert (it.types["kind"], it.types["long"], it.types["acc.y.z"]) == ("string", "string", "int16")


def test_half_floats_fixed_lists_and_views(tmp_path: Path) -> None:
    table = pa.table({
        "h": pa.array(np.array([0.5, 1.5], np.float16)), "v": pa.array(["a", "b"], pa.string_view()),
        "f": pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), "e": pa.array([b"ab", b"cd"], pa.binary(2)),
    })  # fmt: skip
    it = read(parquet, write(table, tmp_path / "x.arrow"))
    assert it.columns == {"h": [0.5, 1.5], "v": ["a", "b"], "f": [[1, 2], [3, 4]], "e": [b"ab", b"cd"]}
    assert it.types["h"] == "float"


@FORMS
def test_a_type_that_is_no_readings_is_named_and_may_be_passed_over(tmp_path: Path, form: str) -> None:
    kinds = {
        "m": pa.map_(pa.string(), pa.int32()), "ls": pa.list_(pa.struct([("a", pa.int8())])),
        "lists": pa.list_(pa.list_(pa.int8())), "st": pa.struct([("in", pa.map_(pa.string(), pa.int32()))]),
    }  # fmt: skip
    for name, kind in kinds.items():
        path = write(pa.table({"a": [1, 2], name: pa.nulls(2, kind)}), tmp_path / f"{name}.{form}")
        with Source(path) as source, pytest.raises(ConfigError) as e:
            parquet.open_file(source, {})
        told = "st.in" if name == "st" else name
        assert f"the column {told!r} has the type {'list<' if 'l' in name else 'map<'}" in str(e.value)
        assert f"`without: {name}`" in str(e.value)
        it = read(parquet, path, without=name)
        assert (it.columns, it.table.notes) == ({"a": [1, 2]}, (f"passed over: {name}",))
    with Source(path) as source, pytest.raises(ConfigError, match="there is no column 'zz'"):
        parquet.open_file(source, {"without": "zz"})


def test_files_of_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "duck.parquet"
    duckdb.sql(f"""copy (select i, i * 0.5 as x, 'a' || i as s, make_timestamptz(1767225600000000 + i * 1000) as t
        from range(25001) r(i)) to '{path}' (row_group_size 10000, compression zstd)""")
    it = read(parquet, path)
    assert it.table.rows == 25_001
    assert it.columns["i"] == it.numbers == list(range(25_001))
    assert it.columns["x"] == [i * 0.5 for i in range(25_001)]
    assert it.columns["t"][5] == datetime(2026, 1, 1, 0, 0, 0, 5000, tzinfo=UTC)
    pl.DataFrame({"a": ["x", "y"], "b": [1.5, None]}).write_ipc(tmp_path / "p.feather")
    assert read(parquet, tmp_path / "p.feather").columns == {"a": ["x", "y"], "b": [1.5, None]}
    pl.DataFrame({"a": ["x", "y"], "b": [1.5, None]}).write_ipc_stream(tmp_path / "p.arrows")
    assert read(parquet, tmp_path / "p.arrows").columns == {"a": ["x", "y"], "b": [1.5, None]}


def test_units_of_the_fields_are_told(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("ax", pa.int8(), metadata={"unit": "m/s2"}), pa.field("n", pa.int8())])
    it = read(parquet, write(pa.table([[1], [2]], schema=schema), tmp_path / "x.parquet"))
    assert [c.unit for c in it.table.columns] == ["m/s2", ""]


@FORMS
@pytest.mark.parametrize("rows", [0, 1, 10])
def test_rows_of_batches(tmp_path: Path, form: str, rows: int) -> None:
    it = read(parquet, write(pa.table({"a": pa.array(range(rows), pa.int32())}), tmp_path / f"x.{form}"))
    assert it.columns["a"] == it.numbers == list(range(rows))


@FORMS
def test_a_file_that_is_cut_off(tmp_path: Path, form: str) -> None:
    path = write(pa.table({"a": list(range(30))}), tmp_path / f"x.{form}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 + 3])
    if form == "arrows":
        it = read(parquet, path)
        assert it.columns["a"] == list(range(len(it.numbers)))
        assert 0 < len(it.numbers) < 30
        error = it.error
    else:
        with Source(path) as source, pytest.raises(ConfigError) as e:
            parquet.open_file(source, {})
        error = str(e.value)
    assert str(path) in error
    assert "Copy it again" in error


def test_a_page_that_is_broken_gives_the_groups_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"a": np.random.default_rng(1).random(3000)})
    pq.write_table(table, path, row_group_size=1000, write_page_checksum=True, use_dictionary=False, compression="none")
    data = bytearray(path.read_bytes())
    data[12_000] ^= 0xFF
    path.write_bytes(data)
    it = read(parquet, path)
    assert it.columns["a"] == table["a"].to_pylist()[:1000]
    assert "row group 1, after row 999: " in it.error


@pytest.mark.parametrize(("head", "words"), [(b"FEA1", "Feather of version 1"), (b"PARE", "encrypted Parquet")])
def test_forms_that_are_not_read(tmp_path: Path, head: bytes, words: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(head + bytes(100) + head)
    with Source(path) as source, pytest.raises(ConfigError, match=words):
        formats.open_file(source, {})


def test_bytes_of_a_stranger_do_not_end_the_process(tmp_path: Path) -> None:
    """Bytes of small files changed: rows or ConfigError. In a process of its own, as a crash would end it."""
    files = [tmp_path / f"x.{form}" for form in ("parquet", "arrows", "arrow")]
    for path in files:
        write(pa.table({"a": [1, 2, 3, 4], "s": ["a", "bb", None, "d"]}), path)
    code = """
import sys
from pathlib import Path
from headrace.errors import ConfigError
from headrace.readers import parquet
from headrace.readers.source import Source
for path in map(Path, sys.argv[1:]):
    whole = path.read_bytes()
    for i in range(8, len(whole), 13):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1:])
        try:
            with Source(path) as source:
                for batch in parquet.open_file(source, {}).batches():
                    batch.rows.to_pylist()
        except ConfigError:
            pass
print("good")
"""
    argv = [sys.executable, "-c", code, *map(str, files)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "good\n", done.stderr[-2000:]
