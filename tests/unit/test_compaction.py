"""Compaction of a lake in a folder: what queries, verify and adopt see of it, before, during and after."""

import os
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import headrace
from headrace.lake import ledger, manifest, sql
from headrace.lake.adopt import begun_batches, newest_rows
from headrace.lake.compaction import compact
from headrace.lake.rows import Source
from headrace.lake.verify import row_gaps
from headrace.store.folder import FolderStore
from tests.unit.lake_world import DAY, FIRST, ID, SECOND, TOPIC, Died, Lake, Mortal, settings

NOW = (FIRST + 10 * DAY) / SECOND  # all dates have ended
HOUR = 3600
ASK = "select count(*) n, count(distinct ax) u, coalesce(sum(ax), 0) s from imu"


class World:
    def __init__(self, folder: Path, **compact: object) -> None:
        self.store = FolderStore(folder)
        self.store._sync = lambda key: None  # type: ignore[method-assign]
        self.lake = Lake(self.store)
        self.cfg = settings(folder, **compact)
        self.time = NOW

    def now(self) -> float:
        return self.time

    def round(self, **more: object) -> headrace.lake.compaction.Topic:
        return compact(self.cfg, self.store, now=self.now, **more).topics[TOPIC]  # type: ignore[arg-type]

    def answer(self) -> dict[Any, Any]:
        return dict(headrace.query(ASK, config=self.cfg).to_dict("records")[0])

    def keys(self) -> list[str]:
        return sorted(i.key for i in manifest.listing(self.store, TOPIC))

    def counted(self) -> None:
        """Every row once, in the files that count: without DuckDB, which takes longer to begin."""
        files = [f.key for f in manifest.visible(self.store, TOPIC).files]
        tables = [pq.read_table(self.store.root / f, columns=["ax"], partitioning=None) for f in files]
        assert sorted(x for t in tables for x in t.column(0).to_pylist()) == list(range(self.lake.rows))

    def checked(self) -> None:
        """Every row once; the ledger's rows are all there; nothing is doubled."""
        n = self.lake.rows
        answer = self.answer()
        assert (answer["n"], answer["u"], answer["s"]) == (n, n, n * (n - 1) / 2)
        with sql.connect(self.cfg, "") as lake:
            found = Source(lake, self.cfg, self.store).load(TOPIC)
        entries = list(ledger.read(self.store))
        assert row_gaps(entries, found.files, found.visible.cover) == []
        assert found.duplicates == {}
        assert sum(found.stored.values()) == n


@pytest.fixture
def world(tmp_path: Path) -> World:
    out = World(tmp_path)
    out.lake.fill(60, random.Random(2))
    return out


def test_dates_that_have_ended_become_one_file_for_each_partition_and_schema(world: World) -> None:
    before = world.answer()
    done = world.round()
    assert world.answer() == before
    world.checked()
    states = manifest.read(world.store, TOPIC)
    slots = [(s.partition, f.date, f.schema_id) for s in states for f in s.files]
    assert len(slots) == len(set(slots)) > 6
    loose = [f for f in manifest.visible(world.store, TOPIC).files if "-o" in f.key]
    assert len(loose) <= 2 * 3, "of each partition the files of the last batch with rows"
    assert (done.before, done.after) == (done.before, len(slots) + len(loose))
    assert done.problems == []


def test_replaced_files_stay_for_the_grace_and_go_then(world: World) -> None:
    before = world.keys()
    world.round()
    assert set(before) < set(world.keys())
    world.time += HOUR - 1
    assert world.round().removed == 0
    world.time += 1
    assert world.round().removed > 0
    assert len(world.keys()) == len(manifest.visible(world.store, TOPIC).files)
    world.checked()
    again = world.round()
    assert (again.merges, again.removed) == (0, 0)


def test_a_file_that_an_archive_writes_again_a_week_later_is_never_seen(world: World) -> None:
    first = world.lake.entries[0].files[0].key
    data = world.store.get(first)
    world.round()
    world.time += 2 * HOUR
    world.round()
    assert not world.store.exists(first)
    assert world.store.put(first, data, if_absent=True), "nothing keeps the archive from writing it"
    world.checked()
    assert world.round().removed == 1
    assert not world.store.exists(first)
    world.checked()


def test_what_the_archive_may_still_do_is_left_alone(world: World) -> None:
    """A batch without an entry, and that with the newest row, which `adopt` looks for."""
    last = world.lake.batch(0, {(0, 7): 4})
    world.lake.batch(0, {})
    begun = world.lake.batch(0, {(0, 7): 5}, entry=False)
    world.round()
    world.time += 2 * HOUR
    world.round()
    assert world.store.exists(last.files[0].key)
    assert world.store.exists(begun.files[0].key)
    mine = [e for e in ledger.read(world.store) if e.partition == 0]
    assert begun_batches(world.store, TOPIC, ID, mine)[0] == {begun.start: [begun.files[0].key]}
    assert newest_rows(world.store, [e for e in mine if e.partition == 0])[0].source == last.last


