"""What `verify` counts in the rows of made-up lakes, against a plain reference."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.config import Config
from headrace.config.connect import Store
from headrace.lake import layout, sql
from headrace.lake.rows import MEMORY, Rows, Source
from headrace.store.folder import FolderStore

pytest.importorskip("duckdb")
TOPIC, LOGS = "imu.clean", ("A" * 22, "B" * 22)
SCHEMA = pa.schema({
    "device_id": pa.string(), "event_time": pa.timestamp("us", "UTC"), "_offset": pa.int64(), "_src_epoch": pa.int32(),
    "_src_offset": pa.int64(), "_src_index": pa.int32(), "_event_id": pa.binary(16),
})  # fmt: skip


class Row(NamedTuple):
    """A row. The file `f` has a number of its own in each partition of each incarnation."""

    log: int
    p: int
    f: int
    o: int
    se: int | None
    so: int | None
    si: int | None
    id: bytes | None


def rows_of(rnd: random.Random) -> list[Row]:
    """Rows where each kind of copy comes now and then, and some have no source position or no event id."""
    out = []
    for n in range(rnd.randrange(1, 120)):
        # No offset is that of a row of another partition: which of two rows is the copy is then a matter of taste.
        o = n * 3 + rnd.randrange(3)
        row = Row(rnd.randrange(2), rnd.randrange(3), o // 40, o, None, None, None, None)
        if rnd.random() < 0.8:
            row = row._replace(se=rnd.randrange(2), so=rnd.randrange(60), si=rnd.randrange(2))
        if rnd.random() < 0.8:
            row = row._replace(id=rnd.randrange(150).to_bytes(8, "big") * 2)
        out.append(row)
    # Stored again, in the same file or in another.
    return out + [row._replace(f=row.f + rnd.choice([0, 0, 1])) for row in rnd.sample(out, len(out) // 8)]


def copies(rows: list[Row]) -> Counter[int]:
    """Rows beyond the first of an offset, a source position or an event id, by partition."""
    again = set[int]()

    def mark(key: Callable[[Row], Any], order: Callable[[Row], Any]) -> None:
        groups = defaultdict[Any, list[int]](list)
        for i, row in enumerate(rows):
            if (k := key(row)) is not None:
                groups[k].append(i)
        for group in groups.values():
            again.update(sorted(group, key=lambda i: (order(rows[i]), i))[1:])

    mark(lambda r: (r.log, r.p, r.o), lambda r: r.f)
    mark(lambda r: (r.log, r.p, r.se, r.so, r.si) if r.so is not None else None, lambda r: (r.o, r.f))
    mark(lambda r: r.id, lambda r: (r.o, r.log, r.p, r.f))
    return Counter(rows[i].p for i in again)


def key_of(row: Row) -> str:
    # Files of two schema ids in turn.
    return layout.data_key(TOPIC, LOGS[row.log], row.p, row.f, 1 + row.f % 2, f"2026-01-0{1 + row.f % 3}")


def stored(folder: Path, rows: list[Row]) -> FolderStore:
    files = defaultdict[str, list[Row]](list)
    for row in rows:
        files[key_of(row)].append(row)
    folder.mkdir(exist_ok=True)
    store = FolderStore(folder)
    for key, its in files.items():
        columns = ("_offset", "_src_epoch", "_src_offset", "_src_index", "_event_id")
        lines = [{"device_id": "d", **dict(zip(columns, row[3:], strict=True))} for row in its]
        out = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(lines, SCHEMA), out)
        store.put(key, out.getvalue().to_pybytes())
    return store


def read(folder: Path, rows: list[Row]) -> tuple[Rows, list[int], int]:
    """What `load` says; the readings from sources 10 to 40 of each partition; how many of 60 sources are held."""
    store, cfg = stored(folder, rows), Config(store=Store(kind="folder", folder=folder))
    with sql.connect(cfg, "", memory=MEMORY) as lake:
        source = Source(lake, cfg, store)
        found = source.load(TOPIC)
        asked = [(p, 1, so, si) for p in range(3) for so in range(10) for si in range(2)]
        return found, [source.sources_between(p, 10, 40) for p in range(3)], source.held(asked)


@pytest.mark.parametrize("seed", range(25))
def test_rows_and_copies_are_those_of_a_plain_count(tmp_path: Path, seed: int) -> None:
    rows = rows_of(random.Random(seed))
    found, between, held = read(tmp_path, rows)
    assert found.files == Counter(map(key_of, rows))
    assert found.stored == Counter(row.p for row in rows)
    assert found.duplicates == copies(rows)
    assert between == [
        len({r[4:7] for r in rows if r.p == p and r.so is not None and 10 <= r.so < 40}) for p in range(3)
    ]
    sources = {(r.p, *r[4:7]) for r in rows}
    assert held == sum((p, 1, so, si) in sources for p in range(3) for so in range(10) for si in range(2))


def test_each_kind_of_copy_is_seen_alone(tmp_path: Path) -> None:
    def row(o: int, p: int = 0, log: int = 0, f: int = 0, so: int | None = None, sent: int | None = None) -> Row:
        zero = 0 if so is not None else None
        return Row(log, p, f, o, zero, so, zero, sent.to_bytes(16, "big") if sent is not None else None)

    for name, rows, expected in (
        ("none", [row(0), row(1), row(0, p=1), row(0, log=1)], {}),
        ("the same offset in two files", [row(0), row(0, f=1)], {0: 1}),
        ("the same offset in one file", [row(5), row(5)], {0: 1}),
        ("the same source", [row(0, so=3), row(1, so=3), row(2, so=4)], {0: 1}),
        ("a source is of its partition", [row(0, so=3), row(1, p=1, so=3)], {}),
        ("positions begin again with a new topic", [row(0, so=3), row(0, log=1, so=3)], {}),
        ("the same event in two partitions", [row(0, sent=7), row(1, p=1, sent=7)], {1: 1}),
        ("the same event in two incarnations", [row(0, sent=7), row(1, log=1, sent=7), row(2, sent=7)], {0: 2}),
        ("events that differ in a bit", [row(i, sent=sent) for i, sent in enumerate((0, 1, 1 << 63, 1 << 127))], {}),
        ("no event id", [row(0), row(1), row(2)], {}),
        ("all of it is one copy", [row(0, so=1, sent=1), row(0, f=1, so=1, sent=1)], {0: 1}),
    ):  # fmt: skip
        assert read(tmp_path / name, rows)[0].duplicates == expected, name


def test_a_lake_without_rows(tmp_path: Path) -> None:
    found, between, held = read(tmp_path, [])
    assert (found.files, found.stored, found.duplicates, between, held) == ({}, {}, {}, [0, 0, 0], 0)
