"""Merging files: the same rows in the same types, sorted, in bounded memory, and a hash that would see a change."""

import datetime as dt
import random
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import FatalError
from headrace.lake.compaction import rowhash, sort
from processors.archive import parquet

UTC = dt.UTC
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), ["", "a", "ä", "long " * 20]),
    "flag": (pa.bool_(), [True, False]),
    "int": (pa.int32(), [-(2**31), 0, 2**31 - 1]),
    "long": (pa.int64(), [-(2**63), 0, 2**63 - 1]),
    "float": (pa.float32(), [0.0, -0.0, float("nan"), float("inf"), 1.5]),
    "double": (pa.float64(), [0.0, -0.0, float("nan"), float("-inf"), 1e300]),
    "bytes": (pa.binary(), [b"", b"\x00", b"abc" * 50]),
    "fixed": (pa.binary(5), [b"12345", b"\x00" * 5]),
    "decimal": (pa.decimal128(12, 3), [Decimal("-1.234"), Decimal("123456789.000")]),
    "wide": (pa.decimal128(38, 10), [Decimal("1.0000000001"), Decimal(10) ** 27]),
    "day": (pa.date32(), [dt.date(1, 1, 1), dt.date(2026, 1, 2)]),
    "ms": (pa.timestamp("ms", "UTC"), [dt.datetime(2026, 1, 1, tzinfo=UTC)]),
    "us": (pa.timestamp("us", "UTC"), [dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]),
    "ns": (pa.timestamp("ns", "UTC"), [dt.datetime(2026, 1, 1, tzinfo=UTC)]),
    "local": (pa.timestamp("us"), [dt.datetime(2026, 1, 1)]),  # noqa: DTZ001 - of no zone
    "time": (pa.time64("us"), [dt.time(1, 2, 3, 4)]),
    "millis": (pa.time32("ms"), [dt.time(1, 2, 3)]),
    "list": (pa.list_(pa.float32()), [[], [1.0, float("nan")], [None, 2.0]]),
    "texts": (pa.list_(pa.string()), [["a", None], [], ["b" * 30]]),
    "deep": (pa.list_(pa.list_(pa.int32())), [[[1], []], [[2, 3]]]),
    "group": (
        pa.struct([("x", pa.float64()), ("name", pa.string()), ("l", pa.list_(pa.int64()))]),
        [{"x": 1.0, "name": None, "l": [1]}, {"x": None, "name": "n", "l": None}],
    ),
    "groups": (pa.list_(pa.struct([("x", pa.int32())])), [[{"x": 1}, None], []]),
}


def table(n: int, seed: int, at: int = 0, devices: int = 7) -> pa.Table:
    rnd = random.Random(seed)
    columns: dict[str, pa.Array] = {
        "device_id": pa.array([f"d{rnd.randrange(devices)}" for _ in range(n)]),
        "event_time": pa.array([rnd.randrange(1000) for _ in range(n)], pa.int64()).cast(pa.timestamp("us", "UTC")),
    }
    for name, (kind, values) in COLUMNS.items():
        columns[name] = pa.array([rnd.choice([None, *values]) for _ in range(n)], kind)
    columns["_offset"] = pa.array(np.arange(at, at + n))
    return pa.table(columns)


def stored(folder: Path, tables: list[pa.Table]) -> list[Path]:
    out = []
    for i, one in enumerate(tables):
        out.append(folder / f"{i}.parquet")
        out[-1].write_bytes(parquet.write([one], 3))
    return out


def same(a: pa.Table, b: pa.Table) -> bool:
    """Row by row, with the bits of floats."""
    return a.num_rows == b.num_rows and all(str(x) == str(y) for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True))


@pytest.mark.parametrize("memory", [10**9, 1], ids=["in memory", "in many runs"])
def test_every_type_stays_what_it_is(tmp_path: Path, memory: int) -> None:
    tables = [table(n, seed, at) for seed, (n, at) in enumerate([(50, 0), (1, 50), (300, 51), (7, 351)])]
    sources = stored(tmp_path, tables)
    out = tmp_path / "out.parquet"
    found = sort.merge(sources, out, tmp_path, memory, 3)
    merged, before = pq.read_table(out), pa.concat_tables([pq.read_table(s) for s in sources])
    assert found.rows == 358
    assert merged.schema.equals(before.schema)
    assert str(pq.ParquetFile(out).schema).split("\n", 1)[1] == str(pq.ParquetFile(sources[0]).schema).split("\n", 1)[1]
    assert same(
        merged, before.sort_by([("device_id", "ascending"), ("event_time", "ascending"), ("_offset", "ascending")])
    )


