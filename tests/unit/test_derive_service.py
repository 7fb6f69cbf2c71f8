"""derive with functions as people write them: what comes out, and what is refused in which words."""

import json
import re
from pathlib import Path

import pytest

from headrace.kafka import headers_of
from headrace.protocol.versions import digest_of
from headrace.schema_registry.client import Registry
from processors.derive import deriver
from processors.group.hold import PollHold
from tests.unit.clean_world import BASE, CLEAN, CODEC, LETTERS, SCHEMA_ID, Crash, Process, ToyStore
from tests.unit.derive_world import CODECS, RAW, SOURCES, DeriveWorld, deriving

WHOLE = """
import pandas as pd

def transform(df):
    assert not (df.x == 7).any(), "seven"
    df = df.loc[df.index.repeat(df.x.astype(int)), ["device_id", "x"]]
    df["item"] = df.groupby(level=0).cumcount()
    df["of"] = df.x.astype("int64")
    df["by"] = "me"
    df["item"] = df["item"].where(df.x != 5, 0.5)
    return df
"""
POLARS = """
import polars as pl

def transform(df: pl.DataFrame):
    df = df.with_columns(of=pl.col("x").cast(pl.Int64), by=pl.lit("me"))
    df = df.with_columns(item=pl.int_ranges(0, pl.col("of"))).filter(pl.col("of") > 0)
    return df.explode("item").select("_row", "item", "of", "by", "x")
"""


class Real(DeriveWorld):
    """The small world, with real functions."""

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(deriver, "open_store", lambda _: ToyStore(self))
        patch.setattr(Registry, "latest_id", lambda *_: self.newest)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "made.py").write_text(WHOLE, encoding="utf-8")
    return tmp_path / "made.py"


def rows(world: DeriveWorld) -> list[tuple[int, int, float]]:
    """(offset, item, x) of each row."""
    out = []
    for m in world.kafka.log(RAW, 0).records:
        value = m.value()
        assert isinstance(value, bytes)
        row = CODECS[8].read(value)
        src = world.source(m)
        assert (row["by"], row["_quality"], row["device_id"], row["event_time"]) == (
            "me", None, BASE["device_id"], BASE["event_time"],
        )  # fmt: skip
        assert (src.item, row["of"]) == (row["item"], row["x"])
        out.append((src.offset, src.item, row["x"]))
    return out


def world_of(*xs: int | str) -> Real:
    world = Real()
    world.emit(SOURCES[0], [(x, 0) for x in xs])
    return world


@pytest.mark.parametrize("text", [WHOLE, POLARS], ids=["pandas", "polars"])
def test_rows_of_readings_in_their_order(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    xs = [3, 0, 1, 2, 0, 4]
    world = world_of(*xs)
    Process(world, deriving(file)).run_dry()
    assert rows(world) == [(i, k, float(x)) for i, x in enumerate(xs) for k in range(x)]
    assert world.kafka.log(LETTERS).records == []
    assert list(world.store) == [f"_transforms/{digest_of(text)}.py"]


def test_a_reading_that_fails_is_a_letter_whole_and_says_why(file: Path) -> None:
    world = world_of(2, 7, 1, 5, "junk", 1)
    Process(world, deriving(file)).run_dry()
    assert rows(world) == [(0, 0, 2.0), (0, 1, 2.0), (2, 0, 1.0), (5, 0, 1.0)]
    failed, wrong, junk = [(dict(headers_of(m)), m.value()) for m in world.kafka.log(LETTERS).records]
    digest = digest_of(WHOLE)[:8]
    assert failed[0]["detail"] == (f"version {digest} of the transform failed: AssertionError: seven (line 5)".encode())
    assert failed[1] == CODEC.write(SCHEMA_ID, BASE | {"x": 7.0})
    assert (
        wrong[0]["detail"]
        == (
            f"version {digest} of the transform failed: item: 0.5 is no whole number: round it, or give the field the "
            "type double in the contract"
        ).encode()
    )
    names = ("reason", "rule", "field", "value", "stage", "stream", "device")
    assert [wrong[0][n] for n in names] == [b"transform", b"transform", b"item", b"0.5", b"derive", b"made", b"d"]
    assert [json.loads(it[0]["source"] or b"")["offset"] for it in (failed, wrong, junk)] == [1, 3, 4]
    assert junk[0]["reason"] in {b"malformed", b"unknown_schema"}
    _, note = world.note(SOURCES[0])
    assert (note.counts.kept, note.counts.rejected, note.counts.total) == (3, 3, 6)


def test_readings_of_two_schemas_keep_their_order(file: Path) -> None:
    world = world_of(2, 1, 3)
    other = json.loads(world.schemas[SCHEMA_ID])
    world.schemas[70] = json.dumps(other)
    m = world.kafka.log(CLEAN, 0).records[1]
    value = m.value()
    assert isinstance(value, bytes)
    m.set_value(b"\0" + (70).to_bytes(4) + value[5:])
    Process(world, deriving(file)).run_dry()
    assert [offset for offset, _, _ in rows(world)] == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    "body",
    ["return df.assign(by='me', item=0, of=len(df))", "return df[df.x == df.x.max()].assign(by='me', item=0, of=1)"],
)
def test_one_that_is_not_row_wise_is_held_and_readyz_says_so(
    file: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f"def transform(df):\n    {body}\n", encoding="utf-8")
    world, why = world_of(1, 2, 3, 4), list[str]()

    def wait(it: PollHold, _: float) -> None:
        why.extend(f"{check}: {reason}" for check, reason in it._hold._waiting.values())
        raise Crash

    monkeypatch.setattr(PollHold, "_breathe", wait)
    with pytest.raises(Crash):
        Process(world, deriving(file)).run_dry()
    assert re.match(r"transform: .*made\.py, version .*: it is not row-wise", why[0])
    # The first batches of the small world are one reading each: nothing lies beside it.
    assert {world.source(m).offset for m in world.kafka.log(RAW, 0).records} <= {0, 1}


def test_it_waits_for_the_contract_of_the_rows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, why = world_of(1), list[str]()
    world.newest = None

    def wait(it: PollHold, _: float) -> None:
        why.extend(f"{check}: {reason}" for check, reason in it._hold._waiting.values())
        world.newest = 8

    with monkeypatch.context() as patch:
        patch.setattr(PollHold, "_breathe", wait)
        process = Process(world, deriving(file))
    assert why == ["registry: the registry has no made.raw-value. `headrace provision` registers the contract"]
    process.run_dry()
    assert rows(world) == [(0, 0, 1.0)]


def test_a_reading_whose_time_is_far_away_takes_no_other_with_it(file: Path) -> None:
    file.write_text(WHOLE.replace('"device_id", "x"', '"device_id", "x", "event_time"'), encoding="utf-8")
    world = Real()
    far = CODEC.write(SCHEMA_ID, BASE | {"x": 1.0, "event_time": 2**62})
    world.kafka.write(CLEAN, far)
    Process(world, deriving(file)).run_dry()
    (m,) = world.kafka.log(RAW, 0).records
    value = m.value()
    assert isinstance(value, bytes)
    assert CODECS[8].read(value)["event_time"] == 2**62