def test_nothing_is_merged_beyond_a_hole_in_the_ledger(world: World) -> None:
    hole = world.lake.batch(1, {(0, 7): 3}, entry=False)
    for _ in range(9):
        world.lake.batch(1, {(0, 7): 3})
    done = world.round()
    assert f"no entry at {hole.start}" in done.problems[0]
    assert all(s.upto < hole.start for s in manifest.read(world.store, TOPIC) if s.partition == 1)
    world.store.put(hole.key, ledger.to_json(hole))
    assert world.round().problems == []
    world.checked()


@pytest.mark.parametrize("what", ["other bytes", "gone", "not named"])
def test_a_file_that_is_not_what_the_ledger_says_stays_apart(world: World, what: str) -> None:
    entry = world.lake.entries[-9]
    while not entry.files:
        entry = world.lake.entries[world.lake.entries.index(entry) - 1]
    key = entry.files[0].key
    if what == "other bytes":
        world.store.put(key, world.store.get(world.lake.entries[0].files[0].key) + b" ")
    elif what == "gone":
        world.store.delete(key)
    else:
        world.store.put(key.replace("-s7", "-s12") if "-s7" in key else key.replace("-s12", "-s7"), b"")
    done = world.round()
    if what != "not named" or done.problems:
        assert any(key[:60] in p for p in done.problems)
        assert not any(manifest.visible(world.store, TOPIC).cover(key) for _ in [0] if what != "not named")


def test_rows_that_come_late_do_not_rewrite_a_large_file_each_time(world: World) -> None:
    for _ in range(40):
        world.lake.batch(0, {(0, 7): 500})
    world.lake.batch(0, {(5, 7): 1})
    assert world.round().rows > 20_000
    written = 0
    for _ in range(40):
        world.lake.batch(0, {(0, 7): 1})
        written += world.round().rows
    world.checked()
    assert written < 1000
    assert (
        len([f for f in manifest.visible(world.store, TOPIC).files if f.partition == 0 and f.date == "2026-01-01"]) < 10
    )


def test_the_files_of_today_are_merged_when_they_are_many(tmp_path: Path) -> None:
    world = World(tmp_path, files=4)
    world.time = (FIRST + DAY / 2) / SECOND
    written = 0
    for i in range(50):
        world.lake.batch(0, {(0, 7): 10})
        written += world.round().rows
        assert len(manifest.visible(world.store, TOPIC).files) <= 4 * 4
        if i % 10 == 0:
            world.counted()
    assert written <= 500 * 3
    world.time += DAY
    world.round()
    assert len(manifest.visible(world.store, TOPIC).files) == 2
    world.checked()


def test_what_waits_is_counted(tmp_path: Path) -> None:
    """Two of a date don't wait for anything; what a round has merged waits no more, and what it may not merge does."""
    world = World(tmp_path, files=4)
    world.time = (FIRST + DAY / 2) / SECOND
    for _ in range(2):
        world.lake.batch(0, {(0, 7): 10})
    assert world.round().small == 0
    for _ in range(8):
        world.lake.batch(0, {(0, 7): 10})
    assert world.round(dry_run=True).small <= 2
    keys = [f.key for f in manifest.visible(world.store, TOPIC).files]
    world.store.put(keys[0], b"no longer what was stored")
    assert world.round().small == 10


def test_rows_are_sorted_by_device_and_time(world: World) -> None:
    world.round()
    for s in manifest.read(world.store, TOPIC):
        for f in s.files:
            rows = pq.read_table(world.store.root / f.key, partitioning=None).to_pylist()
            assert len(rows) == f.rows
            order = [(r["device_id"], r["event_time"], r["_offset"]) for r in rows]
            assert order == sorted(order)


def test_a_dry_run_says_what_would_be_and_does_nothing(world: World) -> None:
    before = sorted(i.key for i in world.store.list(""))
    told = world.round(dry_run=True)
    assert sorted(i.key for i in world.store.list("")) == before
    done = world.round()
    assert (told.merges, told.merged, told.after) == (done.merges, done.merged, done.after)