def test_no_row_group_but_the_last_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row group is a request for each column that a query reads."""
    monkeypatch.setattr(sort, "ROW_GROUP", 64)
    rows, out = table(500, 1), tmp_path / "out.parquet"
    sort._write([rows.slice(i, 37) for i in range(0, 500, 37)], out, rows.schema, 3)
    found = pq.read_metadata(out)
    sizes = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
    assert sum(sizes) == 500
    assert all(64 <= n < 64 + 64 // 8 for n in sizes[:-1])


def test_rows_without_a_device_or_a_time_are_sorted_by_what_there_is(tmp_path: Path) -> None:
    raw = pa.table({"value": pa.array([b"b", b"a", None]), "_offset": pa.array([2, 0, 1])})
    (source,) = stored(tmp_path, [raw])
    sort.merge([source], tmp_path / "out", tmp_path, 1, 3)
    assert pq.read_table(tmp_path / "out").column("_offset").to_pylist() == [0, 1, 2]
    nulls = pa.table({"device_id": pa.array(["b", None, "a"]), "_offset": pa.array([0, 1, 2])})
    (source,) = stored(tmp_path, [nulls])
    for memory in (1, 10**9):
        sort.merge([source], tmp_path / "out", tmp_path, memory, 3)
        assert pq.read_table(tmp_path / "out").column("device_id").to_pylist() == [None, "a", "b"]


def test_files_with_other_columns_are_not_merged(tmp_path: Path) -> None:
    one = pa.table({"device_id": ["a"], "_offset": [1]})
    sources = stored(tmp_path, [one, one.append_column("x", pa.array([1.0]))])
    with pytest.raises(sort.Unlike, match=r"1\.parquet"):
        sort.merge(sources, tmp_path / "out", tmp_path, 1, 3)


def test_a_file_that_has_not_the_rows_that_were_read_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = stored(tmp_path, [table(40, 1), table(40, 2, 40)])
    write = sort._write
    for spoil in (lambda t: t.slice(1), lambda t: pa.concat_tables([t.slice(1), t.slice(0, 1), t.slice(3, 1)]),
                  lambda t: t.set_column(0, "device_id", pa.array(["x"] * t.num_rows))):  # fmt: skip
        monkeypatch.setattr(sort, "_write", lambda parts, *rest, s=spoil: write([s(p) for p in parts], *rest))
        with pytest.raises(FatalError, match="changed some"):
            sort.merge(sources, tmp_path / "out", tmp_path, 10**9, 3)


def total(t: pa.Table) -> int:
    return sum(map(rowhash.total, t.to_batches())) % 2**64


def test_the_hash_does_not_depend_on_order_or_batches() -> None:
    t = table(500, 9)
    order = np.random.default_rng(1).permutation(500)
    other = t.take(pa.array(order))
    assert total(t) == total(other)
    assert total(t) == total(pa.Table.from_batches(t.to_batches(max_chunksize=17)))
    parts = [t.slice(3 * i, 3).combine_chunks() for i in range(167)]
    assert total(t) == sum(map(total, parts)) % 2**64


@pytest.mark.parametrize("name", [*COLUMNS, "device_id", "event_time", "_offset"])
def test_the_hash_sees_each_change(name: str) -> None:
    """Of one value of one row; and of two rows whose values change places."""
    t = table(60, 3)
    values = t.column(name).to_pylist()
    seen = {str(v): i for i, v in enumerate(values)}
    assert len(seen) > 1
    i, j, *_ = seen.values()
    kind = t.schema.field(name).type
    at = t.schema.get_field_index(name)
    one = pa.array([values[j] if k == i else v for k, v in enumerate(values)], kind)
    swapped = pa.array([values[j] if k == i else values[i] if k == j else v for k, v in enumerate(values)], kind)
    assert total(t) != total(t.set_column(at, name, one))
    assert total(t) != total(t.set_column(at, name, swapped))
    assert total(t) == total(t.set_column(at, name, pa.array(values, kind)))


def test_the_hash_of_wide_rows_takes_little_memory() -> None:
    """Each byte becomes a number: with all of a batch at once, 16 payloads of 900 KB took 461 MB."""
    rnd = np.random.default_rng(1)
    wide = pa.table({"_offset": pa.array(range(16)), "payload": pa.array([rnd.bytes(900_000) for _ in range(16)])})
    tracemalloc.start()
    try:
        found = total(wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150_000_000
    assert found == sum(total(wide.slice(i, 1)) for i in range(16)) % 2**64