def test_of_two_compactors_at_once_one_wins_and_nothing_is_doubled(world: World) -> None:
    """The second does its whole round at each call of the first, in turn."""
    calls = 0

    class Beside(Mortal):
        def _call(self, name: str, *args: object, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls % 17 == 5:
                world.time += 1
                compact(world.cfg, world.store, now=world.now)
                world.counted()
            return super()._call(name, *args, **more)

    done = compact(world.cfg, Beside(world.store), now=world.now)
    assert any("another compactor" in p for p in done.topics[TOPIC].problems)
    world.checked()
    world.time += 2 * HOUR
    world.round()
    world.checked()
    assert len(world.keys()) == len(manifest.visible(world.store, TOPIC).files)


def test_a_compactor_that_was_stopped_for_days_does_no_harm(world: World) -> None:
    """It wakes before its state is written; meanwhile another has done all, many times over, and has removed states."""

    class Slow(Mortal):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
            if key.startswith("_compacted/") and not self.calls > 10**6:
                self.calls = 10**7
                for day in range(12):
                    world.time += 86_400
                    world.lake.batch(0, {(day % 3, 7): 30})
                    world.lake.batch(1, {(day % 3, 7): 30})
                    compact(world.cfg, world.store, now=world.now)
            return self._store.put(key, data, if_absent=if_absent)

    old = NOW
    compact(world.cfg, Slow(world.store), now=lambda: old)
    world.checked()
    for _ in range(3):
        world.time += 2 * 86_400
        world.round()
        world.checked()
    assert len(world.keys()) == len(manifest.visible(world.store, TOPIC).files)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_killed_between_any_two_steps_and_begun_again(tmp_path: Path, step: int) -> None:
    """At every call of the store, or every fifth, before it and after it; a merge and a removal are in each life."""
    n = 0
    for when in ("before", "after"):
        call, died = 1, True
        while died:
            folder = tmp_path / f"{when}{call}"
            world = World(folder)
            folder.mkdir()
            world.lake.fill(8, random.Random(3), days=2, partitions=1)
            world.round()
            world.lake.fill(8, random.Random(4), days=2, partitions=1)
            world.time += 2 * HOUR
            try:
                compact(world.cfg, Mortal(world.store, **{when: call}), now=world.now)
                died = False
            except Died:
                pass
            world.counted()
            for _ in range(4):
                world.time += 2 * 86_400
                world.round()
            world.checked()
            assert len(world.keys()) == len(manifest.visible(world.store, TOPIC).files), "a crash leaves nothing behind"
            n, call = n + 1, call + step
    assert n > 40 // step


def test_random_lives(tmp_path: Path) -> None:
    """Batches, rounds, deaths, late writes and time, in any order."""
    for seed in range(4):
        rnd = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = World(folder, files=rnd.choice([2, 3, 5]), target_bytes=rnd.choice([3000, 20_000, 10**8]))
        world.time = FIRST / SECOND
        world.lake.fill(4, rnd)
        bytes_of: dict[str, bytes] = {}
        for _ in range(25):
            match rnd.randrange(5):
                case 0 | 1:
                    world.lake.fill(rnd.randrange(1, 8), rnd)
                    for e in world.lake.entries[-8:]:
                        bytes_of |= {f.key: world.store.get(f.key) for f in e.files if world.store.exists(f.key)}
                case 2:
                    world.time += rnd.choice([60, HOUR, 86_400])
                case 3:
                    try:
                        compact(world.cfg, Mortal(world.store, before=rnd.randrange(1, 60)), now=world.now)
                    except Died:
                        world.counted()
                case 4:
                    for key in rnd.sample(sorted(bytes_of), min(3, len(bytes_of))):
                        world.store.put(key, bytes_of[key], if_absent=True)
                    world.counted()
        world.time += 10 * 86_400
        for _ in range(3):
            world.time += 2 * 86_400
            world.round()
        world.checked()
        assert len(world.keys()) == len(manifest.visible(world.store, TOPIC).files)


def test_verify_names_the_compacted_file_that_lacks_rows(world: World) -> None:
    world.round()
    state = manifest.read(world.store, TOPIC)[0]
    victim = max(state.files, key=lambda f: f.rows)
    other = min(state.files, key=lambda f: f.rows)
    entries = list(ledger.read(world.store))
    cover = manifest.visible(world.store, TOPIC).cover
    full = {f.key: f.rows for s in manifest.read(world.store, TOPIC) for f in s.files}
    full |= {f.key: f.rows for e in entries for f in e.files if cover(f.key) is None}
    assert row_gaps(entries, full, cover) == []
    full[victim.key] = other.rows
    assert row_gaps(entries, full, cover) == [(victim.rows - other.rows, f"rows are missing in {victim.key}")]


def test_a_folder_that_a_kill_has_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, fresh = tmp_path / "headrace-compact-old", tmp_path / "headrace-compact-new"
    for folder in (left, fresh):
        folder.mkdir()
        (folder / "rows").write_bytes(b"1")
    os.utime(left, (1, 1))
    (tmp_path / "lake").mkdir()
    world = World(tmp_path / "lake")
    world.lake.fill(40, random.Random(1))
    assert world.round().merges > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["headrace-compact-new", "lake"]
